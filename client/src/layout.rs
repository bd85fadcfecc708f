//! The segment's layout: every byte of the file `framebuffer-<key>`, version [`VERSION`].
//!
//! All words are 64-bit little-endian atomics at their natural alignment; what several processes write often has cache
//! lines of its own. Reserved bytes are zero.
//!
//! ```text
//! byte 0                                                           CONTROL BLOCK, 4096 bytes
//!  +----------------+----------------+----------------+----------------+
//!  | 0 magic (last) | 8 version      | 16 size        | 24 capacity    |  identity: written once,
//!  +----------------+----------------+----------------+----------------+  before the segment has a name
//!  | 32 ring offset | 40 created, ns | 48 segment id, 128 random bits  |
//!  +----------------+----------------+---------------------------------+
//!  | 64 participants| 72 in huge pages, bytes                          |  72: by the owner, as it gets them
//!  +----------------+--------------------------------------------------+
//!  | 128 head: stream position up to which the ring is allocated       |  moved by every allocation
//!  +-------------------------------------------------------------------+
//!  | 256 enrolled: a bit for each participant slot in use, 256 bits    |  changed when one comes or goes
//!  +-------------------------------------------------------------------+
//! byte 4096                                        PARTICIPANT SLOTS, 256 times 1344 bytes
//!  +----------------+----------------+---------------------------------+
//!  | 0 active pins  | 8 incarnation  | 16 pins, 64 times (start, end)  |  written by its holder, read
//!  |   (a bit each) |                |    1040 reserved                |  by every allocation
//!  +----------------+----------------+---------------------------------+
//!  | 1088 counters, 16 words | 1216 reserved                           |  written by its holder
//!  +-------------------------------------------------------------------+
//! byte 348160, or 2 MiB in rings of 64 MiB and more                   DATA RING, capacity bytes
//!  +-------------------------------------------------------------------+
//!  | frame header, 64 bytes | payload | padding to 64 bytes | header...|
//!  +-------------------------------------------------------------------+
//!
//! FRAME HEADER, 64 bytes in front of each payload
//!  +----------------+----------------+----------------+----------------+
//!  | 0 offset       | 8 allocated    | 16 length      | 24 state       |
//!  +----------------+----------------+----------------+----------------+
//!  | 32 checksum    | 40 committed,ns| 48 reserved                     |
//!  +----------------+----------------+---------------------------------+
//! ```
//!
//! Bytes of the file also serve as names for locks (`F_OFD_SETLK`): byte 0 for the owner, the first byte of each slot
//! for the slot's participant.
//!
//! A slot is an odd number of cache lines long, so that the first lines of all slots, which every allocation looks at,
//! spread over all sets of the cache. Its first line carries the first three pins: rarely are more in use.

use crate::sync::AtomicU64;

/// "FRAMEBUF" in ASCII, as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"FRAMEBUF");
/// Version of this layout. Segments of another version are refused.
pub(crate) const VERSION: u64 = 1;

/// Offset of the participant slots in the file.
pub(crate) const SLOTS_OFFSET: u64 = 4096;
/// Bytes of a participant slot: 21 cache lines.
pub(crate) const SLOT_SIZE: u64 = 1344;
/// Offset of the data ring in the file, when it has no huge pages to align to.
#[cfg(not(loom))]
pub(crate) const RING_OFFSET: u64 = framebuffer_contract::segment::CONTROL_LENGTH;

/// Frames start at multiples of this: a cache line.
pub(crate) const FRAME_ALIGN: u64 = 64;
/// Bytes of a frame header.
pub(crate) const HEADER_SIZE: u64 = 64;

/// Participant slots in a segment.
pub(crate) const PARTICIPANTS: usize = if cfg!(loom) { 3 } else { 256 };
/// Pins in a slot, one for each bit of its `active` word.
pub(crate) const PINS: usize = if cfg!(loom) { 2 } else { 64 };
/// Words of the bitmap `enrolled`.
pub(crate) const ENROLLED_WORDS: usize = PARTICIPANTS.div_ceil(64);
/// Words for counters in a slot.
pub(crate) const COUNTERS: usize = 16;

/// `start` of a pin that holds nothing.
pub(crate) const FREE: u64 = u64::MAX;

/// Values of a frame's state word. It only ever goes up.
pub(crate) mod state {
    /// Allocated, not yet written.
    pub(crate) const RESERVED: u64 = 1;
    /// Its one writer is at work, or gave up or died.
    pub(crate) const WRITING: u64 = 2;
    /// Written: immutable from here on. The checksum is that of the bytes.
    pub(crate) const COMMITTED: u64 = 3;
    /// Written, but nobody has hashed it: immutable, and the checksum says only which frame it is.
    pub(crate) const COMMITTED_UNHASHED: u64 = 4;
}

/// The control block.
#[repr(C, align(4096))]
#[cfg(not(loom))]
pub(crate) struct Control {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) size: AtomicU64,
    pub(crate) capacity: AtomicU64,
    pub(crate) ring_offset: AtomicU64,
    pub(crate) created: AtomicU64,
    pub(crate) id: [AtomicU64; 2],
    pub(crate) participants: AtomicU64,
    /// Bytes of the ring that its owner has got huge pages for. Just told, never relied on.
    pub(crate) huge: AtomicU64,
    _reserved: [u64; 6],
    pub(crate) head: AtomicU64,
    _own_lines: [u64; 15],
    pub(crate) enrolled: [AtomicU64; ENROLLED_WORDS],
}

/// A range of stream positions that must not be overwritten, or `start == FREE`.
#[repr(C)]
pub(crate) struct Pin {
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
}

/// What one participant publishes.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// A bit for each pin that is claimed.
    pub(crate) active: AtomicU64,
    /// Grows whenever the slot gets or loses a holder.
    pub(crate) incarnation: AtomicU64,
    pub(crate) pins: [Pin; PINS],
    pub(crate) counters: Counters,
}

/// The counters of a slot. They are no part of the protocol, so loom need not see them.
#[repr(C, align(64))]
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) words: [std::sync::atomic::AtomicU64; COUNTERS],
    _reserved: [u64; 16],
}

/// What stands in front of each payload.
#[repr(C, align(64))]
pub(crate) struct FrameHeader {
    /// Stream offset of the payload: a header that names another offset belongs to another frame.
    pub(crate) offset: AtomicU64,
    /// Bytes allocated for the payload.
    pub(crate) allocated: AtomicU64,
    /// Bytes committed.
    pub(crate) length: AtomicU64,
    /// One of [`state`].
    pub(crate) state: AtomicU64,
    /// XXH3-64 of the payload as a number; of its identity if nobody has hashed it.
    pub(crate) checksum: AtomicU64,
    /// When it was committed, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub(crate) committed: AtomicU64,
}

/// The byte map above, checked by the compiler.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(cfg!(all(target_endian = "little", target_pointer_width = "64")), "64-bit little-endian machines only");
    assert!(offset_of!(Control, head) == 128);
    assert!(offset_of!(Control, enrolled) == 256);
    assert!(size_of::<Control>() as u64 == SLOTS_OFFSET);
    assert!(offset_of!(Slot, pins) == 16);
    assert!(offset_of!(Slot, counters) == 1088);
    assert!(size_of::<Slot>() as u64 == SLOT_SIZE);
    assert!(size_of::<FrameHeader>() as u64 == HEADER_SIZE);
    assert!(RING_OFFSET == SLOTS_OFFSET + PARTICIPANTS as u64 * SLOT_SIZE);
    assert!(RING_OFFSET == 348_160);
};
