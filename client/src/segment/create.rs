//! The owner's side of a segment: creating, adopting and giving it up.
//!
//! A new segment is built without a name (`O_TMPFILE`): created, locked by its owner, backed with memory (`fallocate`,
//! so that a lack of memory is an error now instead of SIGBUS later), initialised. Only then is it linked to its name,
//! which fails if the name is taken. So a segment that can be found is complete, and has an owner or has lost it:
//! whoever gets the owner's lock of a file that still has the name is its next owner, and may adopt it or give it up.
//!
//! An owner gives a segment up in two steps, in [`give_up`] and nowhere else: it is retired, which its participants
//! notice, then its name goes. Whoever is killed between the two leaves a retired segment that nobody adopts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framebuffer_contract::Geometry;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::libc;
use nix::unistd::linkat;

use super::geometry::geometry;
use super::locks::{FileLock, has_participants};
use super::{Segment, identity, memory, nameless, open_file, path};
use crate::error::segment::SegmentError;
use crate::key::{Key, random_bytes};
use crate::layout::OWNER_BYTE;
use crate::os::own_file::reopen;

/// What the names of segments begin with; the key follows.
pub(super) const PREFIX: &str = "framebuffer-";

/// What the names of files begin with that are still being made, where there is no `O_TMPFILE`; 32 hexadecimal digits
/// follow.
pub(super) const PROVISIONAL_PREFIX: &str = ".framebuffer-";

/// How often the name may be taken and gone again between two checks before the attempt is given up.
const ATTEMPTS: usize = 16;

/// How long somebody may hold the owner's lock without being a participant: to clear an orphan away, or to join.
const PATIENCE: Duration = Duration::from_secs(1);

/// A segment and the lock that makes this process its owner.
pub(crate) struct OwnedSegment {
    pub(crate) segment: Segment,
    pub(crate) lock: FileLock,
    /// Whether the segment already existed.
    pub(crate) adopted: bool,
}

/// Creates the segment with this key and becomes its owner. With `keep`, a segment left by a dead owner is adopted;
/// otherwise it is replaced.
pub(crate) fn create(dir: &Path, key: &Key, size: u64, mode: u32, keep: bool) -> Result<OwnedSegment, SegmentError> {
    let geometry = geometry(size)?;
    let path = path(dir, key);
    for _ in 0..ATTEMPTS {
        let old = match take_over(dir, key)? {
            Some(lock) if keep && !is_retired(&lock)? => return adopt(lock, size),
            Some(lock) => free_memory(&path, lock)?,
            None => None,
        };
        let built = New::build(dir, geometry, mode, keep);
        let Some(new) = built.map_err(|error| blame_clients(error, dir, old.as_ref()))? else { continue };
        if let Some(file) = old.as_ref().and_then(FileLock::file) {
            give_up(&path, file)?;
        }
        if let Some(owned) = new.name(&path)? {
            return Ok(owned);
        }
    }
    Err(SegmentError::AlreadyOwned)
}

/// Takes the owner's lock of an existing segment. `None` if there is no file; an error if it is not a segment, or
/// owned.
fn take_over(dir: &Path, key: &Key) -> Result<Option<FileLock>, SegmentError> {
    let begun = Instant::now();
    loop {
        let file = match open_file(dir, key, true) {
            Ok(file) => file,
            Err(SegmentError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        identity::check(&file)?;
        let is_used = has_participants(&file).map_err(SegmentError::io("look at the segment's locks"))?;
        match FileLock::take(file, OWNER_BYTE).map_err(SegmentError::io("lock the segment"))? {
            // Another owner may have removed it between opening and locking.
            Some(lock) => {
                let is_named = lock.file().is_some_and(|file| leads_to(&path(dir, key), file).unwrap_or(false));
                return Ok(is_named.then_some(lock));
            }
            // A server takes part in its ring. Who does not is about to, or clears an orphan away.
            None if is_used || begun.elapsed() > PATIENCE => return Err(SegmentError::AlreadyOwned),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whether the segment was given up by an owner that was killed before the name was gone.
fn is_retired(lock: &FileLock) -> Result<bool, SegmentError> {
    identity::is_retired(lock.file().ok_or(SegmentError::OwnershipLost)?)
}

fn adopt(lock: FileLock, size: u64) -> Result<OwnedSegment, SegmentError> {
    let file = lock.file().ok_or(SegmentError::OwnershipLost)?;
    let found = identity::check(file)?.size;
    if found != size {
        return Err(SegmentError::SizeDiffers { found, asked: size });
    }
    let segment = reopen(file).map_err(SegmentError::io("open the segment anew through /proc"))?;
    let segment = Segment::from_file(segment, true)?;
    identity::set_kept(file, true)?;
    Ok(OwnedSegment { segment, lock, adopted: true })
}

/// Gives up a segment that nobody uses. One that clients have open would keep its memory anyway: it is returned, and
/// stays until the new one is complete.
fn free_memory(path: &Path, old: FileLock) -> Result<Option<FileLock>, SegmentError> {
    let file = old.file().ok_or(SegmentError::OwnershipLost)?;
    if has_participants(file).map_err(SegmentError::io("look at the segment's locks"))? {
        return Ok(Some(old));
    }
    give_up(path, file)?;
    Ok(None)
}

/// Adds to a lack of memory what the clients of earlier rings hold.
fn blame_clients(error: SegmentError, dir: &Path, old: Option<&FileLock>) -> SegmentError {
    let SegmentError::NoMemory { size, needed, available, limited_by, held: _ } = error else { return error };
    let old = old.and_then(FileLock::file).and_then(|file| file.metadata().ok()).map_or(0, |file| file.blocks() * 512);
    let held = old + nameless::bytes(dir).unwrap_or(0);
    SegmentError::NoMemory { size, needed, available, limited_by, held }
}

/// A new segment that is complete and has an owner, but not its name.
struct New {
    owned: OwnedSegment,
    _provisional_name: Option<ProvisionalName>,
}

impl New {
    /// Builds a segment. `None` if somebody took its file for an orphan, which may happen where there is no
    /// `O_TMPFILE`.
    fn build(dir: &Path, geometry: Geometry, mode: u32, keep: bool) -> Result<Option<Self>, SegmentError> {
        let folder = File::open(dir).map_err(SegmentError::io("open the shared memory folder"))?;
        memory::check(&folder, geometry.size, geometry.file_length())?;
        let (file, name) =
            new_file(dir, mode).map_err(SegmentError::io("create a file in the shared memory folder"))?;
        // The requested mode, regardless of the umask.
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(SegmentError::io("set the segment's mode"))?;
        let lock = reopen(&file).map_err(SegmentError::io("open the segment anew through /proc"))?;
        let lock = FileLock::take(lock, OWNER_BYTE).map_err(SegmentError::io("lock the segment"))?;
        let is_ours = |name: &ProvisionalName| leads_to(&name.0, &file).unwrap_or(false);
        let Some(lock) = lock.filter(|_| name.as_ref().is_none_or(is_ours)) else { return Ok(None) };
        back_with_memory(&file, &folder, geometry)?;
        identity::write(&file, geometry).map_err(SegmentError::io("initialise the segment"))?;
        identity::set_kept(&file, keep)?;
        // Mapped before it has a name: a failure, for lack of address space, say, leaves nothing behind.
        let segment = Segment::from_file(file, true)?;
        Ok(Some(Self { owned: OwnedSegment { segment, lock, adopted: false }, _provisional_name: name }))
    }

    /// Names the segment. `None` if the name is taken.
    fn name(self, path: &Path) -> Result<Option<OwnedSegment>, SegmentError> {
        let file = self.owned.lock.file().ok_or(SegmentError::OwnershipLost)?;
        match link(file, path) {
            Ok(()) => Ok(Some(self.owned)),
            Err(Errno::EEXIST) => Ok(None),
            Err(errno) => Err(SegmentError::Io { action: "name the segment", source: errno.into() }),
        }
    }
}

/// A new file without a name. On a file system that cannot do that: with a random name, until the second value drops.
fn new_file(dir: &Path, mode: u32) -> io::Result<(File, Option<ProvisionalName>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(mode);
    match options.clone().custom_flags(libc::O_TMPFILE).open(dir) {
        Ok(file) => return Ok((file, None)),
        // The errors of file systems, and of kernels before 3.11, that do not know O_TMPFILE.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {}
        Err(error) => return Err(error),
    }
    let name = dir.join(format!("{PROVISIONAL_PREFIX}{:032x}", u128::from_ne_bytes(random_bytes()?)));
    let file = options.create_new(true).open(&name)?;
    Ok((file, Some(ProvisionalName(name))))
}

struct ProvisionalName(PathBuf);

impl Drop for ProvisionalName {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "failed to remove a file's provisional name");
            }
            _ => {}
        }
    }
}

/// Gives the file its length and all of its memory.
fn back_with_memory(file: &File, folder: &File, geometry: Geometry) -> Result<(), SegmentError> {
    let needed = geometry.file_length();
    fallocate(file, FallocateFlags::empty(), 0, needed.cast_signed()).map_err(|errno| match errno {
        Errno::ENOSPC | Errno::ENOMEM | Errno::EFBIG => SegmentError::NoMemory {
            size: geometry.size,
            needed,
            available: memory::free_in(folder).unwrap_or(0),
            limited_by: "the shared memory folder",
            held: 0,
        },
        _ => SegmentError::Io { action: "allocate the segment's memory", source: errno.into() },
    })
}

/// Gives a segment up for good. `file` has its owner's lock. Retires it, so that its participants notice that nobody
/// will find what they publish there; then removes its name, if that still leads to it. The memory is free when nobody
/// has the segment open any more.
pub(crate) fn give_up(path: &Path, file: &File) -> Result<(), SegmentError> {
    identity::retire(file)?;
    if leads_to(path, file)? {
        fs::remove_file(path).map_err(SegmentError::io("remove the segment"))?;
    }
    Ok(())
}

/// Retires a segment that was to be kept but has lost its name: nobody can adopt it.
pub(crate) fn keep(path: &Path, file: &File) -> Result<(), SegmentError> {
    if leads_to(path, file)? { Ok(()) } else { identity::retire(file) }
}

/// Gives a segment its name again, if the name is free. `file` has its owner's lock.
///
/// That works after the file was moved. Once its last name was deleted, no file system of Linux gives it another.
pub(crate) fn name_again(dir: &Path, key: &Key, file: &File) -> Result<(), SegmentError> {
    let (path, dir) = (path(dir, key), dir.display().to_string());
    if leads_to(&path, file)? {
        return Ok(());
    }
    match link(file, &path) {
        Ok(()) => {
            tracing::warn!(dir, "the ring's file had lost its name: named it again");
            Ok(())
        }
        Err(Errno::EEXIST) => Err(SegmentError::NameTaken { dir }),
        Err(errno) => {
            tracing::debug!(%errno, "failed to name the ring's file again");
            Err(SegmentError::NameGone { dir })
        }
    }
}

fn link(file: &File, path: &Path) -> Result<(), Errno> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, Path::new(&source), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
}

/// Whether the path leads to this file. While its owner's lock is held, only the owner changes that.
pub(crate) fn leads_to(path: &Path, file: &File) -> Result<bool, SegmentError> {
    let ours = file.metadata().map_err(SegmentError::io("look at the segment"))?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SegmentError::Io { action: "look at the segment", source }),
    }
}
