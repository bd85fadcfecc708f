//! [`SegmentError`]: what can go wrong when a segment is created, adopted, opened or joined.

use std::io;

use framebuffer_contract::InvalidSize;
use framebuffer_contract::segment::SIZE_LIMIT;
use thiserror::Error;

use crate::key::InvalidKey;

/// Why a segment could not be created, adopted, opened or joined. Nothing was changed in a segment that was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The key is not one.
    #[error("invalid key")]
    Key(#[from] InvalidKey),
    /// A ring of no bytes.
    #[error("the ring's size is 0 bytes, it needs at least 1")]
    ZeroSize,
    /// A ring larger than the address space allows.
    #[error("a ring of {size} bytes is larger than the limit of {limit} bytes")]
    SizeLimit {
        /// Bytes asked for.
        size: u64,
        /// The largest ring in bytes.
        limit: u64,
    },
    /// A ring larger than the memory there is.
    #[error("a ring of {size} bytes needs {needed} bytes with its headers, but {limited_by} has only {available} left")]
    NoMemory {
        /// Bytes asked for.
        size: u64,
        /// Bytes of the whole segment.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// What it is that has no more.
        limited_by: &'static str,
    },
    /// A live server owns this key.
    #[error("another server owns the ring with this key")]
    AlreadyOwned,
    /// No segment has this key.
    #[error("there is no ring with this key in {dir} (is its server running, and is this the same folder there?)")]
    NotFound {
        /// The folder.
        dir: String,
    },
    /// The file is too short to be a segment.
    #[error("not a FrameBuffer segment: the file has {len} bytes, it should have at least {needed}")]
    TooShort {
        /// Bytes of the file.
        len: u64,
        /// Bytes that it would need.
        needed: u64,
    },
    /// The file is something else.
    #[error("not a FrameBuffer segment: it starts with {found:#018x} instead of {expected:#018x}")]
    Magic {
        /// The first 8 bytes as a little-endian number.
        found: u64,
        /// What they should be.
        expected: u64,
    },
    /// The segment has another layout.
    #[error("the segment has layout version {found}, this library speaks version {supported}")]
    Version {
        /// The segment's version.
        found: u64,
        /// This library's version.
        supported: u64,
    },
    /// The segment's header contradicts itself or the file.
    #[error("the segment is damaged: its {what} is {found}, expected {expected}")]
    Damaged {
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// What it should hold.
        expected: u64,
    },
    /// The segment to adopt has another size.
    #[error("the existing ring has {found} bytes, {asked} were asked for")]
    SizeDiffers {
        /// Bytes of the existing ring.
        found: u64,
        /// Bytes asked for.
        asked: u64,
    },
    /// All participant slots are taken.
    #[error("all {limit} participant slots of the ring are taken: close clients that are no longer needed")]
    ParticipantsFull {
        /// How many slots there are.
        limit: usize,
    },
    /// The system refused something.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl SegmentError {
    /// Wraps what the system said about `action`; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}

impl From<InvalidSize> for SegmentError {
    fn from(invalid: InvalidSize) -> Self {
        match invalid {
            InvalidSize::Zero => Self::ZeroSize,
            InvalidSize::TooLarge { size } => Self::SizeLimit { size, limit: SIZE_LIMIT },
        }
    }
}
