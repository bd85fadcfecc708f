//! Leader election by a Lease: who runs the controller and writes certificates.
//!
//! # Guarantees
//!
//! At most one replica leads at a time, provided that clocks run at the same speed: a leader that cannot renew its
//! lease stops before another may take it. Clocks need not agree: a candidate measures on its own clock how long the
//! lease has not changed. The exception is a change of the injection mode to `webhook`, when two may lead for a moment.

mod lease;

use std::future::Future;
use std::time::Duration;

use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::injector::Injector;
use lease::{Action, Candidate, LeaseExt as _, Observed, decide};

/// The timing of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// After this long without a change, another replica may take the lease.
    pub lease: Duration,
    /// After this long without a renewal, a leader stops. Shorter than the lease.
    pub deadline: Duration,
    /// Delay between two attempts.
    pub retry: Duration,
    /// After this long an attempt is given up: the next one gets a new connection. Short enough for two in `deadline`.
    pub attempt: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(15), deadline: seconds(10), retry: seconds(3), attempt: seconds(4) }
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
    /// Competes for the lease `name` as `me`, which must be unique. A replica in webhook mode deposes a leader in
    /// policy mode; see [`lease`].
    pub fn new(client: Client, namespace: &str, name: &str, me: &str, injector: Injector, timing: Timing) -> Self {
        let api = Api::namespaced(client, namespace);
        let me = Candidate { name: me.to_owned(), injector };
        Self { api, name: name.to_owned(), me, timing, observed: Observed::default() }
    }

    /// Runs `work` whenever this replica leads, until `shutdown` is cancelled; then releases the lease. `work` is
    /// dropped when the lease is lost.
    pub async fn run<F: Future<Output = ()>>(mut self, shutdown: CancellationToken, mut work: impl FnMut() -> F) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.acquire() => {}
            }
            info!(lease = self.name, me = self.me.name, "leading");
            // Biased: a leader that hung for long must notice that its lease has expired before it continues.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.release().await,
                () = self.renew() => warn!(lease = self.name, "lost the lease"),
                () = work() => warn!(lease = self.name, "the leader's work has ended; starting it again"),
            }
        }
    }

    async fn acquire(&mut self) {
        loop {
            match timeout(self.timing.attempt, self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "failed to take the lease"),
                Err(_) => debug!(after = ?self.timing.attempt, "gave up an attempt to take the lease"),
            }
            sleep(self.timing.retry).await;
        }
    }

    /// Returns when the lease is lost.
    async fn renew(&mut self) {
        let Timing { deadline, retry, attempt, .. } = self.timing;
        let (mut renewed, mut pause) = (Instant::now(), retry);
        loop {
            sleep(pause).await;
            let left = deadline.saturating_sub(renewed.elapsed());
            if left.is_zero() {
                return;
            }
            // A failure is repeated sooner, while there is time.
            pause = retry / 3;
            match timeout(left.min(attempt), self.attempt()).await {
                Ok(Ok(true)) => (renewed, pause) = (Instant::now(), retry),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to renew the lease"),
                Err(_) => warn!(after = ?left.min(attempt), "gave up an attempt to renew the lease"),
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

    /// Releases the lease, so that another replica need not wait until it expires.
    async fn release(self) {
        let release = async {
            let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let Some(released) = lease.released(&self.me.name) else { return Ok(()) };
            self.api.replace(&self.name, &kube::api::PostParams::default(), &released).await.map(drop)
        };
        match timeout(self.timing.retry, release).await {
            Ok(Ok(())) => info!(lease = self.name, "released the lease"),
            Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to release the lease"),
            Err(_) => warn!("the API server took too long to release the lease"),
        }
    }
}

#[cfg(test)]
mod tests;
