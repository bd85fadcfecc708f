//! Threads that belong to this library, not to the program: they never run its signal handlers.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// Starts a thread that blocks all signals, from its first instruction on: signals to the process go to the program's
/// own threads, whose handlers may rely on that.
///
/// # Errors
///
/// If there can be no more threads (`ulimit -u`, a control group's `pids.max`).
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    // A new thread has the mask of the one that starts it.
    let _blocked = Blocked::new()?;
    Builder::new().name(name.to_owned()).spawn(work)
}

/// All signals are blocked in this thread until this is dropped.
#[derive(Debug)]
pub(crate) struct Blocked {
    before: SigSet,
}

impl Blocked {
    pub(crate) fn new() -> io::Result<Self> {
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        Ok(Self { before })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
        debug_assert!(restored.is_ok(), "a mask that was there before");
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_thread_of_ours_is_born_with_all_signals_blocked_and_its_parent_keeps_its_mask() {
        let before = SigSet::thread_get_mask().expect("a mask");
        let inside =
            spawn("test", SigSet::thread_get_mask).expect("a thread").join().expect("no panic").expect("a mask");
        let unblocked: Vec<_> = Signal::iterator().filter(|&signal| !inside.contains(signal)).collect();
        assert_eq!(unblocked, [Signal::SIGKILL, Signal::SIGSTOP], "these two cannot be blocked");
        assert_eq!(SigSet::thread_get_mask().expect("a mask"), before);
    }
}
