//! [`Segment`]: the file in shared memory that a ring lives in.
//!
//! - [`crate::layout`] says where everything lies in it, [`geometry`] how large it is; [`identity`] tells it from other
//!   files;
//! - [`create`] creates, adopts and removes it: the owner's side;
//! - [`Segment::open`] opens it, checking it first: everybody's side;
//! - [`mapping`] maps it and [`prefault`] touches its pages ahead; [`locks`] say who owns it and who takes part;
//!   [`limits`] tells whether there is room for it, [`permission`] whose it is if the file system refuses;
//! - [`orphans`] are segments that a killed owner left behind, [`nameless`] counts the memory of those that clients
//!   still have open, and [`health`] tells whether a segment is in order.
//!
//! Nothing read from a segment is used unchecked as an index, a length or an address. Sizes are read once, when the
//! segment is opened, compared with the file's length, and kept in this process; positions are taken modulo the
//! capacity.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use framebuffer_contract::{Geometry, defaults, variables};

use crate::checksum::{Caching, Checksum, Streaming, hash};
use crate::error::segment::SegmentError;
use crate::frame::RingId;
use crate::key::Key;
use crate::layout::{
    ActiveLine, CHANNELS, ChannelWords, Control, DescriptorWords, FRAME_ALIGN, FrameHeader, HEADER_SIZE, PARTICIPANTS,
    Slot, slot_offset,
};
use crate::os::own_file::{Inheritance, OwnFile};
use crate::ring::RingMemory;
use crate::sync::{AtomicU64, Ordering};
use crate::window::{Window, WindowWords};

pub(crate) mod create;
pub(crate) mod geometry;
pub(crate) mod health;
mod identity;
pub(crate) mod limits;
pub(crate) mod locks;
pub(crate) mod mapping;
mod nameless;
pub(crate) mod orphans;
mod permission;
pub(crate) mod prefault;

use mapping::Mapping;
use permission::Act;

/// The folder for segments: `FRAMEBUFFER_DIR`, or `/dev/shm` if it is unset or empty.
pub fn default_dir() -> PathBuf {
    std::env::var_os(variables::DIR).filter(|dir| !dir.is_empty()).map_or_else(|| defaults::DIR.into(), PathBuf::from)
}

/// The path of the segment with this key.
pub(crate) fn path(dir: &Path, key: &Key) -> PathBuf {
    dir.join(format!("{}{}", create::PREFIX, key.as_str()))
}

/// An open, checked and mapped segment.
pub(crate) struct Segment {
    file: OwnFile,
    mapping: Arc<Mapping>,
    id: RingId,
    geometry: Geometry,
    caching: Caching,
    /// Frames that had been sent over each channel when the memory was given up.
    sent: OnceLock<[u64; CHANNELS]>,
}

impl Segment {
    /// Opens the segment with this key.
    pub(crate) fn open(dir: &Path, key: &Key, writable: bool) -> Result<Self, SegmentError> {
        let file = open_file(dir, key, writable)?;
        Self::from_file(file, writable)
    }

    /// Checks and maps an open file. The checks come before the mapping, so nothing is read out of bounds.
    fn from_file(file: File, writable: bool) -> Result<Self, SegmentError> {
        let geometry = identity::check(&file)?;
        let mapping = Mapping::new(&file, geometry.ring_offset, geometry.capacity, writable);
        let mapping = Arc::new(mapping.map_err(limits::process::of_mapping(geometry))?);
        let id = RingId::of_segment(mapping.control_block().id.each_ref().map(|word| word.load(Ordering::Relaxed)));
        let caching = Caching::of_this_machine();
        let file = OwnFile::open(|| Ok(file), Inheritance::Inherited);
        let file = file.map_err(SegmentError::io("look at the segment"))?;
        Ok(Self { file, mapping, id, geometry, caching, sent: OnceLock::new() })
    }

    /// The file, to reopen it.
    pub(crate) fn file(&self) -> &OwnFile {
        &self.file
    }

    #[inline]
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    #[inline]
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The ring's identity, as it was when the segment was opened.
    #[inline]
    pub(crate) fn id(&self) -> RingId {
        self.id
    }

    /// A checksum of a frame's identity, unique among all frames of all rings.
    pub(crate) fn frame_identity(&self, offset: u64, size: u64) -> Checksum {
        let [low, high] = self.control().id.each_ref().map(|word| word.load(Ordering::Relaxed));
        let words = [low, high, offset, size].map(u64::to_le_bytes);
        hash(words.as_flattened())
    }

    /// Which frames are copied past the caches.
    #[inline]
    pub(crate) fn streaming(&self) -> Streaming {
        self.caching.streaming(self.window())
    }

    /// How many bytes of each lap allocations prefer.
    #[inline]
    pub(crate) fn window(&self) -> u64 {
        WindowWords::of(self.control()).bytes(self.geometry.capacity)
    }

    /// The number of frames of `size` bytes, at most that of the ring, that the window holds.
    pub(crate) fn frames_in_window(&self, size: u64) -> u64 {
        let length = (size + HEADER_SIZE).next_multiple_of(FRAME_ALIGN);
        WindowWords::of(self.control()).with(length, self.geometry.capacity) / length
    }

    /// Sets the window.
    pub(crate) fn set_window(&self, window: Window) {
        let capacity = self.geometry.capacity;
        WindowWords::of(self.control()).set(window.bytes(capacity), capacity);
    }

    /// Forgets the largest frames of long ago.
    pub(crate) fn age_window(&self) {
        WindowWords::of(self.control()).age();
    }

    /// The address of a frame's payload. `size` bytes are mapped from there on: no frame is larger than the ring.
    #[inline]
    pub(crate) fn payload(&self, offset: u64) -> *mut u8 {
        self.mapping.ring(offset).as_ptr()
    }

    /// Whether an owner has given the ring up.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.control().retired.load(Ordering::Relaxed) != 0
    }

    /// Whether the segment has no name any more, and nobody who could give it one: no owner. Unknown counts as no.
    pub(crate) fn is_orphaned(&self) -> bool {
        let has_owner = || self.file.get().map(locks::has_owner);
        self.file.is_nameless() == Some(true) && has_owner().is_some_and(|owned| owned.is_ok_and(|owned| !owned))
    }

    /// Gives the memory and the file up, when no frame is in use by this process, nor will be: nobody can take a pin.
    pub(crate) fn abandon(&self) {
        self.file.close();
        self.sent.get_or_init(|| std::array::from_fn(|place| self.channels()[place].tail.next.load(Ordering::Relaxed)));
        // SAFETY: payload is only touched under a pin.
        if let Err(error) = unsafe { self.mapping.abandon() } {
            tracing::warn!(error = &error as &dyn std::error::Error, "a retired ring's memory stays in use");
        }
    }

    #[inline]
    pub(crate) fn control(&self) -> &Control {
        self.mapping.control_block()
    }

    /// The channels.
    #[inline]
    pub(crate) fn channels(&self) -> &[ChannelWords] {
        self.mapping.channels()
    }

    /// Frames that were sent over the channel at this place, below `CHANNELS`; also when the memory was given up.
    pub(crate) fn sent(&self, place: usize) -> u64 {
        let sent = self.channels()[place].tail.next.load(Ordering::Relaxed);
        // If the memory was given up before that look, what it had is here.
        std::sync::atomic::fence(Ordering::Acquire);
        self.sent.get().map_or(sent, |sent| sent[place])
    }

    /// The words of the index of the channel at this place, below `CHANNELS`.
    #[inline]
    pub(crate) fn index(&self, place: usize) -> &[AtomicU64] {
        self.mapping.index(place)
    }
}

impl RingMemory for Segment {
    #[inline]
    fn id(&self) -> RingId {
        self.id
    }

    #[inline]
    fn size(&self) -> u64 {
        self.geometry.size
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.geometry.capacity
    }

    #[inline]
    fn window_for(&self, length: u64) -> u64 {
        WindowWords::of(self.control()).grow(length, self.geometry.capacity)
    }

    #[inline]
    fn head(&self) -> &AtomicU64 {
        &self.control().head
    }

    #[inline]
    fn enrolled(&self, word: usize) -> &AtomicU64 {
        &self.control().enrolled[word]
    }

    #[inline]
    fn active(&self, line: usize) -> &ActiveLine {
        &self.control().active[line]
    }

    #[inline]
    fn slot(&self, index: usize) -> &Slot {
        assert!(index < PARTICIPANTS, "slot {index} of {PARTICIPANTS}");
        let slot = self.mapping.control(slot_offset(index)).cast::<Slot>();
        // SAFETY: slot number index is inside the control area, aligned to 64 bytes since SLOTS_OFFSET and SLOT_SIZE
        // are multiples of it, and consists of atomics.
        unsafe { slot.as_ref() }
    }

    #[inline]
    fn header(&self, position: u64) -> &FrameHeader {
        let aligned = position & !(FRAME_ALIGN - 1);
        let header = self.mapping.ring(aligned).cast::<FrameHeader>();
        // SAFETY: mapped with `capacity` bytes behind it, and aligned (ring, capacity and position are multiples of
        // 64). All bit patterns are valid. Whoever looks for the header of a promised frame may find payload here
        // instead, which its owner writes without atomics at the same time: that is a promise which no writer made,
        // since the offsets of frames lead to headers. The load then gives some value and tears no invariant (it is
        // compared with the offset and bounded by the ring's size), but it is a data race in the sense of the memory
        // model, as all is that a program does with a segment on which another scribbles.
        unsafe { header.as_ref() }
    }

    #[inline]
    fn descriptor(&self, position: u64) -> &DescriptorWords {
        let aligned = position & !(FRAME_ALIGN - 1);
        let descriptor = self.mapping.ring(aligned).cast::<DescriptorWords>();
        // SAFETY: as in `header`.
        unsafe { descriptor.as_ref() }
    }
}

pub(crate) fn open_file(dir: &Path, key: &Key, writable: bool) -> Result<File, SegmentError> {
    let path = path(dir, key);
    OpenOptions::new().read(true).write(writable).open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { dir: dir.display().to_string() },
        _ => permission::explain(Act::Open, dir, &path)(source),
    })
}
