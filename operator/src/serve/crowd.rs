//! [`Crowd`]: the open connections of a listener, of which there are only so many at a time.
//!
//! Who comes is let in. If all places are taken, the one who has kept its place for longest without getting on has to
//! leave: in the handshake, idle, dripping its request, or not taking its answer. A request that is being answered
//! stays. So whoever asks as soon as it is connected is answered, however many others are there and say nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;

use super::bounds::Bounds;

/// The log is told that it is crowded once in this time: outsiders shall not fill it.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// How often a newcomer looks for somebody to dismiss, while all others are being answered.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The open connections of a listener.
pub(super) struct Crowd {
    free: Arc<Semaphore>,
    members: Mutex<Members>,
    size: usize,
}

#[derive(Default)]
struct Members {
    here: Vec<Arc<Progress>>,
    warned: Option<Instant>,
}

impl Crowd {
    /// With room for `size` connections.
    pub(super) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(size)), members: Mutex::default(), size })
    }

    /// A place for a new connection; if there is none, as soon as another one has been told to leave and is gone.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let free = Arc::clone(&self.free).acquire_owned();
            if self.free.available_permits() == 0 {
                self.dismiss_one();
            }
            let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, free).await else { continue };
            let permit = permit.expect("the semaphore is never closed");
            let progress = Arc::new(Progress::new());
            self.members().here.push(Arc::clone(&progress));
            return Place { crowd: Arc::clone(self), progress, _permit: permit };
        }
    }

    /// Tells the connection that is in its phase for longest to leave.
    fn dismiss_one(&self) {
        let mut members = self.members();
        let waiting = members.here.iter().map(|member| (member.state(), member));
        let slowest = waiting.filter(|((phase, _), _)| *phase != Phase::Work).min_by_key(|((_, since), _)| *since);
        if let Some((_, slowest)) = slowest {
            slowest.dismissed.notify_one();
        }
        if members.warned.is_none_or(|warned| warned.elapsed() > WARN_INTERVAL) {
            members.warned = Some(Instant::now());
            warn!(limit = self.size, "all connections are taken; new ones replace those that do not get on");
        }
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
    /// The TLS handshake.
    Handshake,
    /// Nothing of a request has come.
    Idle,
    /// A part of a request's head has come.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The request is complete, the answer is not ready.
    Work,
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
        Self { state: Mutex::new((Phase::Handshake, Instant::now())), dismissed: Notify::new() }
    }

    /// The connection is in `phase` now. Work and answer are one phase as to time.
    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        let since = if phase == Phase::Answer { state.1 } else { Instant::now() };
        *state = (phase, since);
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().0
    }

    /// When the connection has to be in another phase.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Instant {
        let (phase, since) = self.state();
        since
            + match phase {
                Phase::Handshake => bounds.handshake,
                Phase::Idle => bounds.idle,
                Phase::Head => bounds.head,
                // The refusal of a slow one is an answer, which takes time too.
                Phase::Body => bounds.receive + bounds.linger,
                Phase::Work | Phase::Answer => bounds.answer,
                Phase::Closing => bounds.linger,
            }
    }

    fn state(&self) -> (Phase, Instant) {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_not_got_on_for_longest_makes_room_and_a_request_in_work_stays() {
        let crowd = Crowd::new(3);
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(crowd.enter().await);
        }
        places[0].progress().enter(Phase::Work);
        places[1].progress().enter(Phase::Idle);
        places[2].progress().enter(Phase::Head);
        let entered = tokio::spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.enter().await }
        });
        places[1].dismissed().await;
        assert!(!entered.is_finished(), "the place is still taken");
        drop(places.remove(1));
        let entered = entered.await.unwrap();
        assert_eq!(entered.progress().phase(), Phase::Handshake);
        assert_eq!(crowd.members().here.len(), 3);
    }
}
