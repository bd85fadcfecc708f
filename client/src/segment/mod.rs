//! [`Segment`]: the file in shared memory that a ring lives in.
//!
//! - [`crate::layout`] says where everything lies in it, [`geometry`] how large it is; [`identity`] tells it from other
//!   files;
//! - [`create`] creates, adopts and removes it: the owner's side;
//! - [`Segment::open`] opens it, checking it first: everybody's side;
//! - [`mapping`] maps it and [`prefault`] touches its pages ahead; [`locks`] say who owns it and who takes part;
//!   [`memory`] tells whether there is room for it;
//! - [`orphans`] are segments that a killed owner left behind, [`nameless`] counts the memory of those that clients still
//!   have open, and [`health`] tells whether a segment is in order.
//!
//! Nothing read from a segment is used unchecked as an index, a length or an address. Sizes are read once, when the
//! segment is opened, compared with the file's length, and kept in this process; positions are taken modulo the
//! capacity.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framebuffer_contract::{Geometry, defaults, variables};

use crate::checksum::{Checksum, Streaming, hash};
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::{Control, FRAME_ALIGN, FrameHeader, PARTICIPANTS, Slot, slot_offset};
use crate::os::own_file::OwnFile;
use crate::ring::RingMemory;
use crate::sync::{AtomicU64, Ordering};

pub(crate) mod create;
pub(crate) mod geometry;
pub(crate) mod health;
mod identity;
pub(crate) mod locks;
mod mapping;
mod memory;
mod nameless;
pub(crate) mod orphans;
pub(crate) mod prefault;

use mapping::Mapping;

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
    geometry: Geometry,
    streaming: Streaming,
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
        let mapping = Arc::new(Mapping::new(&file, geometry.ring_offset, geometry.capacity, writable)?);
        let streaming = Streaming::for_ring(geometry.capacity);
        Ok(Self { file: OwnFile::new(file, false), mapping, geometry, streaming })
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

    /// A checksum of a frame's identity, unique among all frames of all rings.
    pub(crate) fn frame_identity(&self, offset: u64, size: u64) -> Checksum {
        let [low, high] = self.control().id.each_ref().map(|word| word.load(Ordering::Relaxed));
        let words = [low, high, offset, size].map(u64::to_le_bytes);
        hash(words.as_flattened())
    }

    /// Which frames are copied past the caches.
    #[inline]
    pub(crate) fn streaming(&self) -> Streaming {
        self.streaming
    }

    /// The address of a frame's payload. `size` bytes are mapped from there on: no frame is larger than the ring.
    #[inline]
    pub(crate) fn payload(&self, offset: u64) -> *mut u8 {
        self.mapping.ring(offset).as_ptr()
    }

    #[inline]
    pub(crate) fn control(&self) -> &Control {
        self.mapping.control_block()
    }
}

impl RingMemory for Segment {
    #[inline]
    fn size(&self) -> u64 {
        self.geometry.size
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.geometry.capacity
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
    fn slot(&self, index: usize) -> &Slot {
        assert!(index < PARTICIPANTS, "slot {index} of {PARTICIPANTS}");
        let slot = self.mapping.control(slot_offset(index)).cast::<Slot>();
        // SAFETY: slot number index is inside the control area, aligned to 64 bytes since SLOTS_OFFSET and SLOT_SIZE
        // are multiples of it, and consists of atomics.
        unsafe { slot.as_ref() }
    }

    #[inline]
    fn header(&self, start: u64) -> &FrameHeader {
        let aligned = start & !(FRAME_ALIGN - 1);
        let header = self.mapping.ring(aligned).cast::<FrameHeader>();
        // SAFETY: mapped with `capacity` bytes behind it, aligned (ring, capacity and position are multiples of 64),
        // and only touched as atomics while it is a header: the ring's protocol.
        unsafe { header.as_ref() }
    }
}

pub(crate) fn open_file(dir: &Path, key: &Key, writable: bool) -> Result<File, SegmentError> {
    OpenOptions::new().read(true).write(writable).open(path(dir, key)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { dir: dir.display().to_string() },
        _ => SegmentError::Io { action: "open the segment", source },
    })
}
