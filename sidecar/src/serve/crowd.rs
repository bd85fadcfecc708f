//! [`Crowd`]: the open connections of one kind, of which there are only so many at a time.
//!
//! Who comes is let in. If all places are taken, the one who has kept its place for longest without getting on has to
//! leave: idle, dripping its request, or not taking its answer. Somebody who asks as soon as it is connected is
//! answered, however many others are there and say nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::bounds::Bounds;

/// The open connections of one kind.
pub(super) struct Crowd {
    size: usize,
    free: Arc<Semaphore>,
    members: Mutex<Members>,
}

struct Members {
    here: Vec<Arc<Progress>>,
    /// When the log was told last that it is crowded.
    warned: Option<Instant>,
}

/// The log is told that it is crowded once in this time: outsiders shall not fill it.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

impl Crowd {
    /// With room for `size` connections.
    pub(super) fn new(size: usize) -> Arc<Self> {
        let members = Mutex::new(Members { here: Vec::with_capacity(size), warned: None });
        Arc::new(Self { size, free: Arc::new(Semaphore::new(size)), members })
    }

    /// A place for a new connection; if there is none, as soon as another one has been told to leave and is gone.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        let free = Arc::clone(&self.free);
        if free.available_permits() == 0 {
            self.dismiss_one();
        }
        let permit = free.acquire_owned().await.expect("the semaphore is never closed");
        let progress = Arc::new(Progress::new());
        self.members().here.push(Arc::clone(&progress));
        Place { crowd: Arc::clone(self), progress, _permit: permit }
    }

    /// Tells the connection that is in its phase for longest to leave.
    pub(super) fn dismiss_one(&self) {
        let mut members = self.members();
        if let Some(slowest) = members.here.iter().min_by_key(|member| member.since()) {
            slowest.dismissed.notify_one();
        }
        if members.warned.is_none_or(|warned| warned.elapsed() > WARN_INTERVAL) {
            members.warned = Some(Instant::now());
            tracing::warn!(limit = self.size, "all connections are taken; new ones replace those that are idle");
        }
    }

    /// Waits until all are gone. Nobody may enter any more.
    pub(super) async fn gone(&self) {
        // The size comes from a table of small numbers.
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let _ = self.free.acquire_many(all).await;
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be connected. Drop it after the connection.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Waits until it is told to leave.
    pub(super) async fn dismissed(&self) {
        self.progress.dismissed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members().here.retain(|member| !Arc::ptr_eq(member, &self.progress));
    }
}

/// How far a connection is with its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a request's head has come.
    Head,
    /// The head is complete, the answer is not ready.
    Request,
    /// The answer is being written.
    Answer,
    /// The asker has been told to go.
    Closing,
}

/// The phase of a connection, and since when.
pub(super) struct Progress {
    state: Mutex<(Phase, Instant)>,
    dismissed: Notify,
}

impl Progress {
    fn new() -> Self {
        Self { state: Mutex::new((Phase::Idle, Instant::now())), dismissed: Notify::new() }
    }

    /// The connection is in `phase` now. A request and its answer are one phase as to time.
    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.state();
        let since = if phase == Phase::Answer { state.1 } else { Instant::now() };
        *state = (phase, since);
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().0
    }

    /// When the connection has to be in another phase.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Instant {
        let (phase, since) = *self.state();
        since
            + match phase {
                Phase::Idle => bounds.idle,
                Phase::Head => bounds.head,
                Phase::Request | Phase::Answer => bounds.request,
                Phase::Closing => bounds.linger,
            }
    }

    fn since(&self) -> Instant {
        self.state().1
    }

    fn state(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_not_got_on_for_longest_makes_room() {
        let crowd = Crowd::new(3);
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(crowd.enter().await);
        }
        // The first is the oldest, but it has just asked.
        places[0].progress().enter(Phase::Request);
        let entered = tokio::spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.enter().await }
        });
        places[1].dismissed().await;
        assert!(!entered.is_finished(), "the place is still taken");
        drop(places.remove(1));
        places.push(entered.await.unwrap());
        assert_eq!(crowd.members().here.len(), 3);
        places.clear();
        crowd.gone().await;
        assert_eq!(crowd.members().here.len(), 0);
    }
}
