//! What can go wrong with frames: [`Error`](enum@Error) and [`FrameBufferTimeout`].
//!
//! What can go wrong with the segment itself (creating, opening, joining) is [`SegmentError`].

use thiserror::Error;

use crate::{Checksum, SegmentError};

/// Why a frame could not be allocated, written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame is not, or no longer, what was promised. Expected in normal operation when a reader is slow.
    #[error(transparent)]
    Timeout(#[from] FrameBufferTimeout),
    /// A frame larger than the ring.
    #[error("a frame of {size} bytes is larger than the ring, which holds frames of at most {limit} bytes")]
    LargerThanRing {
        /// Bytes asked for.
        size: u64,
        /// Bytes that the largest frame can have.
        limit: u64,
    },
    /// The whole ring is held by pins (views, loans, slow readers and writers): no room for another frame.
    #[error("no room for a frame of {size} bytes: views, loans or other operations hold {pins} ranges of the ring")]
    Exhausted {
        /// Bytes asked for.
        size: u64,
        /// How many ranges were held when the attempt was given up.
        pins: usize,
    },
    /// An offset that `allocate` never returned.
    #[error("offset {offset} was never allocated (the ring's head is at {head})")]
    NeverAllocated {
        /// The offset asked for.
        offset: u64,
        /// Stream position up to which the ring has been allocated.
        head: u64,
    },
    /// More data than was allocated.
    #[error("{len} bytes do not fit into the {allocated} bytes allocated for this frame")]
    TooLarge {
        /// Bytes given to `write`.
        len: u64,
        /// Bytes allocated.
        allocated: u64,
    },
    /// The frame is already written, or somebody is writing it: a frame is written once.
    #[error("the frame at offset {offset} is already written")]
    AlreadyWritten {
        /// The frame's offset.
        offset: u64,
    },
    /// The buffer given to `read_into` has another length than the frame.
    #[error("a buffer of {len} bytes does not match a frame of {size} bytes")]
    BufferLength {
        /// Length of the buffer in bytes.
        len: u64,
        /// Length of the frame in bytes.
        size: u64,
    },
    /// A `Loan` made before a `fork` and used after it, in the child: it belongs to the parent.
    #[error("this loan belongs to the parent process: a forked child cannot commit it")]
    Forked,
    /// `stop` was called and `start` was not.
    #[error("not started: call start() first")]
    Stopped,
    /// The ring's control block holds values that this protocol cannot produce: somebody has overwritten it.
    #[error("the control block is corrupt: {what} is {value}")]
    Corrupt {
        /// Which word.
        what: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The program has closed a file descriptor of this library, so others took this participant for dead. The next
    /// operation joins the ring anew.
    #[error("a file descriptor of this library was closed by the program, and the participant taken for dead")]
    Unseated,
    /// The process could not join the ring (after a fork, or with more operations at once than one slot carries).
    #[error("failed to join the ring")]
    Join(#[from] SegmentError),
}

/// The bytes that were promised are not there: the ring has moved on, or they were never written.
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
        /// How many bytes too late: the frame would still be there if the ring were this much larger.
        behind: u64,
        /// How many times the ring has been filled since the frame, at least 1.
        laps: u64,
    },
    /// Allocated but not committed: not written yet, or its writer gave up or died.
    #[error("not written yet")]
    NotWritten,
    /// The frame there has another size.
    #[error("mismatch, {promised} bytes were promised but {committed} were written")]
    SizeMismatch {
        /// Size asked for.
        promised: u64,
        /// Size of the frame.
        committed: u64,
    },
    /// The frame there has another checksum.
    #[error("mismatch, checksum {promised} was promised but the frame has {found}")]
    ChecksumMismatch {
        /// Checksum asked for.
        promised: Checksum,
        /// Checksum of the frame.
        found: Checksum,
    },
}

impl TimeoutReason {
    /// The reason in one word, as metrics label it: `overwritten`, `not_written` or `mismatch`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overwritten { .. } => "overwritten",
            Self::NotWritten => "not_written",
            Self::SizeMismatch { .. } | Self::ChecksumMismatch { .. } => "mismatch",
        }
    }
}
