//! How much of a replica others can take by connecting to it: connections, memory and time.
//!
//! Whoever reaches a port can ask; nobody has to log in. So the worst that all of them can do at once has to fit into
//! the chart's memory limit, beside the rest of the operator:
//!
//! ```text
//!   128 MiB  the chart's limit
//! -  26 MiB  64 connections to the webhook, each with a body of 64 KiB, an answer and the kernel's buffers
//! -   8 MiB  2 larger bodies of 4 MiB, while they are received
//! -  24 MiB  2 reviews in work, each decoded to at most 6 MiB, with its answer
//! -   6 MiB  16 connections to the admin port
//! =  64 MiB  for the rest: the operator itself, FrameBuffers, pods
//! ```

use std::time::Duration;

use framebuffer_listener::{ConnectionBounds, Lingers};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The most bytes of a request's head, and of what is read ahead.
const READ_BUFFER: usize = 16 * KIB;

/// The most headers of a request.
const MAX_HEADERS: usize = 48;

/// Socket buffers of a connection, each way. The kernel doubles them for its own records, and charges the container.
pub(super) const SOCKET_BUFFER: u32 = 32 * KIB as u32;

/// A body of up to this many bytes needs no place of its own. Most reviews have 5 to 50 KiB.
pub(super) const SMALL_BODY: usize = 64 * KIB;

/// The most bodies above [`SMALL_BODY`] at a time.
pub(super) const LARGE_BODIES: usize = 2;

/// The most bytes of a review. The API server accepts objects of up to 3 MiB, and a review of a creation has the pod
/// once; the last MiB is for what it adds: who asks, options, managed fields, and escapes in JSON.
pub const BODY_LIMIT: usize = 4 * MIB;

/// The most bytes that are read and thrown away behind a request that was refused before its end.
const DISCARDED: usize = 8 * MIB;

/// What may come over a listener's connections, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most connections at a time. If all are taken, a new one replaces the one that has not got on for longest.
    pub connections: usize,
    /// The most bytes of a request's body.
    pub body: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake, or from the last answer, to the first byte of a request.
    pub idle: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// From there to the last byte of the body, and for a large one's turn.
    pub receive: Duration,
    /// From there until the answer has been taken.
    pub answer: Duration,
    /// For the asker to hang up, if it was told that its request is not one.
    pub linger: Duration,
}

impl Bounds {
    /// Those of one connection.
    pub(super) const fn of_connection(&self) -> ConnectionBounds {
        ConnectionBounds {
            keep_alive: true,
            read_buffer: READ_BUFFER,
            headers: MAX_HEADERS,
            idle: self.idle,
            head: self.head,
            // The refusal of a slow one is an answer, which takes time too.
            request: self.receive.saturating_add(self.linger),
            answer: self.answer,
            // The API server may just be sending its next request.
            lingers: Lingers::Always,
            linger: self.linger,
            discarded: DISCARDED,
        }
    }
}

/// Of the webhook. The API server closes its connections after 90 idle seconds; if we were the first, we could close
/// one over which the next request is just coming. By default it waits 10 seconds for an answer.
pub const WEBHOOK: Bounds = Bounds {
    connections: 64,
    body: BODY_LIMIT,
    handshake: Duration::from_secs(5),
    idle: Duration::from_mins(2),
    head: Duration::from_secs(5),
    receive: Duration::from_secs(5),
    answer: Duration::from_secs(30),
    linger: Duration::from_secs(1),
};

/// Of the admin port.
pub const ADMIN: Bounds = Bounds {
    connections: 16,
    body: 0,
    handshake: Duration::from_secs(5),
    idle: Duration::from_mins(2),
    head: Duration::from_secs(5),
    receive: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    linger: Duration::from_secs(1),
};
