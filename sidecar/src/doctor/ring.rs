//! The ring itself and the sidecar in front of it.

use std::time::Duration;

use framebuffer::http::Endpoint;
use framebuffer::{Inspection, Key, SegmentError, Stats};
use framebuffer_contract::Quantity;

use super::Check;
use crate::cli::RingArgs;
use crate::stat;

/// How long a sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Checks the API, and the ring if there is a way to its key. A ring that is fine is returned.
pub(super) fn examine(args: &RingArgs) -> (Option<Stats>, Vec<Check>) {
    let (reachable, check) = api(args);
    let mut checks = vec![check];
    if args.key.is_none() && !reachable {
        checks.push(Check::ok("no ring looked at: no --key (FRAMEBUFFER_KEY) is given and no sidecar says one"));
        return (None, checks);
    }
    let (stats, check) = match stat::find_key(args) {
        Ok(key) => segment(args, &key, reachable),
        Err(error) => (None, Check::fail(format!("{error:#}"), "give a key that a server has, or none")),
    };
    checks.push(check);
    (stats, checks)
}

fn api(args: &RingArgs) -> (bool, Check) {
    let url = args.url();
    let ask = || anyhow::Ok(url.parse::<Endpoint>()?.get("/openapi.json", DEADLINE)?);
    match ask() {
        Ok(response) if response.status == 200 => (true, Check::ok(format!("a sidecar answers at {url}"))),
        Ok(response) => {
            let advice = "something else listens there: check --url (FRAMEBUFFER_URL) and the sidecar's --listen";
            (false, Check::fail(format!("{url} answers with status {}", response.status), advice))
        }
        Err(error) => {
            let found = format!("no sidecar answers at {url}: {error:#}");
            // Nobody has said that there is one at the default address.
            if args.url.is_none() {
                return (false, Check::warn(found, "if one should: start it, or say where it listens with --url"));
            }
            let advice = "check that the sidecar runs, in this pod or on this machine, and its --listen or --socket";
            (false, Check::fail(found, advice))
        }
    }
}

/// The same checks as the owner's own, of which `/readyz` tells the result.
fn segment(args: &RingArgs, key: &Key, reachable: bool) -> (Option<Stats>, Check) {
    let dir = args.dir.display();
    match framebuffer::inspect(&args.dir, key) {
        Ok(Inspection { stats, has_owner: true, .. }) => {
            let size = Quantity::from(stats.size);
            let found = format!(
                "the ring in {dir} keeps {size}, has {} of {} participants",
                stats.participants, stats.max_participants
            );
            (Some(stats), Check::ok(found))
        }
        Ok(_) if reachable && stat::ask_key(args.url()).is_ok_and(|of_sidecar| of_sidecar == *key) => {
            let advice = "the file was replaced, by a copy maybe: restart the sidecar, then its clients";
            let found = format!("the file of the sidecar's ring in {dir} is not the one that the sidecar owns");
            (None, Check::fail(found, advice))
        }
        Ok(Inspection { stats, .. }) => {
            let advice = "its clients can go on; a server with its key adopts it with --keep, and replaces it without";
            (Some(stats), Check::warn(format!("the ring in {dir} has no server"), advice))
        }
        Err(error) => {
            let advice = advice(&error);
            (None, Check::fail(format!("{:#}", anyhow::Error::new(error)), advice))
        }
    }
}

fn advice(error: &SegmentError) -> &'static str {
    match error {
        SegmentError::NotFound { .. } => {
            "start its server; if it runs, give both containers the same volume and the same folder (FRAMEBUFFER_DIR)"
        }
        SegmentError::Version { .. } => "sidecar and clients come from releases that differ: update the older",
        SegmentError::TooShort { .. }
        | SegmentError::Magic { .. }
        | SegmentError::Damaged { .. }
        | SegmentError::Head { .. } => {
            "something else has this name, or has written to it: stop its server and clients, remove the file, and \
             start them again"
        }
        _ => "see the message",
    }
}
