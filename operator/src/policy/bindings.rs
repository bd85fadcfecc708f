//! [`Bindings`]: creates, repairs and deletes them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tracing::{info, warn};

use super::binding::{POLICY_LABEL, Policy, binding, name, policy_resource, repair, resource, served};
use crate::client::{PAGE, watching};
use crate::{MANAGER, brief};

/// The most events taken at once.
const EVENTS: usize = 4096;

/// The most requests at a time.
const AT_ONCE: usize = 4;

/// Access to the policy and its bindings.
#[derive(Clone)]
pub struct Bindings {
    policy: String,
    /// Only the metadata of policies is read.
    policies: Api<PartialObjectMeta<DynamicObject>>,
    all: Api<DynamicObject>,
    metadata: Api<PartialObjectMeta<DynamicObject>>,
}

/// The result of one reconciliation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Names of `FrameBuffer`s that are bound; `true` if their binding was there before, and correct.
    pub bound: BTreeMap<String, bool>,
    /// The last binding that could not be created, repaired or deleted. All others were tried.
    pub failure: Option<String>,
    /// More bindings are to be deleted.
    pub more: bool,
}

impl Bindings {
    /// Access to the bindings of the policy with this name.
    pub fn new(client: &Client, policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            policies: Api::all_with(client.clone(), &policy_resource()),
            all: Api::all_with(client.clone(), &resource()),
            metadata: Api::all_with(client.clone(), &resource()),
        }
    }

    /// Selects all bindings of the policy.
    fn selector(&self) -> String {
        format!("{POLICY_LABEL}={}", self.policy)
    }

    /// An item for each change of the policy or its bindings; many events become one.
    pub(super) fn events(&self) -> impl Stream<Item = ()> + use<> {
        let bindings = watching().labels(&self.selector());
        let policy = watching().fields(&format!("metadata.name={}", self.policy));
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

    /// Creates missing bindings, repairs wrong ones, and deletes up to `delete` bindings that no name needs.
    ///
    /// # Errors
    ///
    /// The API server could not be asked.
    pub async fn reconcile(&self, policy: &Policy, names: &BTreeSet<String>, delete: usize) -> anyhow::Result<Round> {
        let wanted: BTreeMap<String, &String> =
            names.iter().map(|framebuffer| (name(&policy.name, framebuffer), framebuffer)).collect();
        let found = self.existing(policy, &wanted).await?;
        let mut round = Round::default();
        let mut ensured = stream::iter(&wanted)
            .map(async |(name, framebuffer)| {
                let ensured = match found.get(name) {
                    Some(true) => Ok(true),
                    found => self.ensure(found.is_some(), &binding(policy, framebuffer)).await,
                };
                (*framebuffer, ensured)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((framebuffer, ensured)) = ensured.next().await {
            match ensured {
                Ok(before) => drop(round.bound.insert(framebuffer.clone(), before)),
                Err(error) => round.failure = Some(format!("{error:#}")),
            }
        }
        let mut unwanted: Vec<&String> = found.keys().filter(|name| !wanted.contains_key(*name)).collect();
        round.more = delete > 0 && unwanted.len() > delete;
        unwanted.truncate(delete);
        let mut deleted = stream::iter(unwanted).map(|name| self.delete(name)).buffer_unordered(AT_ONCE);
        while let Some(deleted) = deleted.next().await {
            if let Err(error) = deleted {
                round.failure = Some(format!("{error:#}"));
            }
        }
        Ok(round)
    }

    /// The names of the bindings that exist, and whether each is as wanted. A page at a time, of which no more is kept:
    /// there can be thousands.
    async fn existing(
        &self,
        policy: &Policy,
        wanted: &BTreeMap<String, &String>,
    ) -> anyhow::Result<BTreeMap<String, bool>> {
        let mut params = ListParams::default().labels(&self.selector()).limit(PAGE);
        let mut found = BTreeMap::new();
        loop {
            let page = self.all.list(&params).await.map_err(brief).context("failed to list bindings of the policy")?;
            for object in &page.items {
                let name = object.name_any();
                let right = wanted.get(&name).is_some_and(|name| repair(object, &binding(policy, name)).is_none());
                found.insert(name, right);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Looks which names the chart's bindings serve, and writes nothing. A name counts as bound before if `before` says
    /// so.
    ///
    /// # Errors
    ///
    /// The API server could not be asked.
    pub async fn look(
        &self,
        policy: &Policy,
        names: &BTreeSet<String>,
        before: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Round> {
        let found = self.all.list(&ListParams::default().labels(&self.selector())).await.map_err(brief);
        let found = found.context("failed to list bindings of the policy")?;
        let served = served(policy, &found.items, names);
        let failure = (served.len() < names.len()).then(|| {
            "no binding of the chart serves this name: labelled pods are refused until `helm upgrade` adds it to \
             injection.names"
                .to_owned()
        });
        let bound = served.into_iter().map(|name| (name.clone(), before(&name))).collect();
        Ok(Round { bound, failure, more: false })
    }

    /// Creates or repairs a binding; returns whether it was there before, and correct.
    async fn ensure(&self, exists: bool, wanted: &Value) -> anyhow::Result<bool> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let failed = || format!("failed to write binding `{name}`");
        if !exists {
            match self.create(wanted).await {
                Ok(()) => return Ok(false),
                // Somebody has removed its label, or another replica was faster.
                Err(kube::Error::Api(refused)) if refused.code == 409 => {}
                Err(error) => return Err(brief(error)).with_context(failed),
            }
        }
        let found = self.all.get(name).await.map_err(brief).with_context(failed)?;
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
        info!(name = binding.name_any(), "created a binding");
        Ok(())
    }

    async fn delete(&self, name: &str) -> anyhow::Result<()> {
        match self.all.delete(name, &DeleteParams::default()).await {
            Ok(_) => info!(name, "deleted a binding"),
            Err(kube::Error::Api(refused)) if refused.code == 404 => {}
            Err(error) => return Err(brief(error)).with_context(|| format!("failed to delete binding `{name}`")),
        }
        Ok(())
    }
}
