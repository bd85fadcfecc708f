//! [`restart_outdated`]: restarts the owners of outdated pods through their pod templates.
//!
//! # Guarantees
//!
//! An owner is restarted at most once for each hash, whichever replica leads: the hash is in an annotation of the
//! template. A rollout that fails is therefore not tried again, and pods that it leaves outdated do not cause another.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use framebuffer_contract::kubernetes::{INJECT_LABEL, RESTARTED_ANNOTATION};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use super::context::Context;
use super::error::Error;
use super::pods::{Counted, Owner};
use super::restarted::Fate;
use crate::MANAGER;
use crate::api::status::PodCounts;
use crate::api::{FrameBuffer, UpdateKind};
use crate::events::send_event;
use crate::render::Rendering;

/// Delay from a change to the restarts for it. Pods created during it are restarted as well: another replica of the
/// webhook may have injected them before it saw the change.
pub(super) const SETTLE: SignedDuration = SignedDuration::from_secs(5);

/// Delay until owners whose restart failed are tried again.
const RETRY: Duration = Duration::from_mins(1);

const APPS: &str = "apps/v1";

/// The action in events about restarts.
const ACTION: &str = "Restart";

/// The result of restarting owners.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Owners that have been restarted for this change, now or earlier.
    pub(super) restarted: Vec<String>,
    /// Owners that the operator cannot restart.
    pub(super) unsupported: Vec<String>,
    /// Owners whose restart failed; it is tried again.
    pub(super) failed: Vec<String>,
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
    let nothing = || (Restarts::default(), None);
    let Some((Rendering { hash, content: _ }, since)) = rendering else { return nothing() };
    if update != UpdateKind::RollingRestart {
        return nothing();
    }
    if !context.may_restart {
        return (Restarts { off: true, ..Restarts::default() }, None);
    }
    if pods.outdated == 0 {
        return nothing();
    }
    let settled = since.map(|since| since + SETTLE);
    let Some(settled) = settled.filter(|settled| now >= *settled) else {
        let wait = settled.map_or(SETTLE, |settled| settled.duration_since(now)).unsigned_abs();
        return (Restarts { settling: true, ..Restarts::default() }, Some(wait));
    };
    let owners = {
        let pods = context.pods.lock().expect("nobody panics with this lock");
        owners(pods.of(&ObjectRef::from_obj(framebuffer)), hash, settled)
    };
    let restarts = restart(framebuffer, hash, owners, context).await;
    let next = (!restarts.failed.is_empty()).then_some(RETRY);
    (restarts, next)
}

/// Owners of outdated pods that were created before `before`. `None` stands for pods without an owner.
fn owners<'a>(pods: impl Iterator<Item = &'a Counted>, hash: &str, before: Timestamp) -> HashSet<Option<Owner>> {
    let outdated = |pod: &&Counted| pod.hash.as_deref() != Some(hash) && pod.created < before;
    pods.filter(outdated).map(|pod| pod.owner.clone()).collect()
}

/// Restarts the owners that have not been restarted for this hash.
async fn restart(framebuffer: &FrameBuffer, hash: &str, owners: HashSet<Option<Owner>>, context: &Context) -> Restarts {
    let key = &ObjectRef::from_obj(framebuffer);
    let mut failed = BTreeSet::new();
    let mut done = BTreeSet::new();
    for owner in owners {
        let known = context.restarted.lock().expect("nobody panics with this lock").of(key, hash).get(&owner).cloned();
        let fate = match known {
            Some(fate) => fate,
            None => match decide(framebuffer, hash, owner.as_ref(), context).await {
                Ok(fate) => {
                    announce(framebuffer, &fate, hash, context).await;
                    fate
                }
                Err(error) => {
                    if let Error::Restart { owner, .. } = &error {
                        failed.insert(owner.clone());
                    }
                    let note = format!("{:#}", error.brief());
                    warn!(error = note, "failed to restart an owner");
                    let object = framebuffer.object_ref(&());
                    send_event(&context.recorder, &object, EventType::Warning, "RestartFailed", ACTION, note).await;
                    continue;
                }
            },
        };
        context.restarted.lock().expect("nobody panics with this lock").of(key, hash).insert(owner, fate.clone());
        match fate {
            Fate::Restarted(name) | Fate::JustRestarted(name) => done.insert((true, name)),
            Fate::Unsupported(name) => done.insert((false, name)),
        };
    }
    let names = |wanted| done.iter().filter(move |(done, _)| *done == wanted).map(|(_, name)| name.clone()).collect();
    let failed = failed.into_iter().collect();
    Restarts { restarted: names(true), unsupported: names(false), failed, ..Restarts::default() }
}

/// Sends an event, once for each change.
async fn announce(framebuffer: &FrameBuffer, fate: &Fate, hash: &str, context: &Context) {
    let (type_, reason, note) = match fate {
        Fate::Restarted(_) => return,
        Fate::JustRestarted(owner) => {
            (EventType::Normal, "Restarted", format!("restarted {owner}: what is injected has changed to {hash}"))
        }
        Fate::Unsupported(owner) => {
            (EventType::Warning, "CannotRestart", format!("the operator cannot restart {owner}; replace their pods"))
        }
    };
    send_event(&context.recorder, &framebuffer.object_ref(&()), type_, reason, ACTION, note).await;
}

/// Restarts one owner, unless its template says that this was done already.
async fn decide(
    framebuffer: &FrameBuffer,
    hash: &str,
    owner: Option<&Owner>,
    context: &Context,
) -> Result<Fate, Error> {
    let namespace = framebuffer.namespace().unwrap_or_default();
    let workload = match owner {
        None => Err("pods without an owner".to_owned()),
        Some(owner) => workload(owner, &namespace, context).await?,
    };
    let (kind, name) = match workload {
        Ok(workload) => workload,
        Err(unsupported) => return Ok(Fate::Unsupported(unsupported)),
    };
    let title = format!("{kind} {name}");
    let failed = |source| Error::Restart { owner: title.clone(), source };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let Some(found) = api.get_opt(&name).await.map_err(failed)? else { return Ok(Fate::Restarted(title)) };
    let template = &found.data["spec"]["template"]["metadata"];
    if template["labels"][INJECT_LABEL].as_str() != Some(&framebuffer.name_any()) {
        return Ok(Fate::Unsupported(format!("{title} (its template lacks the label)")));
    }
    if template["annotations"][RESTARTED_ANNOTATION].as_str() == Some(hash) {
        return Ok(Fate::Restarted(title));
    }
    let annotations = json!({RESTARTED_ANNOTATION: hash});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&name, &params, &Patch::Merge(patch)).await.map_err(failed)?;
    context.metrics.restarts.inc();
    info!(namespace, kind, name, hash, "restarted an owner");
    Ok(Fate::JustRestarted(title))
}

/// Kind and name of the workload that has the template; `Err` with the title of an owner that the operator cannot
/// restart.
async fn workload(
    owner: &Owner,
    namespace: &str,
    context: &Context,
) -> Result<Result<(&'static str, String), String>, Error> {
    let title = format!("{} {}", owner.kind, owner.name);
    match (&*owner.api_version, &*owner.kind) {
        (APPS, "StatefulSet") => Ok(Ok(("StatefulSet", owner.name.to_string()))),
        (APPS, "DaemonSet") => Ok(Ok(("DaemonSet", owner.name.to_string()))),
        (APPS, "ReplicaSet") => {
            let api: Api<ReplicaSet> = Api::namespaced(context.client.clone(), namespace);
            let found = api.get_metadata_opt(&owner.name).await;
            let found = found.map_err(|source| Error::Restart { owner: title.clone(), source })?;
            let owners = found.iter().flat_map(ResourceExt::owner_references);
            let deployment = owners.into_iter().find(|owner| owner.controller == Some(true));
            Ok(match deployment {
                Some(owner) if owner.api_version == APPS && owner.kind == "Deployment" => {
                    Ok(("Deployment", owner.name.clone()))
                }
                Some(owner) => Err(format!("{} {}", owner.kind, owner.name)),
                None => Err(title),
            })
        }
        _ => Ok(Err(title)),
    }
}
