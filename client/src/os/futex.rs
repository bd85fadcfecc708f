//! Sleeping on a word of shared memory until another process wakes us (`futex(2)`, not private to the process).

use std::ops::ControlFlow;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use crate::sync::AtomicU64;

/// Sleeps until woken, as long as the lower half of `word` is that of `expected`, for at most `timeout`. May return
/// earlier.
///
/// # Errors
///
/// [`Errno::EINTR`] if a signal arrived; [`Errno::ENOSYS`] and others where there are no futexes (a sandbox that does
/// not have them): the time has not passed then.
pub(crate) fn wait(word: &AtomicU64, expected: u64, timeout: Duration) -> Result<(), Errno> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // The lower half of a little-endian word is at its address. The kernel compares it with the lower half of expected.
    let half = expected as u32;
    // SAFETY: the word and the timeout live for as long as the call, which changes neither.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, half, &raw const timeout) };
    match Errno::result(woken) {
        Ok(_) | Err(Errno::EAGAIN | Errno::ETIMEDOUT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Wakes all that sleep on `word`.
pub(crate) fn wake_all(word: &AtomicU64) {
    // SAFETY: the call only takes the word's address as a name.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    if let Err(errno) = Errno::result(woken) {
        // Sleepers look again by themselves after a while.
        tracing::debug!(%errno, "failed to wake subscribers");
    }
}

/// Sleeps for so long where there is no word to sleep on. [`ControlFlow::Break`] if a signal ended it, which
/// `thread::sleep` would not let happen.
pub(crate) fn pause(time: Duration) -> ControlFlow<()> {
    match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::empty(), &time.into()) {
        Err(Errno::EINTR) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sleeper_is_woken_and_one_that_comes_late_does_not_sleep() {
        let (word, awake) = (AtomicU64::new(5 << 32), AtomicU64::new(0));
        let long = Duration::from_mins(1);
        assert_eq!(wait(&word, 1, long), Ok(()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 5 << 32 {
                    wait(&word, 0, long).expect("a futex");
                }
                awake.store(1, Ordering::Release);
            });
            word.store((5 << 32) + 1, Ordering::Release);
            while awake.load(Ordering::Acquire) == 0 {
                wake_all(&word);
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn a_sleep_ends_by_itself() {
        let begun = Instant::now();
        assert_eq!(wait(&AtomicU64::new(0), 0, Duration::from_millis(5)), Ok(()));
        assert!(begun.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn a_pause_ends_by_itself_or_at_a_signal() {
        extern "C" fn nothing(_: libc::c_int) {}
        let begun = Instant::now();
        assert_eq!(pause(Duration::from_millis(5)), ControlFlow::Continue(()));
        assert!(begun.elapsed() >= Duration::from_millis(5));
        // SAFETY: the handler does nothing, and no other test uses this signal.
        unsafe { libc::signal(libc::SIGUSR2, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        // SAFETY: always.
        let (sleeper, is_over) = (unsafe { libc::pthread_self() }, AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    // SAFETY: the thread waits for this one at the end of the scope.
                    unsafe { libc::pthread_kill(sleeper, libc::SIGUSR2) };
                    std::thread::yield_now();
                }
            });
            assert_eq!(pause(Duration::from_mins(1)), ControlFlow::Break(()));
            is_over.store(true, Ordering::Release);
        });
    }
}
