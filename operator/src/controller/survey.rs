//! [`survey`]: what rolls already when a replica becomes the leader. Another leader has restarted it, and only the
//! workloads show it: their templates have the annotation, and their rollouts are not complete. Without the survey a
//! new leader would restart as many again.
//!
//! It looks at the workloads of all labelled pods, once, before the first restart.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tracing::info;

use super::context::Context;
use super::error::Error;
use super::pace::DEADLINE;
use super::pods::Owner;
use super::workload::{Progress, Workload, is_restarted, of_owner};
use crate::MANAGER;
use crate::api::FrameBuffer;

/// Requests at a time.
const CONCURRENCY: usize = 8;

/// A workload, and what its pods say about it.
struct Candidate {
    framebuffer: ObjectRef<FrameBuffer>,
    owners: Vec<Owner>,
    /// When the newest of its pods was created.
    newest: Timestamp,
}

/// Counts what rolls already, unless that was done before.
pub(super) async fn survey(context: &Context, now: Timestamp) -> Result<(), Error> {
    let mut surveyed = context.surveyed.lock().await;
    if *surveyed {
        return Ok(());
    }
    let rolling = stream::iter(candidates(context).await?)
        .map(async |(workload, candidate)| {
            let since = rolls_since(&workload, &candidate, &context.client).await?;
            Ok::<_, Error>(since.map(|since| (workload, candidate, since)))
        })
        .buffer_unordered(CONCURRENCY);
    let rolling: Vec<_> = rolling.try_filter_map(async |found| Ok(found)).try_collect().await?;
    let names: BTreeSet<_> = rolling.iter().map(|(workload, ..)| workload.to_string()).collect();
    for (workload, Candidate { framebuffer, owners, newest: _ }, since) in rolling {
        // Whoever gave up on it was right to.
        if now.duration_since(since) <= DEADLINE {
            let mut pace = context.pace.lock().expect("nobody panics with this lock");
            pace.begin(workload, owners, framebuffer, since);
        }
    }
    if !names.is_empty() {
        info!(?names, "workloads that another leader has restarted still roll");
    }
    *surveyed = true;
    Ok(())
}

/// The workloads of all labelled pods.
async fn candidates(context: &Context) -> Result<HashMap<Workload, Candidate>, Error> {
    let owners = context.pods.lock().expect("nobody panics with this lock").owners();
    let found = stream::iter(owners)
        .map(async |((framebuffer, owner), newest)| {
            let namespace = framebuffer.namespace.clone().unwrap_or_default();
            let workload = readable(of_owner(&owner, &namespace, &context.client).await)?;
            Ok::<_, Error>((workload.and_then(Result::ok), framebuffer, owner, newest))
        })
        .buffer_unordered(CONCURRENCY);
    let mut candidates = HashMap::new();
    let mut found = std::pin::pin!(found);
    while let Some((workload, framebuffer, owner, newest)) = found.try_next().await? {
        let Some(workload) = workload else { continue };
        let new = || Candidate { framebuffer, owners: Vec::new(), newest };
        let candidate: &mut Candidate = candidates.entry(workload).or_insert_with(new);
        candidate.newest = candidate.newest.max(newest);
        candidate.owners.push(owner);
    }
    Ok(candidates)
}

/// When a workload that the operator has restarted made progress for the last time, if it still rolls; `None` if it
/// does not, or if nobody would follow it, since its `FrameBuffer` is gone.
async fn rolls_since(workload: &Workload, candidate: &Candidate, client: &Client) -> Result<Option<Timestamp>, Error> {
    let failed = |source| Error::Restart { owner: workload.to_string(), source };
    let found = readable(workload.api(client).get_opt(&workload.name).await.map_err(failed))?.flatten();
    let Some(found) = found else { return Ok(None) };
    let restarted = restarted_at(&found);
    let object: Value = serde_json::to_value(found).expect("an object has string keys only");
    if !is_restarted(&object) || workload.progress(&object) != Progress::Rolling {
        return Ok(None);
    }
    let framebuffers: Api<FrameBuffer> = Api::namespaced(client.clone(), &workload.namespace);
    let followed = framebuffers.get_metadata_opt(&candidate.framebuffer.name).await.map_err(failed)?;
    Ok(followed.map(|_| restarted.map_or(candidate.newest, |restarted| restarted.max(candidate.newest))))
}

/// When the operator has last written to a workload, which it does for restarts only.
fn restarted_at(workload: &DynamicObject) -> Option<Timestamp> {
    let ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(MANAGER);
    workload.managed_fields().iter().filter(ours).filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// `None` for what the operator may not read: it cannot have restarted it either.
fn readable<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(Error::Restart { source: kube::Error::Api(status), .. }) if status.is_forbidden() => Ok(None),
        found => found.map(Some),
    }
}
