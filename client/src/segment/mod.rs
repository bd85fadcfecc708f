//! [`Segment`]: the file in shared memory that a ring lives in.
//!
//! - [`crate::layout`] says what is where in it;
//! - [`create`] makes, adopts and removes it: the owner's side;
//! - [`Segment::open`] checks one before anything in it is used: everybody's side;
//! - [`mapping`] maps it, [`prefault`] touches it ahead, [`locks`] says who owns it and who takes part, [`memory`] whether there is room for it.
//!
//! What is read from a segment is never used unchecked as an index, a length or an address. Sizes are read once, when it
//! is opened, compared with the file's length, and kept in this process; positions are taken modulo the capacity.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use framebuffer_contract::segment::SIZE_LIMIT;
use framebuffer_contract::{Geometry, defaults, variables};

use crate::checksum::{Checksum, Streaming, hash};
use crate::key::Key;
use crate::layout::{self, Control, FRAME_ALIGN, FrameHeader, HEADER_SIZE, MAGIC, PARTICIPANTS, Slot, VERSION};
use crate::own_file::OwnFile;
use crate::ring::{Ring, RingMemory};
use crate::stats::{Counters, Stats};
use crate::sync::{AtomicU64, Ordering};

pub(crate) mod create;
pub(crate) mod error;
pub(crate) mod locks;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod prefault;

use error::SegmentError;
use mapping::Mapping;

/// The folder that segments are in: `FRAMEBUFFER_DIR`, or `/dev/shm`.
pub fn default_dir() -> PathBuf {
    std::env::var_os(variables::DIR).filter(|dir| !dir.is_empty()).map_or_else(|| defaults::DIR.into(), PathBuf::from)
}

/// Bytes of shared memory that a ring of `size` bytes takes, all told: its segment's length.
///
/// # Errors
///
/// [`SegmentError::ZeroSize`] and [`SegmentError::SizeLimit`].
pub fn segment_length(size: u64) -> Result<u64, SegmentError> {
    geometry(size).map(Geometry::file_length)
}

/// The path of the segment with this key.
fn path(dir: &Path, key: &Key) -> PathBuf {
    dir.join(format!("framebuffer-{}", key.as_str()))
}

/// The geometry for a ring of `size` bytes on this machine.
fn geometry(size: u64) -> Result<Geometry, SegmentError> {
    Ok(Geometry::new(size, page_size())?)
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
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

    /// Checks and maps an open file. Checks come before the mapping, so nothing can be read out of its bounds.
    pub(crate) fn from_file(file: File, writable: bool) -> Result<Self, SegmentError> {
        let geometry = check_header(&file)?;
        let mapping = Arc::new(Mapping::new(&file, geometry.ring_offset, geometry.capacity, writable)?);
        let streaming = Streaming::for_ring(geometry.capacity);
        Ok(Self { file: OwnFile::new(file, false), mapping, geometry, streaming })
    }

    /// The file, for opening it anew.
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

    /// A checksum of which frame this is, among all of all rings.
    pub(crate) fn identity(&self, offset: u64, size: u64) -> Checksum {
        let [low, high] = self.control().id.each_ref().map(|word| word.load(Ordering::Relaxed));
        let words = [low, high, offset, size].map(u64::to_le_bytes);
        hash(words.as_flattened())
    }

    /// Which frames are copied past the caches.
    #[inline]
    pub(crate) fn streaming(&self) -> Streaming {
        self.streaming
    }

    /// The address of a frame's payload. `size` bytes from there on are mapped: no frame is larger than the ring.
    #[inline]
    pub(crate) fn payload(&self, offset: u64) -> *mut u8 {
        self.mapping.ring(offset).as_ptr()
    }

    #[inline]
    fn control(&self) -> &Control {
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
        let slot = self.mapping.control(locks::slot_byte(index)).cast::<Slot>();
        // SAFETY: slot number index is inside the control area, aligned to 64 bytes since SLOTS_OFFSET and SLOT_SIZE are
        // multiples of it, and consists of atomics.
        unsafe { slot.as_ref() }
    }

    #[inline]
    fn header(&self, start: u64) -> &FrameHeader {
        let aligned = start & !(FRAME_ALIGN - 1);
        let header = self.mapping.ring(aligned).cast::<FrameHeader>();
        // SAFETY: mapped with `capacity` bytes behind it, aligned (ring, capacity and position are multiples of 64), and
        // only touched as atomics while it is a header: the ring's protocol.
        unsafe { header.as_ref() }
    }
}

fn open_file(dir: &Path, key: &Key, writable: bool) -> Result<File, SegmentError> {
    OpenOptions::new().read(true).write(writable).open(path(dir, key)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { dir: dir.display().to_string() },
        _ => SegmentError::Io { action: "open the segment", source },
    })
}

/// Reads a segment's identity from its file and checks it.
fn check_header(file: &File) -> Result<Geometry, SegmentError> {
    let length = file.metadata().map_err(SegmentError::io("look at the segment"))?.len();
    let shortest = layout::RING_OFFSET + HEADER_SIZE;
    if length < shortest {
        return Err(SegmentError::TooShort { len: length, needed: shortest });
    }
    let mut words = [0; 72];
    file.read_exact_at(&mut words, 0).map_err(SegmentError::io("read the segment's header"))?;
    let word = |index: usize| {
        let bytes: [u8; 8] = std::array::from_fn(|byte| words[index * 8 + byte]);
        u64::from_le_bytes(bytes)
    };
    let expect = |what, found, expected| {
        if found == expected { Ok(()) } else { Err(SegmentError::Damaged { what, found, expected }) }
    };
    if word(0) != MAGIC {
        return Err(SegmentError::Magic { found: word(0), expected: MAGIC });
    }
    if word(1) != VERSION {
        return Err(SegmentError::Version { found: word(1), supported: VERSION });
    }
    let geometry = geometry(word(2)).map_err(|_| SegmentError::Damaged {
        what: "ring size",
        found: word(2),
        expected: SIZE_LIMIT,
    })?;
    expect("capacity", word(3), geometry.capacity)?;
    expect("ring offset", word(4), geometry.ring_offset)?;
    expect("number of participants", word(8), PARTICIPANTS as u64)?;
    expect("file length", length, geometry.file_length())?;
    Ok(geometry)
}

/// What the ring says about itself.
pub(crate) fn stats(ring: &Ring<Segment>) -> Stats {
    let segment = ring.memory();
    let head = segment.head().load(Ordering::Relaxed);
    let mut counters = Counters::default();
    for slot in 0..PARTICIPANTS {
        let words = &segment.slot(slot).counters.words;
        counters.add(|counter| words[counter as usize].load(std::sync::atomic::Ordering::Relaxed));
    }
    Stats {
        size: segment.size(),
        capacity: segment.capacity(),
        head,
        laps: head / segment.capacity(),
        participants: ring.enrolled().count(),
        max_participants: PARTICIPANTS,
        pins: ring.pins(),
        huge_pages: segment.control().huge.load(Ordering::Relaxed),
        created: SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_nanos(segment.control().created.load(Ordering::Relaxed)))
            .unwrap_or(SystemTime::UNIX_EPOCH),
        counters,
    }
}

/// A look at a ring from outside: maps its segment for reading, takes no part in it.
///
/// # Errors
///
/// As [`crate::FrameBufferClient::open`], but for those of joining.
pub fn stat(dir: &Path, key: &Key) -> Result<Stats, SegmentError> {
    let segment = Segment::open(dir, key, false)?;
    Ok(stats(&Ring::new(segment)))
}
