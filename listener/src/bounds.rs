//! [`ConnectionBounds`]: what a connection may take, and for how long.

use std::time::Duration;

/// What a connection may take, and how long each step of a request may.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionBounds {
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// The most bytes of a request's head, and of what is read ahead. hyper takes 8 KiB at least.
    pub read_buffer: usize,
    /// The most headers of a request.
    pub headers: usize,
    /// From the connection's begin, or from the last answer, to the first byte of a request.
    pub idle: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// From there until the answer is there, or until whoever answers calls it [`Phase::Work`](crate::Phase::Work).
    pub request: Duration,
    /// From the begin of the last step until the answer has been taken.
    pub answer: Duration,
    /// When a connection waits for the asker to hang up, instead of being closed at once.
    pub lingers: Lingers,
    /// For the asker to hang up.
    pub linger: Duration,
    /// The most bytes that are read and thrown away meanwhile.
    pub discarded: usize,
}

/// When a connection waits for the asker to hang up. Closing a socket that has unread bytes resets the connection, and
/// the answer can be lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lingers {
    /// If the asker has begun a request that is not read to its end.
    WithinRequests,
    /// Whenever we are the ones who close it.
    Always,
}
