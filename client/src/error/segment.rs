//! [`SegmentError`]: why a segment could not be created, adopted, opened or joined.

use std::io;

use thiserror::Error;

use crate::key::InvalidKey;

/// Why a segment could not be created, adopted, opened or joined. A refused segment is left unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The key is not valid.
    #[error("invalid key")]
    Key(#[from] InvalidKey),
    /// The requested size is 0.
    #[error("the ring's size is 0 bytes, it needs at least 1")]
    ZeroSize,
    /// The requested size exceeds the address space.
    #[error("a ring of {size} bytes is larger than the limit of {limit} bytes")]
    SizeLimit {
        /// Bytes requested.
        size: u64,
        /// The largest ring in bytes.
        limit: u64,
    },
    /// The ring does not fit below a limit: of memory, of the folder, or of this process.
    #[error(
        "a ring of {size} bytes needs {needed} bytes, but {limited_by} leaves {available}: {remedy}{}",
        held_by_clients(*held)
    )]
    NoMemory {
        /// Size of the ring in bytes.
        size: u64,
        /// Bytes needed, of what the limit counts.
        needed: u64,
        /// Bytes left below the limit.
        available: u64,
        /// The limit, with its value.
        limited_by: Box<str>,
        /// How to raise it.
        remedy: &'static str,
        /// Bytes of earlier rings that clients may still have open, which holds their memory; 0 if none are known.
        held: u64,
    },
    /// The file system refused: another user owns the file or the folder, or it is mounted read-only.
    #[error("not permitted to {action}: {whose}: {remedy}")]
    NotPermitted {
        /// The attempted action.
        action: &'static str,
        /// Owner and mode of the file or the folder, and the user of this process.
        whose: Box<str>,
        /// What to do.
        remedy: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A live server owns this key.
    #[error("another server owns the ring with this key")]
    AlreadyOwned,
    /// The program closed the file that held the owner's lock, and the ring has got another owner since.
    #[error(
        "this server does not own its ring any more: the program closed a file descriptor of this library, and the \
         ring was taken over or removed; a new ring takes a stop() and a start()"
    )]
    OwnershipLost,
    /// The file of a ring that is in use has been deleted: nobody else can find the ring.
    #[error("the ring's file is gone from {dir}: somebody has deleted it")]
    NameGone {
        /// The folder.
        dir: String,
    },
    /// Another file has the name of the ring's file: whoever looks for the ring finds that one.
    #[error("the ring's file in {dir} was replaced by another file of its name")]
    NameTaken {
        /// The folder.
        dir: String,
    },
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
        /// Bytes of the shortest segment.
        needed: u64,
    },
    /// The file is not a segment.
    #[error("not a FrameBuffer segment: it starts with {found:#018x} instead of {expected:#018x}")]
    Magic {
        /// The first 8 bytes as a little-endian number.
        found: u64,
        /// The expected number.
        expected: u64,
    },
    /// The segment has another layout version.
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
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The expected value.
        expected: u64,
    },
    /// The head is where no allocation can have moved it.
    #[error("the segment is damaged: its head is {found}, expected a multiple of 64 from {least} to 2^63")]
    Head {
        /// Stream position of the head.
        found: u64,
        /// The position below which it cannot be.
        least: u64,
    },
    /// The segment to adopt has another size.
    #[error("the existing ring has {found} bytes, {asked} were asked for")]
    SizeDiffers {
        /// Bytes of the existing ring.
        found: u64,
        /// Bytes requested.
        asked: u64,
    },
    /// All participant slots are taken.
    #[error(
        "all {limit} participant slots of the ring are taken (one is the owner's own): close clients that are no \
         longer needed"
    )]
    ParticipantsFull {
        /// The number of slots.
        limit: usize,
    },
    /// This client has so many views, loans and operations in progress that another would take a slot that is left
    /// for others.
    #[error(
        "this client has {pins} views, loans and operations in progress, and of the ring's {participants} participant \
         slots the last {left} are left for others: release views and loans"
    )]
    PinsFull {
        /// Pins of this client.
        pins: usize,
        /// The number of slots.
        participants: usize,
        /// Slots left for others.
        left: usize,
    },
    /// A system call failed.
    #[error("failed to {action}")]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl SegmentError {
    /// Wraps the system's error about `action`; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}

/// The end of a message about a lack of memory, if earlier rings have a part in it.
fn held_by_clients(held: u64) -> String {
    if held == 0 {
        return String::new();
    }
    format!(
        "; clients that still have earlier rings open may hold {held} bytes of them: restart these clients, or let the \
         next server adopt the ring (keep, --keep, FRAMEBUFFER_KEEP) instead of replacing it"
    )
}
