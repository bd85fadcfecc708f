//! The identity of a segment: the words at its beginning, written once, and checked before anything else in the segment
//! is used.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use framebuffer_contract::Geometry;
use framebuffer_contract::segment::SIZE_LIMIT;

use super::geometry::geometry;
use crate::error::segment::SegmentError;
use crate::key::random_bytes;
use crate::layout::{Control, HEADER_SIZE, MAGIC, PARTICIPANTS, RING_OFFSET, SLOTS_OFFSET, VERSION};

/// Writes the identity of a new segment. The magic comes last, though nobody can find the file before it has a name.
pub(super) fn write(file: &File, geometry: Geometry) -> io::Result<()> {
    let Geometry { size, capacity, ring_offset } = geometry;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    file.write_all_at(&random_bytes::<16>()?, offset_of!(Control, id) as u64)?;
    let words = [
        (offset_of!(Control, version), VERSION),
        (offset_of!(Control, size), size),
        (offset_of!(Control, capacity), capacity),
        (offset_of!(Control, ring_offset), ring_offset),
        (offset_of!(Control, created), now.as_nanos() as u64),
        (offset_of!(Control, participants), PARTICIPANTS as u64),
        (offset_of!(Control, magic), MAGIC),
    ];
    words.into_iter().try_for_each(|(at, word)| set(file, at, word))
}

/// Tells everybody who has the segment open, and whoever finds it, that its owner has given it up for good.
///
/// One word through the file, not through a mapping: the file may be shorter by now than it was.
pub(super) fn retire(file: &File) -> Result<(), SegmentError> {
    set(file, offset_of!(Control, retired), 1).map_err(SegmentError::io("retire the segment"))
}

/// Whether an owner has given the segment up.
pub(super) fn is_retired(file: &File) -> Result<bool, SegmentError> {
    Ok(word(file, offset_of!(Control, retired))? != 0)
}

/// Notes whether the owner leaves the ring to another one.
pub(super) fn set_kept(file: &File, kept: bool) -> Result<(), SegmentError> {
    set(file, offset_of!(Control, kept), kept.into()).map_err(SegmentError::io("note that the segment is kept"))
}

/// Whether its last owner has left the ring to another one.
pub(super) fn is_kept(file: &File) -> Result<bool, SegmentError> {
    Ok(word(file, offset_of!(Control, kept))? != 0)
}

/// The 128 random bits that no other segment has.
pub(super) fn id(file: &File) -> Result<[u64; 2], SegmentError> {
    let at = offset_of!(Control, id);
    Ok([word(file, at)?, word(file, at + 8)?])
}

/// Whether the file was left before it became a segment: the magic comes last.
pub(super) fn is_unfinished(file: &File) -> Result<bool, SegmentError> {
    let length = file.metadata().map_err(SegmentError::io("look at the segment"))?.len();
    Ok(length < size_of::<u64>() as u64 || word(file, offset_of!(Control, magic))? == 0)
}

fn set(file: &File, at: usize, word: u64) -> io::Result<()> {
    file.write_all_at(&word.to_le_bytes(), at as u64)
}

/// Reads the identity of a segment from its file and compares it with this library's layout and the file's length.
pub(super) fn check(file: &File) -> Result<Geometry, SegmentError> {
    let length = file.metadata().map_err(SegmentError::io("look at the segment"))?.len();
    let at_least = |bytes| {
        let shortest = RING_OFFSET + HEADER_SIZE;
        if length < bytes { Err(SegmentError::TooShort { len: length, needed: shortest }) } else { Ok(()) }
    };
    let expect = |what, found, expected| {
        if found == expected { Ok(()) } else { Err(SegmentError::Damaged { what, found, expected }) }
    };
    // A segment of another version may be shorter than any of this one: first what all versions have.
    at_least(SLOTS_OFFSET)?;
    let magic = word(file, offset_of!(Control, magic))?;
    if magic != MAGIC {
        return Err(SegmentError::Magic { found: magic, expected: MAGIC });
    }
    let version = word(file, offset_of!(Control, version))?;
    if version != VERSION {
        return Err(SegmentError::Version { found: version, supported: VERSION });
    }
    at_least(RING_OFFSET + HEADER_SIZE)?;
    let size = word(file, offset_of!(Control, size))?;
    let geometry =
        geometry(size).map_err(|_| SegmentError::Damaged { what: "ring size", found: size, expected: SIZE_LIMIT })?;
    expect("capacity", word(file, offset_of!(Control, capacity))?, geometry.capacity)?;
    expect("ring offset", word(file, offset_of!(Control, ring_offset))?, geometry.ring_offset)?;
    expect("number of participants", word(file, offset_of!(Control, participants))?, PARTICIPANTS as u64)?;
    expect("file length", length, geometry.file_length())?;
    Ok(geometry)
}

fn word(file: &File, at: usize) -> Result<u64, SegmentError> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at as u64).map_err(SegmentError::io("read the segment's header"))?;
    Ok(u64::from_le_bytes(bytes))
}
