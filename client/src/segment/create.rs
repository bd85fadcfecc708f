//! The owner's side of a segment: making it, adopting it, removing it.
//!
//! A new segment is built without a name (`O_TMPFILE`): created, filled with memory (`fallocate`, so that too little of it
//! is an error now instead of SIGBUS later), initialised, locked by its owner; only then it is linked to its name, which
//! fails if the name is taken. So a segment that can be found is complete, and has an owner or has lost it: whoever gets
//! the owner's lock of a file that still has the name is its next owner, and may adopt or remove it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use framebuffer_contract::Geometry;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::libc;
use nix::unistd::linkat;

use super::error::SegmentError;
use super::locks::{HeldLock, OWNER};
use super::{Segment, check_header, memory, open_file, path};
use crate::key::{Key, random_bytes};
use crate::layout::{MAGIC, PARTICIPANTS, VERSION};
use crate::own_file::reopen;

/// How often a name may be taken and gone again between two looks before it is given up.
const ATTEMPTS: usize = 16;

/// A segment and the lock that makes this process its owner.
pub(crate) struct Owned {
    pub(crate) segment: Segment,
    pub(crate) lock: HeldLock,
    /// Whether it was there before.
    pub(crate) adopted: bool,
}

/// Creates the segment with this key and becomes its owner. One that a dead owner left is adopted with `keep`, otherwise
/// replaced.
pub(crate) fn create(dir: &Path, key: &Key, size: u64, mode: u32, keep: bool) -> Result<Owned, SegmentError> {
    let geometry = super::geometry(size)?;
    for _ in 0..ATTEMPTS {
        if let Some(lock) = take_over(dir, key)? {
            if keep {
                return adopt(lock, size);
            }
            remove(dir, key, &lock)?;
        }
        if let Some(owned) = make(dir, key, geometry, mode)? {
            return Ok(owned);
        }
    }
    Err(SegmentError::AlreadyOwned)
}

/// Takes the owner's lock of an existing segment. `None` if there is none, an error if it is not one or has an owner.
fn take_over(dir: &Path, key: &Key) -> Result<Option<HeldLock>, SegmentError> {
    let file = match open_file(dir, key, true) {
        Ok(file) => file,
        Err(SegmentError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    check_header(&file)?;
    let lock = HeldLock::take(file, OWNER).map_err(SegmentError::io("lock the segment"))?;
    let lock = lock.ok_or(SegmentError::AlreadyOwned)?;
    // Between the opening and the lock another owner may have removed it.
    Ok(has_name(dir, key, &lock)?.then_some(lock))
}

fn adopt(lock: HeldLock, size: u64) -> Result<Owned, SegmentError> {
    let file = lock.file().ok_or(SegmentError::AlreadyOwned)?;
    let found = check_header(file)?.size;
    if found != size {
        return Err(SegmentError::SizeDiffers { found, asked: size });
    }
    let file = reopen(file).map_err(SegmentError::io("open the segment anew through /proc"))?;
    Ok(Owned { segment: Segment::from_file(file, true)?, lock, adopted: true })
}

/// Makes a new segment. `None` if the name is taken.
fn make(dir: &Path, key: &Key, geometry: Geometry, mode: u32) -> Result<Option<Owned>, SegmentError> {
    let folder = File::open(dir).map_err(SegmentError::io("open the shared memory folder"))?;
    memory::check(&folder, geometry.size, geometry.file_length())?;
    let (nameless, _provisional_name) =
        new_file(dir, mode).map_err(SegmentError::io("create a file in the shared memory folder"))?;
    // The mode that was asked for, whatever the umask.
    nameless.set_permissions(fs::Permissions::from_mode(mode)).map_err(SegmentError::io("set the segment's mode"))?;
    fill(&nameless, &folder, geometry)?;
    initialise(&nameless, geometry).map_err(SegmentError::io("initialise the segment"))?;
    let segment = reopen(&nameless).map_err(SegmentError::io("open the segment anew through /proc"))?;
    let source = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    let lock = HeldLock::take(nameless, OWNER).map_err(SegmentError::io("lock the segment"))?;
    let lock = lock.ok_or(SegmentError::AlreadyOwned)?;
    match linkat(AT_FDCWD, Path::new(&source), AT_FDCWD, &path(dir, key), AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(Owned { segment: Segment::from_file(segment, true)?, lock, adopted: false })),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(SegmentError::Io { action: "name the segment", source: errno.into() }),
    }
}

/// A new file without a name, or, where the file system cannot do that, with a random one until the second value drops.
fn new_file(dir: &Path, mode: u32) -> io::Result<(File, Option<ProvisionalName>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(mode);
    match options.clone().custom_flags(libc::O_TMPFILE).open(dir) {
        Ok(file) => return Ok((file, None)),
        // What file systems, and kernels before 3.11, say that do not know O_TMPFILE.
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
fn fill(file: &File, folder: &File, geometry: Geometry) -> Result<(), SegmentError> {
    let needed = geometry.file_length();
    fallocate(file, FallocateFlags::empty(), 0, needed.cast_signed()).map_err(|errno| match errno {
        Errno::ENOSPC | Errno::ENOMEM | Errno::EFBIG => SegmentError::NoMemory {
            size: geometry.size,
            needed,
            available: memory::free_in(folder).unwrap_or(0),
            limited_by: "the shared memory folder",
        },
        _ => SegmentError::Io { action: "allocate the segment's memory", source: errno.into() },
    })
}

/// Writes the identity: the magic last, though nobody can find the file before it has a name.
fn initialise(file: &File, geometry: Geometry) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = random_bytes::<16>()?;
    let words = [VERSION, geometry.size, geometry.capacity, geometry.ring_offset, now.as_nanos() as u64];
    let mut identity: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    identity.extend(id);
    identity.extend((PARTICIPANTS as u64).to_le_bytes());
    file.write_all_at(&identity, 8)?;
    file.write_all_at(&MAGIC.to_le_bytes(), 0)
}

/// Removes the segment's name, if it is still that of the segment whose owner holds `lock`. Participants that have it
/// open can use it until they close it.
pub(crate) fn remove(dir: &Path, key: &Key, lock: &HeldLock) -> Result<(), SegmentError> {
    if has_name(dir, key, lock)? {
        fs::remove_file(path(dir, key)).map_err(SegmentError::io("remove the segment"))?;
    }
    Ok(())
}

/// Whether the key's path still leads to the locked file. It stays so while the lock is held: only an owner removes.
fn has_name(dir: &Path, key: &Key, lock: &HeldLock) -> Result<bool, SegmentError> {
    let Some(file) = lock.file() else { return Ok(false) };
    let ours = file.metadata().map_err(SegmentError::io("look at the segment"))?;
    match fs::metadata(path(dir, key)) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SegmentError::Io { action: "look at the segment", source }),
    }
}
