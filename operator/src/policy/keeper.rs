//! [`Keeper`]: when bindings are made and removed. Every replica makes what is missing when it starts, so that a switch of the
//! carrier need not wait for a leader; the leader does the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::binding::{Policy, names};
use super::bindings::{Bindings, Round};
use crate::api::FrameBuffer;
use crate::carrier::{Bound, Readiness};

/// From a change to the work for it, so that many changes are worked on at once.
const GATHER: Duration = Duration::from_millis(100);

/// Bindings that are removed before names are looked at again: new ones don't wait for a thousand old ones to go.
const REMOVED_AT_ONCE: usize = 50;

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// From the making of a binding, or of the policy, until it is counted on. API servers look for such changes once a second.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// Makes what is missing, until it has succeeded and API servers have noticed.
pub async fn make_missing(bindings: &Bindings, store: &Store<FrameBuffer>) {
    // The store's writer lives as long as the replica.
    let _ = store.wait_until_ready().await;
    loop {
        match once(bindings, &wanted(store)).await {
            Ok(Some(Round { bound, failure: None, .. })) => {
                if bound.values().any(|before| !before) {
                    sleep(SETTLE).await;
                }
                return;
            }
            Ok(Some(Round { failure, .. })) => warn!(failure, "failed to make a binding"),
            Ok(None) => warn!(policy = bindings.policy_name(), "the policy does not exist"),
            Err(error) => warn!(error = format!("{error:#}"), "failed to make bindings"),
        }
        sleep(RETRY).await;
    }
}

/// `None` without a policy.
async fn once(bindings: &Bindings, names: &BTreeSet<String>) -> anyhow::Result<Option<Round>> {
    let Some(policy) = bindings.policy().await? else { return Ok(None) };
    bindings.bring_about(&policy, names, 0).await.map(Some)
}

fn wanted(store: &Store<FrameBuffer>) -> BTreeSet<String> {
    let all = store.state();
    names(all.iter().filter_map(|framebuffer| framebuffer.metadata.name.as_deref()))
}

/// The leader's part.
pub struct Keeper {
    bindings: Bindings,
    store: Store<FrameBuffer>,
    /// `FrameBuffer`s have come or gone.
    changed: watch::Receiver<()>,
    readiness: watch::Sender<Option<Readiness>>,
    /// Those of the last round.
    names: BTreeSet<String>,
    known: Known,
}

/// What was found, and since when it can be counted on.
#[derive(Debug, Default)]
pub(super) struct Known {
    policy: Option<(Policy, Instant)>,
    bound: BTreeMap<String, Instant>,
    /// Why not more are bound.
    failure: Option<String>,
    /// There is more to remove.
    more: bool,
}

impl Known {
    /// Takes in what a round has found. What was there when the leader started has been there before.
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

    /// Counts on no other names than these from now on: their bindings are about to go, and a `FrameBuffer` that takes such a name
    /// meanwhile has to wait for a new one.
    pub(super) fn withdraw(&mut self, names: &BTreeSet<String>) {
        self.bound.retain(|name, _| names.contains(name));
    }

    /// The policy is gone: one that comes has to be noticed by the API servers.
    pub(super) fn forget(&mut self, name: &str) {
        self.policy = Some((Policy { name: name.to_owned(), uid: String::new() }, Instant::now()));
        self.bound.clear();
    }

    /// What can be counted on, and when there will be more.
    pub(super) fn readiness(&self, now: Instant) -> (Readiness, Option<Instant>) {
        let Some((policy, since)) = &self.policy else {
            return (Readiness::PolicyNotReady("the leader has just started".to_owned()), None);
        };
        if policy.uid.is_empty() {
            let name = &policy.name;
            let why = format!(
                "MutatingAdmissionPolicy {name} does not exist: labelled pods are refused until `helm upgrade` puts it back"
            );
            return (Readiness::PolicyNotReady(why), None);
        }
        if *since > now {
            return (Readiness::PolicyNotReady("the API server is being told of the policy".to_owned()), Some(*since));
        }
        let next = self.bound.values().filter(|since| **since > now).min().copied();
        let settled = self.bound.iter().filter(|(_, since)| **since <= now).map(|(name, _)| name.clone());
        let bound = Bound { names: settled.collect(), failure: self.failure.clone() };
        (Readiness::Bound(Arc::new(bound)), next)
    }
}

impl Keeper {
    /// Of the bindings for what is in `store`; tells on `readiness` how it is going.
    pub fn new(
        bindings: Bindings,
        store: Store<FrameBuffer>,
        changed: watch::Receiver<()>,
        readiness: watch::Sender<Option<Readiness>>,
    ) -> Self {
        Self { bindings, store, changed, readiness, names: BTreeSet::new(), known: Known::default() }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let _ = self.store.wait_until_ready().await;
        let mut edits = std::pin::pin!(self.bindings.events());
        loop {
            let (readiness, next, failed) = self.round().await;
            self.tell(readiness);
            let retry = failed.then(|| Instant::now() + RETRY);
            let more = self.known.more.then(Instant::now);
            let due = [next, retry, more].into_iter().flatten().min();
            tokio::select! {
                () = self.names_change() => {}
                _ = edits.next() => sleep(GATHER).await,
                () = async { if let Some(due) = due { sleep_until(due).await } else { std::future::pending().await } } => {}
            }
        }
    }

    fn tell(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|told| {
            let new = Some(readiness);
            let differs = *told != new;
            *told = new;
            differs
        });
    }

    async fn names_change(&mut self) {
        // The sender lives as long as the replica.
        while self.changed.changed().await.is_ok() {
            sleep(GATHER).await;
            if wanted(&self.store) != self.names {
                return;
            }
        }
    }

    /// How it is now, when it will be better by itself, and whether it has to be tried again.
    async fn round(&mut self) -> (Readiness, Option<Instant>, bool) {
        self.names = wanted(&self.store);
        self.known.withdraw(&self.names);
        if self.readiness.borrow().is_some() {
            self.tell(self.known.readiness(Instant::now()).0);
        }
        let done = async {
            let Some(policy) = self.bindings.policy().await? else { return Ok(None) };
            let round = self.bindings.bring_about(&policy, &self.names, REMOVED_AT_ONCE).await?;
            anyhow::Ok(Some((policy, round)))
        };
        match done.await {
            Ok(Some((policy, round))) => self.known.learn(policy, round, Instant::now()),
            Ok(None) => self.known.forget(self.bindings.policy_name()),
            Err(error) => {
                let why = format!("{error:#}");
                warn!(error = why, "failed to keep bindings");
                // What was in place still is, as far as anybody knows.
                let readiness = self.readiness.borrow().clone().unwrap_or(Readiness::PolicyNotReady(why));
                return (readiness, None, true);
            }
        }
        let (readiness, next) = self.known.readiness(Instant::now());
        (readiness, next, self.known.failure.is_some())
    }
}
