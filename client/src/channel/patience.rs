//! [`Patience`]: how long a publisher waits for lossless subscribers.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::joined::Joined;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::os::futex;

/// How long a publisher that is held up sleeps before it asks again whether the subscriber lives.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a publisher waits for lossless subscribers.
pub(super) struct Patience {
    timeout: Duration,
    begun: Option<Instant>,
}

impl Patience {
    #[inline]
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, begun: None }
    }

    /// Sleeps until a subscriber moves on, or for a while. Returns `held_up` once the time has passed.
    #[cold]
    pub(super) fn wait(
        &mut self,
        joined: &Joined<'_>,
        held_up: ChannelError,
        number: u64,
        keep: usize,
    ) -> Result<(), Error> {
        let passed = self.begun.get_or_insert_with(Instant::now).elapsed();
        let left = self.timeout.saturating_sub(passed);
        if left.is_zero() || matches!(held_up, ChannelError::KeepsNone { .. }) {
            return Err(held_up.into());
        }
        // Whatever ends the sleep, the caller looks again.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = sleep(joined, number, keep, left);
        Ok(())
    }
}

/// Sleeps until a subscriber moves on that holds up a publisher which keeps `keep` frames and is going to send this
/// number, for at most `timeout` and not for long. [`ControlFlow::Break`] if a signal ended it.
pub(super) fn sleep(joined: &Joined<'_>, number: u64, keep: usize, timeout: Duration) -> ControlFlow<()> {
    let moves = joined.cursors().announce_sleep();
    if joined.cursors().behind(number, keep as u64).is_none() {
        return ControlFlow::Continue(());
    }
    match futex::wait(&joined.words().missed.moves, moves, timeout.min(LOOK_AGAIN)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(Errno::EINTR) => ControlFlow::Break(()),
        // A sandbox without futexes.
        Err(_) => futex::pause(timeout.min(Duration::from_millis(1))),
    }
}
