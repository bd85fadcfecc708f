//! Work detached from the interpreter, so that other Python threads run meanwhile.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors;

/// From this many bytes on, detach: that takes about as long as moving 2 KiB, and a thread that computes in Python may
/// keep us from attaching again for 5 ms.
const DETACH_FROM: usize = 16 << 10;

/// How often a wait checks for signals.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Runs `work`, which moves `len` bytes.
#[inline]
pub(crate) fn moving<T: Send>(py: Python<'_>, len: usize, work: impl FnOnce() -> T + Send) -> T {
    if len < DETACH_FROM { work() } else { py.detach(work) }
}

/// Runs long `work` in a thread of its own, so that a signal (Ctrl-C) ends the wait for it. The work then goes on, and
/// its result is dropped.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::channel();
    // Sending fails if nobody waits any more: then the result is dropped.
    let thread = framebuffer::threads::spawn("framebuffer-wait", move || _ = sender.send(work()));
    thread.map_err(|error| errors::other(format!("failed to start a thread: {error}")))?;
    loop {
        let result;
        (result, receiver) = py.detach(move || (receiver.recv_timeout(LOOK), receiver));
        match result {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Err(errors::other("the work ended without a result")),
        }
    }
}
