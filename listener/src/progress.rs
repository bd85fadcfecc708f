//! [`Progress`]: how far a connection is with its request, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bounds::ConnectionBounds;

/// How far a connection is with its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, and maybe in its TLS handshake.
    Handshake,
    /// Nothing of a request has come.
    Idle,
    /// A part of a request's head has come.
    Head,
    /// The head is complete. The body need not be.
    Request,
    /// The request is complete, the answer is not ready. Entered by whoever answers, who knows it: it is let finish.
    Work,
    /// The answer is being written.
    Answer,
    /// The asker has been told to go.
    Closing,
}

/// The phase of a connection, and since when.
pub struct Progress {
    state: Mutex<(Phase, Instant)>,
    dismissed: Notify,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new((Phase::Handshake, Instant::now())), dismissed: Notify::new() }
    }

    /// The connection is in `phase` now. An answer and the phase before it are one as to time.
    pub fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        let since = if phase == Phase::Answer { state.1 } else { Instant::now() };
        *state = (phase, since);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state().0
    }

    /// The phase, and when it began.
    pub(crate) fn state(&self) -> (Phase, Instant) {
        *self.lock()
    }

    /// When the connection has to be in another phase.
    pub(crate) fn deadline(&self, bounds: &ConnectionBounds) -> Instant {
        let (phase, since) = self.state();
        since
            + match phase {
                Phase::Handshake | Phase::Idle => bounds.idle,
                Phase::Head => bounds.head,
                Phase::Request => bounds.request,
                Phase::Work | Phase::Answer => bounds.answer,
                Phase::Closing => bounds.linger,
            }
    }

    /// Tells the connection to make room.
    pub(crate) fn dismiss(&self) {
        self.dismissed.notify_one();
    }

    pub(crate) async fn dismissed(&self) {
        self.dismissed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
