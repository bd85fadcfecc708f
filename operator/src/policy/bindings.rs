//! [`Bindings`]: reads, makes, repairs and removes them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tracing::{info, warn};

use super::binding::{POLICY_LABEL, Policy, binding, name, policy_resource, repair, resource};
use crate::{MANAGER, brief};

/// Events at a time.
const EVENTS: usize = 4096;

/// Requests at a time.
const AT_ONCE: usize = 4;

/// Access to the policy and its bindings.
#[derive(Clone)]
pub struct Bindings {
    policy: String,
    /// Of no policy is more read than its metadata.
    policies: Api<PartialObjectMeta<DynamicObject>>,
    all: Api<DynamicObject>,
    metadata: Api<PartialObjectMeta<DynamicObject>>,
}

/// What was found, and what became of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Names of `FrameBuffer`s that are bound; `true` if they were before.
    pub bound: BTreeMap<String, bool>,
    /// One that the API server has refused to make or remove. The others have been tried.
    pub failure: Option<String>,
    /// There is more to remove.
    pub more: bool,
}

impl Bindings {
    /// Of the policy of this name.
    pub fn new(client: &Client, policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            policies: Api::all_with(client.clone(), &policy_resource()),
            all: Api::all_with(client.clone(), &resource()),
            metadata: Api::all_with(client.clone(), &resource()),
        }
    }

    /// All bindings of the policy.
    fn selector(&self) -> String {
        format!("{POLICY_LABEL}={}", self.policy)
    }

    /// Whatever happens to the policy and its bindings, many events as one.
    pub(super) fn events(&self) -> impl Stream<Item = ()> + use<> {
        let bindings = watcher::Config::default().labels(&self.selector());
        let policy = watcher::Config::default().fields(&format!("metadata.name={}", self.policy));
        let bindings = watcher(self.metadata.clone(), bindings).default_backoff().map_ok(drop).boxed();
        let policy = watcher(self.policies.clone(), policy).default_backoff().map_ok(drop).boxed();
        let failed =
            |error: &watcher::Error| warn!(error = error as &dyn std::error::Error, "failed to watch bindings");
        let events = stream::select(bindings, policy).inspect_err(failed);
        events.filter_map(|event| std::future::ready(event.ok())).ready_chunks(EVENTS).map(drop)
    }

    pub(super) fn policy_name(&self) -> &str {
        &self.policy
    }

    /// The policy, if it is there.
    ///
    /// # Errors
    ///
    /// The API server could not be asked.
    pub async fn policy(&self) -> anyhow::Result<Option<Policy>> {
        let found = self.policies.get_opt(&self.policy).await.map_err(brief);
        let found = found.with_context(|| format!("failed to read MutatingAdmissionPolicy `{}`", self.policy))?;
        Ok(found.map(|found| Policy { name: self.policy.clone(), uid: found.uid().unwrap_or_default() }))
    }

    /// Makes what is missing and repairs what is wrong; then removes of what nobody asks for as many as `remove`.
    ///
    /// # Errors
    ///
    /// The API server could not be asked.
    pub async fn bring_about(&self, policy: &Policy, names: &BTreeSet<String>, remove: usize) -> anyhow::Result<Round> {
        let found = self.all.list(&ListParams::default().labels(&self.selector())).await.map_err(brief);
        let found = found.context("failed to list bindings of the policy")?;
        let found: BTreeMap<String, DynamicObject> =
            found.items.into_iter().map(|binding| (binding.name_any(), binding)).collect();
        let mut round = Round::default();
        let mut made = stream::iter(names)
            .map(async |framebuffer| {
                let wanted = binding(policy, framebuffer);
                let before = found.get(&name(&policy.name, framebuffer));
                (framebuffer, self.keep(before, &wanted).await)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((framebuffer, kept)) = made.next().await {
            match kept {
                Ok(before) => drop(round.bound.insert(framebuffer.clone(), before)),
                Err(error) => round.failure = Some(format!("{error:#}")),
            }
        }
        let wanted: BTreeSet<String> = names.iter().map(|framebuffer| name(&policy.name, framebuffer)).collect();
        let mut unwanted: Vec<&String> = found.keys().filter(|name| !wanted.contains(*name)).collect();
        round.more = remove > 0 && unwanted.len() > remove;
        unwanted.truncate(remove);
        let mut removed = stream::iter(unwanted).map(|name| self.remove(name)).buffer_unordered(AT_ONCE);
        while let Some(removed) = removed.next().await {
            if let Err(error) = removed {
                round.failure = Some(format!("{error:#}"));
            }
        }
        Ok(round)
    }

    /// Whether it was there, and right.
    async fn keep(&self, found: Option<&DynamicObject>, wanted: &Value) -> anyhow::Result<bool> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let failed = || format!("failed to make binding `{name}`");
        let found = match found {
            Some(found) => found.clone(),
            None => match self.create(wanted).await {
                Ok(()) => return Ok(false),
                // Somebody has taken its label away, or another replica was faster.
                Err(kube::Error::Api(refused)) if refused.code == 409 => {
                    self.all.get(name).await.map_err(brief).with_context(failed)?
                }
                Err(error) => return Err(brief(error)).with_context(failed),
            },
        };
        let Some(patch) = repair(&found, wanted) else { return Ok(true) };
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.all.patch(name, &params, &patch).await.map_err(brief).with_context(failed)?;
        info!(name, "repaired a binding");
        Ok(false)
    }

    async fn create(&self, wanted: &Value) -> Result<(), kube::Error> {
        let binding: DynamicObject = serde_json::from_value(wanted.clone()).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.all.create(&params, &binding).await?;
        info!(name = binding.name_any(), "made a binding");
        Ok(())
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self.all.delete(name, &DeleteParams::default()).await {
            Ok(_) => info!(name, "removed a binding"),
            Err(kube::Error::Api(refused)) if refused.code == 404 => {}
            Err(error) => return Err(brief(error)).with_context(|| format!("failed to remove binding `{name}`")),
        }
        Ok(())
    }
}
