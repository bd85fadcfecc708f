//! Orphans: segments without an owner and without participants, left by owners that were killed.
//!
//! The next owner of the same key replaces or adopts such a segment. With a random key there is none, and the memory
//! would stay taken until the machine restarts. So each owner, when it starts, removes from its folder what nobody
//! will ask for: segments with random keys, unless they were to be kept; segments that are retired; and files that were
//! still being made. It takes the owner's lock of each first, as every owner does, so a segment that has an owner, or is
//! about to get one, is left alone, and of two who clear the same file one does it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use nix::unistd::geteuid;

use super::create::{PREFIX, PROVISIONAL_PREFIX, give_up, leads_to};
use super::locks::{FileLock, has_owner, has_participants};
use super::{health, identity};
use crate::error::segment::SegmentError;
use crate::layout::OWNER_BYTE;

/// A segment without owner and participants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// The file's name, shortened: the whole would tell the key.
    pub name: String,
    /// Bytes of memory that it takes.
    pub bytes: u64,
    /// Whether nobody will ask for it: the next owner that starts in the folder removes it. Otherwise it waits for the
    /// next owner with its key.
    pub is_lost: bool,
}

/// Lists the segments in the folder `dir` that have no owner and no participants. Changes nothing, and takes no lock.
/// Files that this process may not open are not listed.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn orphans(dir: &Path) -> io::Result<Vec<Orphan>> {
    candidates(dir, |path, name| look(&open(path, false)?, name))
}

/// Removes the segments in the folder `dir` that nobody will ask for, and returns them. Every owner does so when it
/// starts. Segments that were to be kept, or whose keys were given by somebody, stay; so do those of other users,
/// except for root.
///
/// # Errors
///
/// If the folder cannot be read. A file that cannot be removed is left alone.
pub fn remove_orphans(dir: &Path) -> io::Result<Vec<Orphan>> {
    candidates(dir, remove)
}

/// As [`remove_orphans`], for an owner that is about to take the file `own` over, and has other worries than this.
pub(crate) fn clear(dir: &Path, own: &Path) {
    let removed = candidates(dir, |path, name| if path == own { Ok(None) } else { remove(path, name) });
    match removed {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => {
            let bytes: u64 = removed.iter().map(|orphan| orphan.bytes).sum();
            tracing::info!(rings = removed.len(), bytes, "removed rings that killed servers have left");
        }
        Err(error) => tracing::debug!(%error, "failed to look for rings that killed servers have left"),
    }
}

/// What `action` makes of the files in `dir` whose names are those of segments.
fn candidates(
    dir: &Path,
    action: impl Fn(&Path, Name<'_>) -> Result<Option<Orphan>, SegmentError>,
) -> io::Result<Vec<Orphan>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(Name::parse) else { continue };
        match action(&entry.path(), name) {
            Ok(orphan) => found.extend(orphan),
            // Not a segment, or not ours, or just gone.
            Err(error) => tracing::debug!(%error, "not an orphan"),
        }
    }
    Ok(found)
}

#[derive(Clone, Copy)]
enum Name<'a> {
    /// `framebuffer-<key>`.
    Segment(&'a str),
    /// `.framebuffer-<32 digits>`, of a file that is still being made.
    Provisional(&'a str),
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        if let Some(digits) = name.strip_prefix(PROVISIONAL_PREFIX) {
            return is_random(digits).then_some(Self::Provisional(digits));
        }
        name.strip_prefix(PREFIX).map(Self::Segment)
    }

    /// Four digits of 32 are enough to find a file, and tell nothing. Other keys may be short.
    fn shortened(self) -> String {
        match self {
            Self::Segment(key) if is_random(key) => format!("{PREFIX}{}...", &key[..4]),
            Self::Segment(_) => format!("{PREFIX}..."),
            Self::Provisional(digits) => format!("{PROVISIONAL_PREFIX}{}...", &digits[..4]),
        }
    }
}

/// Whether it is written as [`Key::random`](crate::Key::random) writes keys.
fn is_random(key: &str) -> bool {
    key.len() == 32 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Opens a file, if it is a regular one.
fn open(path: &Path, writable: bool) -> Result<File, SegmentError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path);
    let file = file.map_err(SegmentError::io("open an orphan"))?;
    if !file.metadata().map_err(SegmentError::io("look at an orphan"))?.is_file() {
        return Err(SegmentError::Io { action: "open an orphan", source: io::ErrorKind::InvalidInput.into() });
    }
    Ok(file)
}

/// The orphan that this file is, if it is one. The owner's lock is not looked at through a description that holds it.
fn look(file: &File, name: Name<'_>) -> Result<Option<Orphan>, SegmentError> {
    let is_lost = match name {
        Name::Provisional(_) if identity::is_unfinished(file)? => true,
        Name::Provisional(_) => identity::check(file).map(|_| true)?,
        Name::Segment(key) => {
            identity::check(file)?;
            health::check_not_retired(file).is_err() || (is_random(key) && !identity::is_kept(file)?)
        }
    };
    let locked = SegmentError::io("look at an orphan's locks");
    if has_owner(file).and_then(|owned| Ok(owned || has_participants(file)?)).map_err(locked)? {
        return Ok(None);
    }
    let bytes = file.metadata().map_err(SegmentError::io("look at an orphan"))?.blocks() * 512;
    Ok(Some(Orphan { name: name.shortened(), bytes, is_lost }))
}

fn remove(path: &Path, name: Name<'_>) -> Result<Option<Orphan>, SegmentError> {
    // Without a lock first: who looks for a segment that is to stay never finds it locked by us.
    let removable = |file: &File| look(file, name).map(|found| found.filter(|orphan| orphan.is_lost));
    if removable(&open(path, false)?)?.is_none() {
        return Ok(None);
    }
    let file = open(path, true)?;
    let owner = file.metadata().map_err(SegmentError::io("look at an orphan"))?.uid();
    if owner != geteuid().as_raw() && !geteuid().is_root() {
        return Ok(None);
    }
    let lock = FileLock::take(file, OWNER_BYTE).map_err(SegmentError::io("lock an orphan"))?;
    // From here on nobody can become its owner. Somebody may have been, or may have removed it, since we looked.
    let Some(file) = lock.as_ref().and_then(FileLock::file) else { return Ok(None) };
    let Some(orphan) = removable(file)?.filter(|_| leads_to(path, file).unwrap_or(false)) else { return Ok(None) };
    let has_other_name = file.metadata().map_err(SegmentError::io("look at an orphan"))?.nlink() > 1;
    if matches!(name, Name::Provisional(_)) && (has_other_name || identity::is_unfinished(file)?) {
        fs::remove_file(path).map_err(SegmentError::io("remove an orphan"))?;
    } else {
        give_up(path, file)?;
    }
    Ok(Some(orphan))
}
