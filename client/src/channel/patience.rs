//! [`Patience`]: how long a publisher waits for lossless subscribers.

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
        let moves = joined.cursors().announce_sleep();
        if joined.cursors().behind(number, keep as u64).is_some() {
            // Whatever ends the sleep, the caller looks again.
            let slept = futex::wait(&joined.words().missed.moves, moves, left.min(LOOK_AGAIN));
            if slept.is_err_and(|errno| errno != Errno::EINTR) {
                std::thread::sleep(left.min(Duration::from_millis(1)));
            }
        }
        Ok(())
    }
}
