//! Leader election by a Lease: who runs the controller and writes certificates.
//!
//! # Guarantees
//!
//! At most one replica works at a time, as far as clocks run at the same speed (and but for a moment when the webhook takes over from
//! the other injector): a leader that cannot renew its lease stops
//! before another may take it. Clocks need not agree: a candidate measures on its own clock how long the lease has not
//! changed.

mod lease;

use std::future::Future;
use std::time::Duration;

use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::injector::Injector;
use lease::{Action, Candidate, LeaseExt as _, Observed, decide};

/// How the lease is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A lease that has not changed for so long may be taken.
    pub lease: Duration,
    /// A leader that has not renewed for so long stops. Shorter than the lease.
    pub deadline: Duration,
    /// Between two looks at it.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(15), deadline: seconds(10), retry: seconds(3) }
    }
}

/// A candidate.
pub struct Election {
    api: Api<lease::Lease>,
    name: String,
    me: Candidate,
    timing: Timing,
    observed: Observed,
}

impl Election {
    /// For the lease `name`, as `me`: a name that no other replica has. A replica of the webhook deposes a leader of the other
    /// injector; see [`lease`].
    pub fn new(client: Client, namespace: &str, name: &str, me: &str, injector: Injector, timing: Timing) -> Self {
        let api = Api::namespaced(client, namespace);
        let me = Candidate { name: me.to_owned(), injector };
        Self { api, name: name.to_owned(), me, timing, observed: Observed::default() }
    }

    /// Works whenever this replica leads, until it is cancelled; then gives the lease back. Work is dropped when the lease
    /// is lost.
    pub async fn run<F: Future<Output = ()>>(mut self, shutdown: CancellationToken, mut work: impl FnMut() -> F) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.acquire() => {}
            }
            info!(lease = self.name, me = self.me.name, "leading");
            // In this order: a leader that was stopped for long sees that its lease is over before it works on.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.release().await,
                () = self.renew() => warn!(lease = self.name, "lost the lease"),
                () = work() => warn!(lease = self.name, "the leader's work has ended; taking it up again"),
            }
        }
    }

    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => debug!(error = &error as &dyn std::error::Error, "failed to take the lease"),
            }
            sleep(self.timing.retry).await;
        }
    }

    /// Returns when the lease is lost.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.timing.retry).await;
            let left = self.timing.deadline.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to renew the lease"),
            }
        }
    }

    /// Whether this replica holds the lease now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let current = self.api.get_opt(&self.name).await?;
        let age = self.observed.age(current.as_ref(), Instant::now());
        let next = match decide(current, age, &self.me, self.timing.lease, jiff::Timestamp::now()) {
            Action::Wait => return Ok(false),
            Action::Create(lease) => self.api.create(&kube::api::PostParams::default(), &lease.named(&self.name)).await,
            Action::Replace(lease) => self.api.replace(&self.name, &kube::api::PostParams::default(), &lease).await,
        };
        match next {
            Ok(lease) => {
                self.observed.age(Some(&lease), Instant::now());
                Ok(true)
            }
            // Another was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// So that another need not wait for its end.
    async fn release(self) {
        let release = async {
            let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let Some(released) = lease.released(&self.me.name) else { return Ok(()) };
            self.api.replace(&self.name, &kube::api::PostParams::default(), &released).await.map(drop)
        };
        match timeout(self.timing.retry, release).await {
            Ok(Ok(())) => info!(lease = self.name, "gave the lease back"),
            Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to give the lease back"),
            Err(_) => warn!("the API server took too long to take the lease back"),
        }
    }
}

#[cfg(test)]
mod tests;
