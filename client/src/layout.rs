//! The segment's layout: every byte of the file `framebuffer-<key>`, version [`VERSION`].
//!
//! This is the only place that says where something lies; all other code, tests and fuzz targets take it from here.
//!
//! All words are 64-bit little-endian atomics at their natural alignment; words that several processes write often have
//! cache lines of their own. Reserved bytes are zero.
//!
//! ```text
//! byte 0                                                           CONTROL BLOCK, 4096 bytes
//!  +----------------+----------------+----------------+----------------+
//!  | 0 magic (last) | 8 version      | 16 size        | 24 capacity    |  identity: written once,
//!  +----------------+----------------+----------------+----------------+  before the segment has a name
//!  | 32 ring offset | 40 created, ns | 48 segment id, 128 random bits  |
//!  +----------------+----------------+---------------------------------+
//!  | 64 participants| 72 huge, bytes | 80 retired     | 88 kept        |  written by owners
//!  +----------------+----------------+----------------+----------------+
//!  | 96 window      | 104 largest allocations lately  | 120 reserved   |  written seldom
//!  +----------------+----------------+----------------+----------------+
//!  | 128 head: stream position up to which the ring is allocated       |  moved by every allocation
//!  +-------------------------------------------------------------------+
//!  | 256 enrolled: a bit for each participant slot in use, 256 bits    |  changed when one comes or goes
//!  +-------------------------------------------------------------------+
//!  | 320 active pins: a word for each slot, a bit for each pin, in 32 lines of 8                            |
//!  +-------------------------------------------------------------------+
//! byte 4096                                        PARTICIPANT SLOTS, 256 times 1344 bytes
//!  +----------------+----------------+---------------------------------+
//!  | 0 reserved     | 8 incarnation  | 16 pins, 64 times (start, end)  |  written by its participant, read by
//!  +----------------+----------------+---------------------------------+  allocations while it has a pin
//!  | 1040 subscribed| 1048 publishing| 1056 no keeping| 1064 process  |  a bit for each channel, and who it is
//!  +----------------+----------------+---------------------------------+
//!  | 1088 counters, 16 words | 1216 reserved                           |  written by its participant
//!  +-------------------------------------------------------------------+
//! byte 348160                                       CHANNELS, 64 times 1024 bytes
//!  +----------------+----------------+---------------------------------+
//!  | 0 name's hash  | 8 bytes        | 16 sent, ns    | 24 reserved    |  written by every send, but the hash
//!  +----------------+----------------+----------------+----------------+
//!  | 64 name, 64 bytes                                                 |  written once
//!  +-------------------------------------------------------------------+
//!  | 128 content type, 256 bytes                                       |  written once
//!  +----------------+----------------+----------------+----------------+
//!  | 384 tail       | 392 sleepers   | 400 lossless   | 408 reserved   |  written by every send
//!  +----------------+----------------+----------------+----------------+
//!  | 448 lost       | 456 skipped    | 464 held up    | 472 moves, res.|  written by subscribers
//!  +----------------+----------------+----------------+----------------+
//!  | 512 cursors of lossless subscribers, 8 times (holder, number), each in a line of its own               |
//!  +-------------------------------------------------------------------+
//! byte 413696                                       INDEXES OF CHANNELS, 64 times 1024 words
//!  +-------------------------------------------------------------------+
//!  | a word for each of the channel's last 1024 frames, see `channel::index`                                |
//!  +-------------------------------------------------------------------+
//! byte 937984, or 2 MiB in rings of 64 MiB and more                   DATA RING, capacity bytes
//!  +-------------------------------------------------------------------+
//!  | [descriptor] | frame header | payload | padding to 64 bytes | ... |
//!  +-------------------------------------------------------------------+
//!
//! FRAME HEADER, 64 bytes in front of each payload
//!  +----------------+----------------+----------------+----------------+
//!  | 0 offset       | 8 allocated    | 16 length      | 24 state       |
//!  +----------------+----------------+----------------+----------------+
//!  | 32 checksum    | 40 committed,ns| 48 channel + 1 | 56 reserved     |
//!  +----------------+----------------+----------------+----------------+
//!
//! DESCRIPTOR, 64 bytes in front of the headers of frames that are sent over a channel
//!  +----------------+----------------+----------------+----------------+
//!  | 0 number       | 8 time, ns     | 16 element     | 24 dims 0 and 1|
//!  +----------------+----------------+----------------+----------------+
//!  | 32 dims 2 and 3| 40 stride      | 48 fourcc, rank| 56 the user's  |
//!  +----------------+----------------+----------------+----------------+
//! ```
//!
//! Bytes of the file also name locks (`F_OFD_SETLK`): byte 0 the owner's; the first byte of each slot that of the
//! slot's participant, held for as long as it lives; the second that of whoever clears the slot, held meanwhile.
//!
//! Every allocation reads the active pins of all participants: those of 8 slots whose numbers are far apart share a
//! cache line, so that up to 32 participants have one each, and 256 are looked at in 32 lines. A slot is an odd number
//! of cache lines long, so that the first lines of all slots spread over all sets of the cache. The first line carries
//! the first three pins: more are rarely in use.

#![cfg_attr(not(feature = "_layout"), allow(unreachable_pub))]

use crate::sync::AtomicU64;

/// "FRAMEBUF" in ASCII, as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FRAMEBUF");
/// Version of this layout. Segments of another version are refused.
pub const VERSION: u64 = 3;

/// The byte of the file whose lock makes its holder the owner.
pub const OWNER_BYTE: u64 = 0;
/// Offset of the participant slots in the file.
pub const SLOTS_OFFSET: u64 = 4096;
/// Bytes of a participant slot: 21 cache lines.
pub const SLOT_SIZE: u64 = 1344;
/// Offset of the channels in the file, without their indexes.
pub const CHANNELS_OFFSET: u64 = SLOTS_OFFSET + 256 * SLOT_SIZE;
/// Bytes of a channel, without its index.
pub const CHANNEL_SIZE: u64 = 1024;
/// Offset of the channels' indexes in the file.
pub const INDEXES_OFFSET: u64 = CHANNELS_OFFSET + CHANNELS as u64 * CHANNEL_SIZE;
/// Offset of the data ring in the file, when it has no huge pages to align to.
#[cfg(not(loom))]
pub const RING_OFFSET: u64 = framebuffer_contract::segment::CONTROL_LENGTH;

/// Frames start at multiples of this: a cache line.
pub const FRAME_ALIGN: u64 = 64;
/// Bytes of a frame header.
pub const HEADER_SIZE: u64 = 64;
/// Bytes of a frame's descriptor.
pub const DESCRIPTOR_SIZE: u64 = 64;

/// Participant slots in a segment.
pub const PARTICIPANTS: usize = if cfg!(loom) { 3 } else { 256 };
/// Pins in a slot, one for each bit of its `active` word.
pub const PINS: usize = if cfg!(loom) { 2 } else { 64 };
/// Words of the bitmap `enrolled`.
pub const ENROLLED_WORDS: usize = PARTICIPANTS.div_ceil(64);
/// Lines of `active` words. Slots whose numbers are the same modulo this share one.
pub const ACTIVE_LINES: usize = if cfg!(loom) { 2 } else { 32 };
/// Words of such a line.
pub const ACTIVE_WORDS: usize = PARTICIPANTS.div_ceil(ACTIVE_LINES);
/// Words for counters in a slot.
pub const COUNTERS: usize = 16;

/// Channels that a ring can have.
pub const CHANNELS: usize = 64;
/// Frames that the index of a channel records: the last ones.
pub const INDEX: usize = if cfg!(loom) { 2 } else { 1024 };
/// Bytes for the name of a channel, of which the last is 0.
pub const NAME_LENGTH: usize = 64;
/// Bytes for the content type of a channel, of which one ends it.
pub const CONTENT_TYPE_LENGTH: usize = 256;
/// Lossless subscribers that a channel can have.
pub const CURSORS: usize = if cfg!(loom) { 2 } else { 8 };

/// Offset in the file of slot number `index`.
#[inline]
pub const fn slot_offset(index: usize) -> u64 {
    SLOTS_OFFSET + index as u64 * SLOT_SIZE
}

/// Offset in the file of the word with a bit for each pin that is taken in slot number `index`.
#[cfg(all(not(loom), feature = "_layout"))]
pub const fn active_offset(index: usize) -> u64 {
    let (line, word) = (index % ACTIVE_LINES, index / ACTIVE_LINES);
    (std::mem::offset_of!(Control, active) + line * size_of::<ActiveLine>() + word * size_of::<AtomicU64>()) as u64
}

/// The byte whose lock the participant in slot number `index` holds for as long as it lives. Nobody else ever takes it.
pub const fn life_byte(index: usize) -> u64 {
    slot_offset(index)
}

/// The byte whose lock is held by whoever clears slot number `index`: its next participant, or one who found it dead.
pub const fn repair_byte(index: usize) -> u64 {
    slot_offset(index) + 1
}

/// `start` of a pin that is not in use.
pub const FREE: u64 = u64::MAX;

/// Values of a frame's state word, which only ever increases.
pub mod state {
    /// Allocated, not yet written.
    pub const RESERVED: u64 = 1;
    /// Its one writer is writing, or gave up or died.
    pub const WRITING: u64 = 2;
    /// Written and immutable. The checksum is that of the bytes.
    pub const COMMITTED: u64 = 3;
    /// Written but not hashed: immutable, and the checksum only identifies the frame.
    pub const COMMITTED_UNHASHED: u64 = 4;
}

/// The control block.
#[repr(C, align(4096))]
#[cfg(not(loom))]
pub struct Control {
    /// [`MAGIC`], written last.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU64,
    /// Payload that the ring keeps, in bytes.
    pub size: AtomicU64,
    /// Bytes of the data ring.
    pub capacity: AtomicU64,
    /// Offset of the data ring in the file.
    pub ring_offset: AtomicU64,
    /// When the segment was created, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub created: AtomicU64,
    /// 128 random bits.
    pub id: [AtomicU64; 2],
    /// [`PARTICIPANTS`].
    pub participants: AtomicU64,
    /// Bytes of the ring that its owner has got huge pages for. Informative only.
    pub huge: AtomicU64,
    /// Not 0 once an owner has given the ring up for good: nobody will find what is published in it.
    pub retired: AtomicU64,
    /// Not 0 if the owner leaves the ring to another one: then the ring stays when it has no owner.
    pub kept: AtomicU64,
    /// The window: so many bytes of each lap are preferred, the first ones. 0: all of them.
    pub window: AtomicU64,
    /// Bytes of the largest allocation since the owner looked last, and between its two looks before.
    pub largest: [AtomicU64; 2],
    _reserved: [u64; 1],
    /// Stream position up to which the ring is allocated.
    pub head: AtomicU64,
    _own_lines: [u64; 15],
    /// A bit for each participant slot in use.
    pub enrolled: [AtomicU64; ENROLLED_WORDS],
    /// The pins that are taken, see [`ActiveLine`].
    pub active: [ActiveLine; ACTIVE_LINES],
}

/// A bit for each pin that is taken, of some slots: word `w` of line `l` belongs to slot `w * ACTIVE_LINES + l`.
#[repr(C, align(64))]
#[derive(Default)]
pub struct ActiveLine {
    /// A word for each slot.
    pub words: [AtomicU64; ACTIVE_WORDS],
}

/// The words of a pin: a range of stream positions that must not be overwritten, or `start == FREE`.
#[repr(C)]
pub struct PinWords {
    /// First position of the range.
    pub start: AtomicU64,
    /// End of the range, exclusive.
    pub end: AtomicU64,
}

/// A participant slot.
#[repr(C, align(64))]
pub struct Slot {
    _reserved: u64,
    /// Grows by one when the slot gets a participant, and when it loses one: odd while it has one.
    pub incarnation: AtomicU64,
    /// The pins.
    pub pins: [PinWords; PINS],
    /// What it does with which channel. No part of the protocol, so loom need not see it.
    pub attached: AttachedWords,
    /// The id of its process, in its own PID namespace. Informative only.
    pub process: std::sync::atomic::AtomicU64,
    /// The counters.
    pub counters: CounterWords,
}

/// The counters of a slot. They are no part of the protocol, so loom need not see them.
#[repr(C, align(64))]
#[derive(Default)]
pub struct CounterWords {
    /// A word for each counter.
    pub words: [std::sync::atomic::AtomicU64; COUNTERS],
    _reserved: [u64; 16],
}

/// What a participant does with channels: a bit for each channel, as long as it does so.
#[repr(C)]
#[derive(Default)]
pub struct AttachedWords {
    /// It subscribes to the channel.
    pub subscribed: std::sync::atomic::AtomicU64,
    /// It publishes on the channel.
    pub publishing: std::sync::atomic::AtomicU64,
    /// It publishes on the channel, and keeps none of its frames.
    pub keeping_none: std::sync::atomic::AtomicU64,
}

/// A channel, without its index. Words that different sides write have cache lines of their own.
#[repr(C, align(64))]
#[derive(Default)]
pub struct ChannelWords {
    /// XXH3-64 of the name; 0 if there is no channel here.
    pub name_hash: AtomicU64,
    /// What was sent. Nobody who waits for frames reads this line.
    pub sent: SentWords,
    _own_line: [u64; 5],
    /// The name, padded with zeros.
    pub name: [AtomicU64; NAME_LENGTH / 8],
    /// The content type, ended by a byte 255, which is in no text, and padded with zeros. All zeros if it has none.
    pub content_type: [AtomicU64; CONTENT_TYPE_LENGTH / 8],
    /// The end of the channel's index.
    pub tail: TailWords,
    /// What subscribers have missed, and publishers that wait for them.
    pub missed: MissedWords,
    /// The lossless subscribers.
    pub cursors: [CursorWords; CURSORS],
}

/// What was sent over a channel. No part of the protocol, so loom need not see it.
#[repr(C)]
#[derive(Default)]
pub struct SentWords {
    /// Bytes of all frames.
    pub bytes: std::sync::atomic::AtomicU64,
    /// When the last frame was sent, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub last_at: std::sync::atomic::AtomicU64,
}

/// The end of a channel's index.
#[repr(C, align(64))]
#[derive(Default)]
pub struct TailWords {
    /// Sequence number of the next frame. Its lower half is a futex.
    pub next: AtomicU64,
    /// Not 0 if a reader may be asleep.
    pub sleepers: AtomicU64,
    /// A bit for each of the channel's cursors that has ever been in use.
    pub lossless: AtomicU64,
}

/// What subscribers have missed, and the publishers that wait for lossless ones.
#[repr(C, align(64))]
#[derive(Default)]
pub struct MissedWords {
    /// Frames that subscribers have lost.
    pub lost: std::sync::atomic::AtomicU64,
    /// Frames that subscribers have skipped for a newer one.
    pub skipped: std::sync::atomic::AtomicU64,
    /// Not 0 if a publisher may be asleep.
    pub held_up: AtomicU64,
    /// Grows when a lossless subscriber moves on or goes, and a publisher may be asleep. Its lower half is a futex.
    pub moves: AtomicU64,
}

/// The place of a lossless subscriber.
#[repr(C, align(64))]
#[derive(Default)]
pub struct CursorWords {
    /// Who has it: the slot's number plus 1 in the lower 16 bits, above it the slot's incarnation. 0: nobody.
    pub holder: AtomicU64,
    /// Number of the first frame that it has not received yet.
    pub number: AtomicU64,
}

/// The header in front of each payload.
#[repr(C, align(64))]
#[derive(Default)]
pub struct FrameHeader {
    /// Stream offset of the payload: a header that names another offset belongs to another frame.
    pub offset: AtomicU64,
    /// Bytes allocated for the payload.
    pub allocated: AtomicU64,
    /// Bytes committed.
    pub length: AtomicU64,
    /// One of [`state`].
    pub state: AtomicU64,
    /// XXH3-64 of the payload as a number; of the frame's identity if the payload was not hashed.
    pub checksum: AtomicU64,
    /// When it was committed, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub committed: AtomicU64,
    /// The channel that it is sent over, plus 1: then there is a descriptor in front of the header. 0: none.
    pub channel: AtomicU64,
}

/// The descriptor in front of the header of a frame that is sent over a channel.
#[repr(C, align(64))]
#[derive(Default)]
pub struct DescriptorWords {
    /// Sequence number in its channel.
    pub number: AtomicU64,
    /// What the user says of the frame: see `channel::descriptor`.
    pub description: [AtomicU64; 7],
}

impl Slot {
    /// A slot without a participant.
    #[cfg(any(loom, test))]
    pub fn vacant() -> Self {
        let pin = |_| PinWords { start: AtomicU64::new(FREE), end: AtomicU64::new(0) };
        Self {
            _reserved: 0,
            incarnation: AtomicU64::new(0),
            pins: std::array::from_fn(pin),
            attached: AttachedWords::default(),
            process: std::sync::atomic::AtomicU64::default(),
            counters: CounterWords::default(),
        }
    }
}

/// The byte map above, checked by the compiler.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(cfg!(all(target_endian = "little", target_pointer_width = "64")), "64-bit little-endian machines only");
    assert!(offset_of!(Control, retired) == 80);
    assert!(offset_of!(Control, kept) == 88);
    assert!(offset_of!(Control, head) == 128);
    assert!(offset_of!(Control, enrolled) == 256);
    assert!(offset_of!(Control, active) == 320);
    assert!(size_of::<Control>() as u64 == SLOTS_OFFSET);
    assert!(offset_of!(Slot, pins) == 16);
    assert!(offset_of!(Slot, attached) == 1040);
    assert!(offset_of!(Slot, process) == 1064);
    assert!(offset_of!(Slot, counters) == 1088);
    assert!(size_of::<Slot>() as u64 == SLOT_SIZE);
    assert!(CHANNELS_OFFSET == SLOTS_OFFSET + PARTICIPANTS as u64 * SLOT_SIZE && CHANNELS_OFFSET == 348_160);
    assert!(offset_of!(ChannelWords, name) == 64);
    assert!(offset_of!(ChannelWords, content_type) == 128);
    assert!(offset_of!(ChannelWords, tail) == 384);
    assert!(offset_of!(ChannelWords, missed) == 448);
    assert!(offset_of!(ChannelWords, cursors) == 512);
    assert!(size_of::<ChannelWords>() as u64 == CHANNEL_SIZE);
    assert!(INDEXES_OFFSET == 413_696);
    assert!(RING_OFFSET == INDEXES_OFFSET + (CHANNELS * INDEX) as u64 * 8 && RING_OFFSET == 937_984);
    assert!(offset_of!(FrameHeader, channel) == 48);
    assert!(size_of::<FrameHeader>() as u64 == HEADER_SIZE);
    assert!(size_of::<DescriptorWords>() as u64 == DESCRIPTOR_SIZE);
    assert!(HEADER_SIZE == framebuffer_contract::segment::FRAME_HEADER && FRAME_ALIGN == HEADER_SIZE);
};
