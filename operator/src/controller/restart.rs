//! [`restart`]: owners of outdated pods, restarted through their pod templates.
//!
//! # Guarantees
//!
//! An owner is restarted at most once for each hash, whoever leads: the hash stands in the template's annotation. A
//! rollout that fails is therefore not tried again, and pods that come out of it outdated do not cause another.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use super::Context;
use super::pods::{Counted, Owner};
use super::reconcile::{Error, publish};
use crate::MANAGER;
use crate::api::{FrameBuffer, INJECT_LABEL, RESTARTED_ANNOTATION};

/// From a change to the restarts for it. Pods created before its end are restarted as well: another replica of the webhook
/// may have injected them before it saw the change.
pub(super) const SETTLE: SignedDuration = SignedDuration::from_secs(5);

const APPS: &str = "apps/v1";

/// What restarting came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Owners that have been restarted for this change, now or before.
    pub(super) restarted: Vec<String>,
    /// Owners that cannot be.
    pub(super) unsupported: Vec<String>,
    /// Owners whose restart failed; it is tried again.
    pub(super) failed: Vec<String>,
    /// The operator is set to restart nothing.
    pub(super) off: bool,
    /// It is too early.
    pub(super) settling: bool,
}

/// What was found out about owners, so that each is asked for once for each change. The templates' annotations are the
/// truth; this only saves requests.
#[derive(Debug, Default)]
pub(crate) struct Restarted(HashMap<ObjectRef<FrameBuffer>, (String, Fates)>);

/// What became of the owners, for one change.
type Fates = HashMap<Option<Owner>, Fate>;

/// What became of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Its template says that it has been restarted for this change.
    Restarted(String),
    JustRestarted(String),
    Unsupported(String),
}

impl Restarted {
    fn of(&mut self, key: &ObjectRef<FrameBuffer>, hash: &str) -> &mut Fates {
        let (known, fates) = self.0.entry(key.clone()).or_default();
        if known != hash {
            hash.clone_into(known);
            fates.clear();
        }
        fates
    }
}

/// Owners of outdated pods that were created before `before`. `None` stands for pods without one.
pub(super) fn owners<'a>(
    pods: impl Iterator<Item = &'a Counted>,
    hash: &str,
    before: Timestamp,
) -> HashSet<Option<Owner>> {
    let outdated = |pod: &&Counted| pod.hash.as_deref() != Some(hash) && pod.created < before;
    pods.filter(outdated).map(|pod| pod.owner.clone()).collect()
}

/// Restarts those that have not been restarted for this hash.
pub(super) async fn restart(
    framebuffer: &FrameBuffer,
    key: &ObjectRef<FrameBuffer>,
    hash: &str,
    owners: HashSet<Option<Owner>>,
    context: &Context,
) -> Report {
    let mut failed = BTreeSet::new();
    let mut report = BTreeSet::new();
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
                    publish(framebuffer, EventType::Warning, "RestartFailed", "Restart", note, context).await;
                    continue;
                }
            },
        };
        context.restarted.lock().expect("nobody panics with this lock").of(key, hash).insert(owner, fate.clone());
        match fate {
            Fate::Restarted(name) | Fate::JustRestarted(name) => report.insert((true, name)),
            Fate::Unsupported(name) => report.insert((false, name)),
        };
    }
    let names = |wanted| report.iter().filter(move |(done, _)| *done == wanted).map(|(_, name)| name.clone()).collect();
    let failed = failed.into_iter().collect();
    Report { restarted: names(true), unsupported: names(false), failed, ..Report::default() }
}

/// An event, once for each change.
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
    publish(framebuffer, type_, reason, "Restart", note, context).await;
}

/// Restarts one owner, unless its template says that it has been.
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

/// Kind and name of what keeps the template, or what it is that the operator cannot restart.
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
