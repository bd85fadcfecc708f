//! [`BindingReconciler`]: when bindings are created and deleted. Every replica creates missing ones when it starts, so
//! that a change of the injection mode need not wait for a leader; the leader does the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::binding::{Names, Policy};
use super::bindings::{Bindings, Round};
use crate::api::FrameBuffer;
use crate::injector::{Bound, Readiness};

/// Delay from a change to its reconciliation, so that many changes are reconciled at once.
const GATHER: Duration = Duration::from_millis(100);

/// The most bindings deleted in one round: new ones must not wait until a thousand old ones are deleted.
const DELETED_AT_ONCE: usize = 50;

/// Delay after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Delay from the creation of a binding, or of the policy, until it is in effect: API servers poll for them once a
/// second.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// Creates missing bindings, retrying until all exist and are in effect.
pub async fn create_missing(bindings: &Bindings, store: &Store<FrameBuffer>, max_names: usize) {
    // The store's writer lives as long as the replica.
    let _ = store.wait_until_ready().await;
    loop {
        match once(bindings, &wanted(store, max_names).chosen).await {
            Ok(Some(Round { bound, failure: None, .. })) => {
                if bound.values().any(|before| !before) {
                    sleep(SETTLE).await;
                }
                return;
            }
            Ok(Some(Round { failure, .. })) => warn!(failure, "failed to create a binding"),
            Ok(None) => warn!(policy = bindings.policy_name(), "the policy does not exist"),
            Err(error) => warn!(error = format!("{error:#}"), "failed to create bindings"),
        }
        sleep(RETRY).await;
    }
}

/// `None` without a policy.
async fn once(bindings: &Bindings, names: &BTreeSet<String>) -> anyhow::Result<Option<Round>> {
    let Some(policy) = bindings.policy().await? else { return Ok(None) };
    bindings.reconcile(&policy, names, 0).await.map(Some)
}

fn wanted(store: &Store<FrameBuffer>, max_names: usize) -> Names {
    Names::choose(store.state().iter().map(AsRef::as_ref), max_names)
}

/// Keeps the bindings equal to the names of `FrameBuffer`s. Run by the leader.
pub struct BindingReconciler {
    bindings: Bindings,
    store: Store<FrameBuffer>,
    /// Signals a change of `store`.
    changed: watch::Receiver<()>,
    readiness: watch::Sender<Option<Readiness>>,
    /// Whether the chart makes the bindings: this one then only looks at them.
    only_looks: bool,
    /// The names of the last round.
    names: Names,
    max_names: usize,
    known: Known,
}

/// The state found by the rounds, and since when it is in effect.
#[derive(Debug, Default)]
pub(super) struct Known {
    policy: Option<(Policy, Instant)>,
    bound: BTreeMap<String, Instant>,
    /// Why other names are not bound.
    failure: Option<String>,
    /// More bindings are to be deleted.
    more: bool,
    /// Names that are not bound, since there are more than the limit.
    pub(super) beyond: BTreeSet<String>,
    pub(super) limit: usize,
}

impl Known {
    /// Takes in the result of a round. Whatever exists when the leader starts counts as in effect.
    pub(super) fn learn(&mut self, policy: Policy, round: Round, now: Instant) {
        let Round { bound, failure, more } = round;
        (self.failure, self.more) = (failure, more);
        let since = match self.policy.take() {
            Some((before, since)) if before == policy => since,
            Some(_) => now + SETTLE,
            None => now,
        };
        self.policy = Some((policy, since));
        let before = std::mem::take(&mut self.bound);
        let since = |(name, right): (String, bool)| {
            let since = before.get(&name).copied().filter(|_| right);
            let since = since.unwrap_or(if right { now } else { now + SETTLE });
            (name, since)
        };
        self.bound = bound.into_iter().map(since).collect();
    }

    /// Forgets all names but these: the other bindings are about to be deleted, and a new `FrameBuffer` with such a
    /// name has to wait for a new binding.
    pub(super) fn withdraw(&mut self, names: &BTreeSet<String>) {
        self.bound.retain(|name, _| names.contains(name));
    }

    /// Whether a name was bound in the last round. Before the first, every name counts as bound.
    fn had(&self, name: &str) -> bool {
        self.policy.is_none() || self.bound.contains_key(name)
    }

    /// The policy is gone: API servers have to notice a new one.
    pub(super) fn forget(&mut self, name: &str) {
        self.policy = Some((Policy { name: name.to_owned(), uid: String::new() }, Instant::now()));
        self.bound.clear();
    }

    /// What is in effect now, and when that will change by itself.
    pub(super) fn readiness(&self, now: Instant) -> (Readiness, Option<Instant>) {
        let Some((policy, since)) = &self.policy else {
            return (Readiness::PolicyNotReady("the leader has just started".to_owned()), None);
        };
        if policy.uid.is_empty() {
            let name = &policy.name;
            let why = format!(
                "MutatingAdmissionPolicy {name} does not exist: labelled pods are refused until `helm upgrade` \
                 restores it"
            );
            return (Readiness::PolicyNotReady(why), None);
        }
        if *since > now {
            return (Readiness::PolicyNotReady("the policy is not in effect yet".to_owned()), Some(*since));
        }
        let next = self.bound.values().filter(|since| **since > now).min().copied();
        let settled = self.bound.iter().filter(|(_, since)| **since <= now).map(|(name, _)| name.clone());
        let (failure, beyond) = (self.failure.clone(), self.beyond.clone());
        let bound = Bound { names: settled.collect(), failure, beyond, limit: self.limit };
        (Readiness::Bound(Arc::new(bound)), next)
    }
}

impl BindingReconciler {
    /// A reconciler for the `FrameBuffer`s in `store`, whose changes `changed` signals. Reports on `readiness`. Binds
    /// at most `max_names`.
    pub fn new(
        bindings: Bindings,
        store: Store<FrameBuffer>,
        changed: watch::Receiver<()>,
        readiness: watch::Sender<Option<Readiness>>,
        max_names: usize,
    ) -> Self {
        let (names, known) = (Names::default(), Known::default());
        Self { bindings, store, changed, readiness, only_looks: false, names, max_names, known }
    }

    /// The same for bindings that the chart makes: it writes none, and reports which names they serve.
    #[must_use]
    pub fn only_looking(self) -> Self {
        Self { only_looks: true, max_names: usize::MAX, ..self }
    }

    /// Runs until the future is dropped.
    pub async fn run(mut self) {
        let _ = self.store.wait_until_ready().await;
        let mut edits = std::pin::pin!(self.bindings.events());
        loop {
            let (readiness, next, failed) = self.round().await;
            self.report(readiness);
            let retry = failed.then(|| Instant::now() + RETRY);
            let more = self.known.more.then(Instant::now);
            let due = [next, retry, more].into_iter().flatten().min();
            let timer =
                async { if let Some(due) = due { sleep_until(due).await } else { std::future::pending().await } };
            tokio::select! {
                () = self.names_change() => {}
                _ = edits.next() => sleep(GATHER).await,
                () = timer => {}
            }
        }
    }

    fn report(&self, readiness: Readiness) {
        let readiness = Some(readiness);
        self.readiness.send_if_modified(|current| {
            let changed = *current != readiness;
            *current = readiness;
            changed
        });
    }

    async fn names_change(&mut self) {
        // The sender lives as long as the replica.
        while self.changed.changed().await.is_ok() {
            sleep(GATHER).await;
            if wanted(&self.store, self.max_names) != self.names {
                return;
            }
        }
    }

    /// Reconciles once. Returns the readiness, when it will change by itself, and whether to retry.
    async fn round(&mut self) -> (Readiness, Option<Instant>, bool) {
        self.names = wanted(&self.store, self.max_names);
        self.known.withdraw(&self.names.chosen);
        (self.known.beyond, self.known.limit) = (self.names.beyond.clone(), self.max_names);
        if self.readiness.borrow().is_some() {
            self.report(self.known.readiness(Instant::now()).0);
        }
        let done = async {
            let Some(policy) = self.bindings.policy().await? else { return Ok(None) };
            let round = if self.only_looks {
                self.bindings.look(&policy, &self.names.chosen, |name| self.known.had(name)).await?
            } else {
                self.bindings.reconcile(&policy, &self.names.chosen, DELETED_AT_ONCE).await?
            };
            anyhow::Ok(Some((policy, round)))
        };
        match done.await {
            Ok(Some((policy, round))) => self.known.learn(policy, round, Instant::now()),
            Ok(None) => self.known.forget(self.bindings.policy_name()),
            Err(error) => {
                let why = format!("{error:#}");
                warn!(error = why, "failed to reconcile bindings");
                // One failure does not change the readiness known so far.
                let readiness = self.readiness.borrow().clone().unwrap_or(Readiness::PolicyNotReady(why));
                return (readiness, None, true);
            }
        }
        let (readiness, next) = self.known.readiness(Instant::now());
        (readiness, next, self.known.failure.is_some() && !self.only_looks)
    }
}
