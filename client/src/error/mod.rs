//! Errors of frame operations: [`Error`](enum@Error) and [`FrameBufferTimeout`].
//!
//! Errors of the segment itself (creating, opening, joining) are [`SegmentError`], in [`segment`]; those of channels
//! [`ChannelError`], in [`channel`].

use thiserror::Error;

use crate::checksum::Checksum;
use crate::frame::RingId;

pub(crate) mod channel;
pub(crate) mod segment;

use channel::ChannelError;
use segment::SegmentError;

/// Why a frame could not be allocated, written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The promised frame is not there, or no longer. Expected in normal operation when a reader is slow.
    #[error(transparent)]
    Timeout(#[from] FrameBufferTimeout),
    /// The frame is larger than the ring.
    #[error("a frame of {size} bytes is larger than the ring, which holds frames of at most {limit} bytes")]
    LargerThanRing {
        /// Bytes requested.
        size: u64,
        /// Size of the largest frame, in bytes.
        limit: u64,
    },
    /// Pins (views, loans, slow readers and writers) occupy so much of the ring that there is no room for the frame.
    #[error(
        "no room for a frame of {size} bytes: views, loans or other operations hold {pins} ranges of the ring, and the \
         largest frame that fits between them has {largest_free} bytes; release them, or have a larger ring"
    )]
    Exhausted {
        /// Bytes requested.
        size: u64,
        /// Number of pins when the attempt was given up, all of them of living participants.
        pins: usize,
        /// Bytes of the largest frame that would have fitted between the pins.
        largest_free: u64,
    },
    /// `allocate` never returned this offset, in this ring: it may be an offset of a ring that this one has replaced.
    #[error(
        "offset {offset} was never allocated in this ring, whose head is at {head}: it is wrong, or of a ring that \
         this \
         one has replaced"
    )]
    NeverAllocated {
        /// The requested offset.
        offset: u64,
        /// Stream position up to which the ring is allocated.
        head: u64,
    },
    /// The data is longer than the allocated frame.
    #[error("{len} bytes do not fit into the {allocated} bytes allocated for this frame")]
    TooLarge {
        /// Length of the data, in bytes.
        len: u64,
        /// Bytes allocated.
        allocated: u64,
    },
    /// The frame is already written, or is being written: a frame is written once.
    #[error("the frame at offset {offset} is already written")]
    AlreadyWritten {
        /// The frame's offset.
        offset: u64,
    },
    /// The buffer passed to `read_into` differs in length from the frame.
    #[error("a buffer of {len} bytes does not match a frame of {size} bytes")]
    BufferLength {
        /// Length of the buffer in bytes.
        len: u64,
        /// Length of the frame in bytes.
        size: u64,
    },
    /// The `Loan` was made before a `fork` and is used in the child: it belongs to the parent.
    #[error("this loan belongs to the parent process: a forked child cannot commit it")]
    Forked,
    /// `stop` was called, and `start` has not been called since.
    #[error("not started: call start() first")]
    Stopped,
    /// The control block holds a value that the protocol cannot produce: some program has overwritten it.
    #[error("the control block is corrupt: {what} is {value}")]
    Corrupt {
        /// The word's name.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// This process has lost its participant slot: the program closed a file descriptor of this library, so others took
    /// the participant for dead. What it had begun is not committed. The next operation joins the ring again.
    #[error("a file descriptor of this library was closed by the program, and the participant taken for dead")]
    ParticipantLost,
    /// The ring was given up: its owner has stopped, or another ring has taken its place. What is written there reaches
    /// nobody any more. Open the ring anew.
    #[error("the ring was given up by its owner (stopped or replaced): open it anew")]
    Retired,
    /// The server has lost its ring to another one: the program closed the file that held the owner's lock.
    #[error(
        "this server does not own its ring any more: the program closed a file descriptor of this library, and the \
         ring was taken over or removed; a new ring takes a stop() and a start()"
    )]
    OwnershipLost,
    /// The server's check of its ring has failed: see [`FrameBufferServer::check`](crate::FrameBufferServer::check).
    #[error("the ring is out of order")]
    OutOfOrder(#[source] SegmentError),
    /// The frame is of another ring than the one that is open, in which the same offset means something else. One has
    /// replaced the other: either the frame is gone with its ring, or it is new, and the ring is to be opened anew.
    #[error(
        "the frame is of ring {frame}, not of ring {ring}, which is open: if that has replaced the frame's ring, the \
         frame is gone; if the frame is newer, open the ring anew"
    )]
    OtherRing {
        /// The ring that the frame is in.
        frame: RingId,
        /// The ring that is open.
        ring: RingId,
    },
    /// The channel could not be opened, or the frame not be sent over it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The process could not join the ring: after a fork, or for another slot when all pins of one were in use.
    #[error("failed to join the ring")]
    Join(#[from] SegmentError),
}

/// The promised bytes are not there: the ring has moved on, or they were never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("frame at offset {offset} timed out: {reason}")]
pub struct FrameBufferTimeout {
    /// The frame's offset.
    pub offset: u64,
    /// Why.
    pub reason: TimeoutReason,
}

/// Why a frame timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimeoutReason {
    /// The ring has moved past the frame.
    #[error("overwritten, the ring has moved {behind} bytes ({laps} laps) past it")]
    Overwritten {
        /// Bytes by which the reader is late: a ring larger by this much would still have the frame.
        behind: u64,
        /// Number of times the ring has been filled since the frame, at least 1.
        laps: u64,
    },
    /// Allocated but not committed: not written yet, or its writer gave up or died.
    #[error("not written yet")]
    NotWritten,
    /// The frame at this offset has another size.
    #[error("mismatch, {promised} bytes were promised but {committed} were written")]
    SizeMismatch {
        /// Promised size in bytes.
        promised: u64,
        /// Size of the frame in bytes.
        committed: u64,
    },
    /// The frame at this offset has another checksum.
    #[error("mismatch, checksum {promised} was promised but the frame has {found}")]
    ChecksumMismatch {
        /// Promised checksum.
        promised: Checksum,
        /// Checksum of the frame.
        found: Checksum,
    },
    /// The view has lost its protection, so its bytes may be those of another frame by now.
    #[error("no longer protected, the program closed a file descriptor of this library and was taken for dead")]
    Unprotected,
}

impl TimeoutReason {
    /// The reason as a metrics label: `overwritten`, `not_written` or `mismatch`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overwritten { .. } => "overwritten",
            Self::NotWritten => "not_written",
            Self::SizeMismatch { .. } | Self::ChecksumMismatch { .. } | Self::Unprotected => "mismatch",
        }
    }
}
