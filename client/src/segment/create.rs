//! The owner's side of a segment: creating, adopting and removing it.
//!
//! A new segment is built without a name (`O_TMPFILE`): created, backed with memory (`fallocate`, so that a lack of
//! memory is an error now instead of SIGBUS later), initialised, locked by its owner. Only then is it linked to its
//! name, which fails if the name is taken. So a segment that can be found is complete, and has an owner or has lost it:
//! whoever gets the owner's lock of a file that still has the name is its next owner, and may adopt or remove it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use framebuffer_contract::Geometry;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::libc;
use nix::unistd::linkat;

use super::geometry::geometry;
use super::locks::FileLock;
use super::permission::{self, Act};
use super::{Segment, identity, limits, open_file, path};
use crate::error::segment::SegmentError;
use crate::key::{Key, random_bytes};
use crate::layout::OWNER_BYTE;
use crate::os::own_file::reopen;
use crate::threads::Blocked;

/// How often the name may be taken and gone again between two checks before the attempt is given up.
const ATTEMPTS: usize = 16;

/// Bytes of memory per request to the kernel: few enough for signals to be handled soon.
const STEP: usize = 64 << 20;

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
    for _ in 0..ATTEMPTS {
        if let Some(lock) = take_over(dir, key)? {
            if keep {
                return adopt(lock, size);
            }
            remove(dir, key, &lock)?;
        }
        if let Some(owned) = create_new(dir, key, geometry, mode)? {
            return Ok(owned);
        }
    }
    Err(SegmentError::AlreadyOwned)
}

/// Creates a segment of a name that nobody has, whatever else is in the folder.
pub(crate) fn create_alone(dir: &Path, key: &Key, size: u64, mode: u32) -> Result<OwnedSegment, SegmentError> {
    create_new(dir, key, geometry(size)?, mode)?.ok_or(SegmentError::AlreadyOwned)
}

/// Takes the owner's lock of an existing segment. `None` if there is no file; an error if it is not a segment, or
/// owned.
fn take_over(dir: &Path, key: &Key) -> Result<Option<FileLock>, SegmentError> {
    let file = match open_file(dir, key, true) {
        Ok(file) => file,
        Err(SegmentError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    identity::check(&file)?;
    let lock = FileLock::take(|| reopen(&file), OWNER_BYTE).map_err(SegmentError::io("lock the segment"))?;
    let lock = lock.ok_or(SegmentError::AlreadyOwned)?;
    // Another owner may have removed it between opening and locking.
    Ok(has_name(dir, key, &lock)?.then_some(lock))
}

fn adopt(lock: FileLock, size: u64) -> Result<OwnedSegment, SegmentError> {
    let file = lock.file().ok_or(SegmentError::AlreadyOwned)?;
    let found = identity::check(file)?.size;
    if found != size {
        return Err(SegmentError::SizeDiffers { found, asked: size });
    }
    let file = reopen(file).map_err(SegmentError::io("open the segment anew through /proc, which must be mounted"))?;
    Ok(OwnedSegment { segment: Segment::from_file(file, true)?, lock, adopted: true })
}

/// Creates a new segment. `None` if the name is taken.
fn create_new(dir: &Path, key: &Key, geometry: Geometry, mode: u32) -> Result<Option<OwnedSegment>, SegmentError> {
    let folder = File::open(dir).map_err(permission::explain(Act::Look, dir, dir))?;
    limits::check(&folder, geometry)?;
    let (nameless, _provisional_name) = new_file(dir, mode).map_err(permission::explain(Act::Create, dir, dir))?;
    // The requested mode, regardless of the umask.
    nameless.set_permissions(fs::Permissions::from_mode(mode)).map_err(SegmentError::io("set the segment's mode"))?;
    back_with_memory(&nameless, &folder, geometry)?;
    identity::write(&nameless, geometry).map_err(SegmentError::io("initialise the segment"))?;
    let segment =
        reopen(&nameless).map_err(SegmentError::io("open the segment anew through /proc, which must be mounted"))?;
    // Mapped before it has a name: a failure, for lack of address space, say, leaves nothing behind.
    let segment = Segment::from_file(segment, true)?;
    let source = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    let lock = FileLock::take(|| reopen(&nameless), OWNER_BYTE).map_err(SegmentError::io("lock the segment"))?;
    let lock = lock.ok_or(SegmentError::AlreadyOwned)?;
    match linkat(AT_FDCWD, Path::new(&source), AT_FDCWD, &path(dir, key), AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(OwnedSegment { segment, lock, adopted: false })),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(permission::explain(Act::Name, dir, dir)(errno)),
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
    let name = dir.join(format!(".framebuffer-{:032x}", u128::from_ne_bytes(random_bytes()?)));
    let file = options.create_new(true).open(&name)?;
    Ok((file, Some(ProvisionalName(name))))
}

struct ProvisionalName(PathBuf);

impl Drop for ProvisionalName {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "failed to remove a file's provisional name");
        }
    }
}

/// Gives the file its length and all of its memory.
fn back_with_memory(file: &File, folder: &File, geometry: Geometry) -> Result<(), SegmentError> {
    let needed = geometry.file_length();
    let mut steps = (0..needed).step_by(STEP);
    let allocated = steps.try_for_each(|at| {
        // Older kernels undo the step and fail if a signal arrives.
        let _blocked = Blocked::new();
        let length = (needed - at).min(STEP as u64);
        fallocate(file, FallocateFlags::empty(), at.cast_signed(), length.cast_signed())
    });
    allocated.map_err(|errno| match errno {
        Errno::ENOSPC | Errno::ENOMEM | Errno::EFBIG => limits::full(folder, geometry),
        _ => SegmentError::Io { action: "allocate the segment's memory", source: errno.into() },
    })
}

/// Removes the segment's name if it still leads to the segment that `lock` owns. Participants that have it open can use
/// it until they close it.
pub(crate) fn remove(dir: &Path, key: &Key, lock: &FileLock) -> Result<(), SegmentError> {
    if has_name(dir, key, lock)? {
        let path = path(dir, key);
        fs::remove_file(&path).map_err(permission::explain(Act::Remove, dir, &path))?;
    }
    Ok(())
}

/// Whether the key's path still leads to the locked file. That stays so while the lock is held: only an owner removes
/// it.
fn has_name(dir: &Path, key: &Key, lock: &FileLock) -> Result<bool, SegmentError> {
    let Some(file) = lock.file() else { return Ok(false) };
    let ours = file.metadata().map_err(SegmentError::io("look at the segment"))?;
    match fs::metadata(path(dir, key)) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SegmentError::Io { action: "look at the segment", source }),
    }
}
