//! [`restart_outdated`]: restarts the owners of outdated pods through their pod templates. [`super::workload`] reads
//! owners, [`super::pace`] bounds how many roll at once, [`super::survey`] counts those that another leader has
//! restarted, [`super::replicas`] tells when an upgrade of the operator is over, [`super::restarted`] remembers what
//! became of each.
//!
//! # Guarantees
//!
//! - An owner is restarted at most once for each change, whichever replica leads: an annotation of the template names
//!   the change, by hash and time. A rollout that fails is therefore not tried again, and pods that it leaves outdated
//!   do not cause another. A change that is taken back is a change of its own. Whoever takes back a *restart*
//!   (`kubectl rollout undo`) sees it repeated by another leader at most.
//! - Nothing is restarted while replicas of another rollout of the operator run.
//! - A workload that is set not to replace its pods is left alone until it is set otherwise.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use framebuffer_contract::kubernetes::{INJECT_LABEL, RESTARTED_ANNOTATION};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::context::Context;
use super::error::Error;
use super::pods::{Counted, Owner};
use super::restarted::Fate;
use super::survey::survey;
use super::workload::{Progress, Workload, is_restarted, of_owner, template};
use crate::MANAGER;
use crate::api::status::PodCounts;
use crate::api::{FrameBuffer, UpdateKind};
use crate::events::send_event;
use crate::render::Rendering;

/// Delay from a change to the restarts for it. Pods created during it are restarted as well: another replica of the
/// webhook may have injected them before it saw the change.
pub(super) const SETTLE: SignedDuration = SignedDuration::from_secs(5);

/// Delay until owners are looked at again whose restart failed, or that are set not to replace their pods.
const RETRY: Duration = Duration::from_mins(1);

/// Delay until owners are looked at again that roll, or that wait for others.
const POLL: Duration = Duration::from_secs(10);

/// The action in events about restarts.
const ACTION: &str = "Restart";

/// The result of restarting owners, by what became of them.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Owners that have been restarted for this change, now or earlier.
    pub(super) restarted: BTreeSet<String>,
    /// Owners that roll.
    pub(super) rolling: BTreeSet<String>,
    /// How many owners wait until others have rolled.
    pub(super) waiting: usize,
    /// Owners whose rollout does not end.
    pub(super) stuck: BTreeSet<String>,
    /// Owners whose restart somebody has taken back.
    pub(super) reverted: BTreeSet<String>,
    /// Owners that are set not to replace their pods, with the remedy.
    pub(super) held: BTreeSet<String>,
    /// Owners that the operator cannot restart.
    pub(super) unsupported: BTreeSet<String>,
    /// Owners whose restart failed; it is tried again.
    pub(super) failed: BTreeSet<String>,
    /// Replicas of another rollout of the operator, or why they are not known.
    pub(super) upgrading: Option<String>,
    /// Why it is not known which workloads roll already.
    pub(super) unknown: Option<String>,
    /// The operator is configured to restart nothing.
    pub(super) off: bool,
    /// The change has not settled yet.
    pub(super) settling: bool,
}

/// Restarts the owners of outdated pods if the strategy is `RollingRestart` and the change has settled: an edit may
/// follow another, and every replica of the webhook must have seen it. `rendering` comes with the time since when the
/// status has it. Returns also when to reconcile again.
pub(super) async fn restart_outdated(
    framebuffer: &FrameBuffer,
    rendering: Option<(&Rendering, Option<Timestamp>)>,
    update: UpdateKind,
    pods: PodCounts,
    context: &Context,
    now: Timestamp,
) -> (Restarts, Option<Duration>) {
    let nothing = |next| (Restarts::default(), next);
    let key = &ObjectRef::from_obj(framebuffer);
    // Also if nothing is outdated any more: new pods may not be ready yet.
    let rolling = follow(framebuffer, key, context, now).await;
    let poll = rolling.then_some(POLL);
    let Some((Rendering { hash, content: _, architectures: _ }, since)) = rendering else { return nothing(poll) };
    if update != UpdateKind::RollingRestart {
        return nothing(poll);
    }
    if !context.may_restart {
        return (Restarts { off: true, ..Restarts::default() }, None);
    }
    if pods.outdated == 0 {
        return nothing(poll);
    }
    let settled = since.map(|since| (since, since + SETTLE));
    let Some((since, settled)) = settled.filter(|(_, settled)| now >= *settled) else {
        let wait = settled.map_or(SETTLE, |(_, settled)| settled.duration_since(now)).unsigned_abs();
        return (Restarts { settling: true, ..Restarts::default() }, Some(wait));
    };
    let before = match others_until(context, now).await {
        Ok(until) => until.map_or(settled, |until| until.max(settled)),
        Err(upgrading) => return (Restarts { upgrading: Some(upgrading), ..Restarts::default() }, Some(POLL)),
    };
    if let Err(error) = survey(context, now).await {
        let why = format!("{:#}", error.brief());
        warn!(error = why, "failed to look which workloads roll already");
        return (Restarts { unknown: Some(why), ..Restarts::default() }, Some(POLL));
    }
    let owners = {
        let pods = context.pods.lock().expect("nobody panics with this lock");
        owners(pods.of(key), hash, before)
    };
    let change = Change { framebuffer, key, hash, id: format!("{hash}-{}", since.as_second()), now };
    let restarts = restart(&change, owners, context).await;
    let next = if !restarts.rolling.is_empty() || restarts.waiting > 0 {
        Some(POLL)
    } else {
        (!restarts.failed.is_empty() || !restarts.held.is_empty()).then_some(RETRY)
    };
    (restarts, next)
}

/// What owners are restarted for.
struct Change<'a> {
    framebuffer: &'a FrameBuffer,
    key: &'a ObjectRef<FrameBuffer>,
    hash: &'a str,
    /// Names it in the annotation of a template: the same content again, after another, is another change.
    id: String,
    now: Timestamp,
}

/// Until when other replicas of the operator ran, if they did; `Err` with their names while they do. Pods created until
/// then may have been injected by one of them.
async fn others_until(context: &Context, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let Some(replicas) = &context.replicas else { return Ok(None) };
    match replicas.seen(now).await {
        Ok(seen) if seen.others.is_empty() => Ok(seen.until),
        Ok(seen) => Err(format!("replicas of another rollout still run: {}", seen.others.join(", "))),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "failed to list the operator's replicas");
            Err("the operator's replicas are not known".to_owned())
        }
    }
}

/// Owners of outdated pods that were created before `before`. `None` stands for pods without an owner.
fn owners<'a>(pods: impl Iterator<Item = &'a Counted>, hash: &str, before: Timestamp) -> HashSet<Option<Owner>> {
    let outdated = |pod: &&Counted| pod.hash.as_deref() != Some(hash) && pod.created < before;
    pods.filter(outdated).map(|pod| pod.owner.clone()).collect()
}

/// Looks at the workloads that roll for this `FrameBuffer`. Returns whether any still does.
async fn follow(framebuffer: &FrameBuffer, key: &ObjectRef<FrameBuffer>, context: &Context, now: Timestamp) -> bool {
    let rolling = context.pace.lock().expect("nobody panics with this lock").of(key);
    let mut left = rolling.len();
    for workload in rolling {
        let found = workload.api(&context.client).get_opt(&workload.name).await;
        let found = found.inspect_err(|error| warn!(%error, %workload, "failed to follow a rollout"));
        let mut updated = None;
        let fate = match found {
            Ok(None) => Fate::Restarted(workload.to_string()),
            Ok(Some(found)) => {
                let found = serde_json::to_value(found).expect("an object has string keys only");
                updated = Some(workload.updated(&found));
                if is_restarted(&found) { fate(&workload, &found) } else { Fate::Reverted(workload.to_string()) }
            }
            Err(_) => Fate::Rolling(workload.clone()),
        };
        let Some(fate) = ended(&workload, fate, updated, context, now) else { continue };
        left -= 1;
        context.restarted.lock().expect("nobody panics with this lock").rolled(key, &workload, &fate);
        announce(framebuffer, &fate, context).await;
    }
    left > 0
}

/// The fate of a workload that does not roll any more, and gives its place to another.
fn ended(workload: &Workload, fate: Fate, updated: Option<i64>, context: &Context, now: Timestamp) -> Option<Fate> {
    let mut pace = context.pace.lock().expect("nobody panics with this lock");
    let fate = match fate {
        Fate::Rolling(_) if pace.is_stuck(workload, updated, now) => Fate::Stuck(workload.to_string()),
        Fate::Rolling(_) => return None,
        fate => fate,
    };
    pace.end(workload);
    Some(fate)
}

/// What has become of a workload whose template names the change.
fn fate(workload: &Workload, found: &Value) -> Fate {
    match workload.progress(found) {
        Progress::Rolling => Fate::Rolling(workload.clone()),
        Progress::Complete => Fate::Restarted(workload.to_string()),
        Progress::Stuck => Fate::Stuck(workload.to_string()),
        Progress::Partial(partition) => Fate::Held(format!(
            "{workload} keeps its pods with numbers below {partition} (its updateStrategy has a partition)"
        )),
    }
}

/// Restarts the owners that have not been restarted for this change.
async fn restart(change: &Change<'_>, owners: HashSet<Option<Owner>>, context: &Context) -> Restarts {
    let mut restarts = Restarts::default();
    for owner in owners {
        let cached = |fate: &Fate| !matches!(fate, Fate::Held(_));
        let known = {
            let mut restarted = context.restarted.lock().expect("nobody panics with this lock");
            restarted.of(change.key, &change.id).get(&owner).cloned()
        };
        let fate = match known.clone().filter(cached) {
            Some(fate) => Ok(Some(fate)),
            None => decide(change, owner.as_ref(), context).await,
        };
        match fate {
            Ok(Some(fate)) => {
                if known.as_ref() != Some(&fate) {
                    announce(change.framebuffer, &fate, context).await;
                }
                let mut restarted = context.restarted.lock().expect("nobody panics with this lock");
                restarted.of(change.key, &change.id).insert(owner, fate.clone());
                drop(restarted);
                restarts.add(fate);
            }
            Ok(None) => restarts.waiting += 1,
            Err(error) => restarts.failed.extend(report_failure(change, error, context).await),
        }
    }
    restarts
}

impl Restarts {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Rolling(workload) => self.rolling.insert(workload.to_string()),
            Fate::Restarted(owner) => self.restarted.insert(owner),
            Fate::Stuck(owner) => self.stuck.insert(owner),
            Fate::Reverted(owner) => self.reverted.insert(owner),
            Fate::Held(text) => self.held.insert(text),
            Fate::Unsupported(owner) => self.unsupported.insert(owner),
        };
    }
}

/// Returns the owner that could not be restarted.
async fn report_failure(change: &Change<'_>, error: Error, context: &Context) -> Option<String> {
    let owner = if let Error::Restart { owner, .. } = &error { Some(owner.clone()) } else { None };
    let note = format!("{:#}", error.brief());
    warn!(error = note, "failed to restart an owner");
    let object = change.framebuffer.object_ref(&());
    send_event(&context.recorder, &object, EventType::Warning, "RestartFailed", ACTION, note).await;
    owner
}

/// Sends an event about what has become of an owner; that it was restarted is said when it is.
async fn announce(framebuffer: &FrameBuffer, fate: &Fate, context: &Context) {
    let (reason, note) = match fate {
        Fate::Rolling(_) | Fate::Restarted(_) => return,
        Fate::Stuck(owner) => ("RestartStuck", format!("the rollout of {owner} does not end")),
        Fate::Reverted(owner) => ("RestartReverted", format!("somebody has taken back the restart of {owner}")),
        Fate::Held(text) => ("HeldBack", text.clone()),
        Fate::Unsupported(owner) => {
            ("CannotRestart", format!("the operator cannot restart {owner}; replace their pods"))
        }
    };
    send_event(&context.recorder, &framebuffer.object_ref(&()), EventType::Warning, reason, ACTION, note).await;
}

/// Restarts one owner, unless its template says that this was done already. `None` if it has to wait for others.
async fn decide(change: &Change<'_>, owner: Option<&Owner>, context: &Context) -> Result<Option<Fate>, Error> {
    let namespace = change.framebuffer.namespace().unwrap_or_default();
    let Some(owner) = owner else { return Ok(Some(Fate::Unsupported("pods without an owner".to_owned()))) };
    // Before any request: thousands may wait.
    if !context.pace.lock().expect("nobody panics with this lock").has_room_for(owner) {
        return Ok(None);
    }
    let workload = match of_owner(owner, &namespace, &context.client).await? {
        Ok(workload) => workload,
        Err(unsupported) => return Ok(Some(Fate::Unsupported(unsupported))),
    };
    let failed = |source| Error::Restart { owner: workload.to_string(), source };
    let found = workload.api(&context.client).get_opt(&workload.name).await.map_err(failed)?;
    let Some(found) = found else { return Ok(Some(Fate::Restarted(workload.to_string()))) };
    let found = serde_json::to_value(found).expect("an object has string keys only");
    let metadata = template(&found);
    if metadata["labels"][INJECT_LABEL].as_str() != Some(&change.framebuffer.name_any()) {
        return Ok(Some(Fate::Unsupported(format!("{workload} (its template lacks the label)"))));
    }
    let done = metadata["annotations"][RESTARTED_ANNOTATION].as_str();
    // Operators before this one wrote the hash alone.
    let fate = if done.is_some_and(|done| done == change.id || done == change.hash) {
        fate(&workload, &found)
    } else if let Some(hindrance) = workload.hindrance(&found) {
        Fate::Held(hindrance)
    } else {
        patch(change, &workload, context).await?;
        Fate::Rolling(workload)
    };
    if let Fate::Rolling(workload) = &fate {
        let mut pace = context.pace.lock().expect("nobody panics with this lock");
        pace.begin(workload.clone(), vec![owner.clone()], change.key.clone(), change.now);
    }
    Ok(Some(fate))
}

async fn patch(change: &Change<'_>, workload: &Workload, context: &Context) -> Result<(), Error> {
    let Workload { kind, namespace, name } = workload;
    let annotations = json!({RESTARTED_ANNOTATION: change.id});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = workload.api(&context.client).patch(name, &params, &Patch::Merge(patch)).await;
    patched.map_err(|source| Error::Restart { owner: workload.to_string(), source })?;
    context.metrics.restarts.inc();
    info!(namespace, kind, name, change = change.id, "restarted an owner");
    let note = format!("restarted {workload}: what is injected has changed to {}", change.hash);
    let object = change.framebuffer.object_ref(&());
    send_event(&context.recorder, &object, EventType::Normal, "Restarted", ACTION, note).await;
    Ok(())
}

#[cfg(test)]
mod tests;
