//! `fork` returns in the parent when the child has closed the parent's lock files.
//!
//! Until then the child keeps its parent's locks. That is an instant, but on a busy machine it can take until the child
//! gets a processor, and a parent that is killed meanwhile would be taken for alive. So the parent waits for the child
//! to close its end of a pipe: for [`LONGEST`] at most, since a debugger may stop the child there. A process without
//! locks does not wait.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;

use super::own_file::has_files_of_own;

/// The longest wait, in milliseconds.
const LONGEST: libc::c_int = 100;

/// No pipe.
const NONE: libc::c_int = -1;

/// The ends of the pipe for the fork that is in progress: there is one at a time, since it holds the gate.
static PIPE: [AtomicI32; 2] = [const { AtomicI32::new(NONE) }; 2];

/// Before a fork: opens the pipe. Without one, nobody waits.
pub(super) fn begin() {
    let mut ends = [NONE; 2];
    // SAFETY: pipe2 writes two numbers to `ends`.
    if has_files_of_own() && unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        ends = [NONE; 2];
    }
    PIPE.iter().zip(ends).for_each(|(end, fd)| end.store(fd, Ordering::Relaxed));
}

/// The fork in progress, after it: in the parent before it leaves the gate.
pub(super) fn take() -> Handover {
    let [from_child, to_parent] = [&PIPE[0], &PIPE[1]].map(|end| end.swap(NONE, Ordering::Relaxed));
    Handover { from_child, to_parent }
}

/// The pipe of one fork, in the parent or in the child.
pub(super) struct Handover {
    from_child: libc::c_int,
    to_parent: libc::c_int,
}

impl Handover {
    /// In the parent: waits until the child has called [`end`](Self::end), or is gone.
    pub(super) fn wait(self) {
        if self.from_child == NONE {
            return;
        }
        close(self.to_parent);
        let mut poll = libc::pollfd { fd: self.from_child, events: libc::POLLIN, revents: 0 };
        // Hang-up is always reported. A signal ends the wait early, which costs what is said above.
        // SAFETY: one pollfd, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, LONGEST) };
        close(self.from_child);
    }

    /// In the child: lets the parent go on. Async-signal-safe.
    pub(super) fn end(self) {
        if self.from_child != NONE {
            close(self.from_child);
            close(self.to_parent);
        }
    }
}

/// Closes an end of the pipe.
fn close(end: libc::c_int) {
    // SAFETY: each process has its own descriptors of the pipe, and nobody else uses them.
    unsafe { libc::close(end) };
}
