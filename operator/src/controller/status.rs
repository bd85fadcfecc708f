//! [`build`]: the status of a `FrameBuffer`. Pure: the clock is an argument. [`mod@write`]: sends it to the API server.

pub(super) mod write;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;
use serde_json::Value;

use super::restart::Restarts;
use super::watched::Dated;
use crate::api::status::{Injection, PodCounts, READY, UP_TO_DATE};
use crate::api::{FrameBufferStatus, PullSecret, UpdateKind};
use crate::render::{Content, Rendering};
use crate::validate::Invalid;

/// Owners that a message names; the rest are counted.
const NAMED: usize = 5;

/// What a status is built from.
pub(super) struct Found<'a> {
    /// The content of an injection, or why there is none.
    pub(super) rendering: Result<&'a Rendering, &'a Invalid>,
    pub(super) update: UpdateKind,
    pub(super) pods: PodCounts,
    /// Why pods don't get it although it is rendered: reason and message.
    pub(super) not_ready: Option<(&'static str, String)>,
    pub(super) restarts: &'a Restarts,
}

/// Builds the status. Times stay those of the status before as long as what they date has not changed.
pub(super) fn build(generation: Option<i64>, found: &Found<'_>, before: &Dated, now: Timestamp) -> FrameBufferStatus {
    let conditions = [(READY, ready(found)), (UP_TO_DATE, up_to_date(found))];
    FrameBufferStatus {
        observed_generation: generation,
        conditions: conditions.map(|(kind, verdict)| condition(kind, verdict, before, generation, now)).into(),
        pods: Some(found.pods),
        injection: found.rendering.ok().map(|rendering| injection(rendering, before, now)),
    }
}

struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn ready(found: &Found<'_>) -> Verdict {
    match (found.rendering, &found.not_ready) {
        (Err(invalid), _) => Verdict { status: "False", reason: "InvalidSpec", message: invalid.to_string() },
        (Ok(_), Some((reason, message))) => Verdict { status: "False", reason, message: message.clone() },
        (Ok(_), None) => {
            let message = "labelled pods that are created now get the ring".to_owned();
            Verdict { status: "True", reason: "Injecting", message }
        }
    }
}

fn up_to_date(found: &Found<'_>) -> Verdict {
    let PodCounts { matched, ready: _, outdated } = found.pods;
    if found.rendering.is_err() {
        let message = "pods cannot be compared with an invalid spec".to_owned();
        return Verdict { status: "Unknown", reason: "InvalidSpec", message };
    }
    if outdated == 0 {
        let message = "every labelled pod has the current injection".to_owned();
        return Verdict { status: "True", reason: "UpToDate", message };
    }
    let some = format!("{outdated} of {matched} pods have an older injection than the current one");
    let said = match found.update {
        UpdateKind::OnDelete => vec![("WaitingForDelete", "they get it when they are replaced".to_owned())],
        UpdateKind::RollingRestart => restarts(found.restarts),
    };
    let reason = said.first().map_or("NotRestarted", |(reason, _)| reason);
    let what = said.into_iter().map(|(_, what)| what).collect::<Vec<_>>().join("; ");
    Verdict { status: "False", reason, message: format!("{some}; {what}") }
}

/// What becomes of outdated pods, the most urgent first: reasons and texts.
fn restarts(restarts: &Restarts) -> Vec<(&'static str, String)> {
    let Restarts {
        restarted,
        rolling,
        waiting,
        stuck,
        reverted,
        held,
        unsupported,
        failed,
        upgrading,
        unknown,
        off,
        settling,
    } = restarts;
    if *off {
        let what = "the operator is set to restart nothing; they get it when they are replaced";
        return vec![("RestartsOff", what.to_owned())];
    }
    if *settling {
        return vec![("Settling", "they are restarted in a moment".to_owned())];
    }
    if let Some(why) = upgrading {
        return vec![("UpgradeInProgress", format!("they are restarted once the operator is upgraded ({why})"))];
    }
    if let Some(why) = unknown {
        return vec![(
            "RestartFailed",
            format!("which workloads roll already is not known, which is looked up again: {why}"),
        )];
    }
    let again = |names: String| format!("failed to restart {names}, which is tried again each minute");
    let by_hand = |names: String| format!("the operator cannot restart {names}; replace their pods");
    let stopped = |names: String| format!("{names} restarted, but the rollout does not end: `kubectl rollout status`");
    let undone = |names: String| format!("somebody has taken back the restart of {names}; restart them by hand");
    let waits =
        (*waiting > 0).then(|| ("WaitingForOthers", format!("{waiting} workloads wait until others have rolled")));
    let all = [
        named(failed).map(|names| ("RestartFailed", again(names))),
        named(held).map(|texts| ("HeldBack", texts)),
        named(unsupported).map(|names| ("CannotRestart", by_hand(names))),
        named(stuck).map(|names| ("RestartStuck", stopped(names))),
        named(reverted).map(|names| ("RestartReverted", undone(names))),
        named(rolling).map(|names| ("Restarting", format!("being restarted for it: {names}"))),
        waits,
        named(restarted).map(|names| ("Restarted", format!("restarted for it: {names}"))),
    ];
    let said: Vec<_> = all.into_iter().flatten().collect();
    if said.is_empty() {
        let what = "they were created after the change and are not restarted for it";
        return vec![("NotRestarted", what.to_owned())];
    }
    said
}

/// The first few; `None` if there are none.
fn named(owners: &BTreeSet<String>) -> Option<String> {
    let names = owners.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match owners.len().saturating_sub(NAMED) {
        _ if owners.is_empty() => None,
        0 => Some(names),
        more => Some(format!("{names} and {more} more")),
    }
}

fn condition(
    kind: &str,
    Verdict { status, reason, message }: Verdict,
    before: &Dated,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let same = before.condition(kind).filter(|condition| condition.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: same.map_or_else(|| seconds(now), |same| same.since.clone()),
        observed_generation,
    }
}

/// Truncated to seconds, as the API server stores times.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn injection(rendering: &Rendering, before: &Dated, now: Timestamp) -> Injection {
    let Rendering { hash, content, architectures: _ } = rendering;
    let Content { containers, sidecar, volume, volume_mount, env, image_pull_secrets } = content;
    Injection {
        hash: hash.clone(),
        rendered_at: before.rendered_at(hash).map_or_else(|| seconds(now), Time),
        containers: containers.clone(),
        sidecar: json(sidecar),
        volume: json(volume),
        volume_mount: json(volume_mount),
        env: env.iter().map(json).collect(),
        image_pull_secrets: image_pull_secrets.iter().map(|secret| PullSecret { name: secret.name.clone() }).collect(),
    }
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types have string keys only")
}

#[cfg(test)]
mod tests;
