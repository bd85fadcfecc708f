//! [`OwnFile`]: a file of this library, in a program that may close descriptors that it does not own.
//!
//! Daemons close all descriptors they find, and the kernel gives the numbers to other files. A lock requested on one of
//! those instead of the segment would be free, and a living participant taken for dead; closing it would take a file
//! away from the program. So a descriptor is used and closed only while it still is the file it was opened as: the same
//! device and inode, and not opened since by another `OwnFile`, which may be of the same segment.
//!
//! A program that closes a descriptor between this check and the use is not detected.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nix::libc;

/// A file that is neither used nor closed once its descriptor number belongs to another file.
#[derive(Debug)]
pub(crate) struct OwnFile {
    file: ManuallyDrop<File>,
    identity: Option<Identity>,
    /// Its index in [`OPEN`] and the `tag` stored there. `None` if the table was full.
    entry: Option<(usize, u64)>,
}

/// Device and inode.
type Identity = (u64, u64);

impl OwnFile {
    /// Takes over `file`. With `parent_only`, a forked child closes it.
    pub(crate) fn new(file: File, parent_only: bool) -> Self {
        let fd = file.as_raw_fd();
        let identity = identity(fd);
        let entry = identity.and_then(|identity| register(fd, identity, parent_only));
        Self { file: ManuallyDrop::new(file), identity, entry }
    }

    /// The file, if the program has not closed it.
    pub(crate) fn get(&self) -> Option<&File> {
        let unclaimed = self.entry.is_none_or(|(index, tag)| OPEN[index].tag.load(Ordering::Acquire) == tag);
        (unclaimed && self.identity == identity(self.file.as_raw_fd())).then_some(&*self.file)
    }

    /// Reopens the file: a new file description of the same file, even if it no longer has a name.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let closed = || io::Error::other("the program has closed a file descriptor of this library");
        reopen(self.get().ok_or_else(closed)?)
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let is_ours = self.get().is_some();
        if let Some((index, tag)) = self.entry {
            let _ = OPEN[index].tag.compare_exchange(tag, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
        if is_ours {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// Reopens the file behind `file`, likewise.
pub(crate) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}

/// The open files. Those that find no room here are recognized by their identity alone, and stay open in a forked
/// child, which then holds their locks.
static OPEN: [Entry; 1024] = [const { Entry::new() }; 1024];

struct Entry {
    /// The descriptor in the lower half, a unique number in the upper; or one of the values below.
    tag: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
    parent_only: AtomicBool,
}

/// `tag` of an entry that is free, or being filled: no descriptor is that large.
const FREE: u64 = u64::MAX;
const BEING_FILLED: u64 = u64::MAX - 1;

impl Entry {
    const fn new() -> Self {
        Self {
            tag: AtomicU64::new(FREE),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            parent_only: AtomicBool::new(false),
        }
    }
}

fn register(fd: RawFd, (device, inode): Identity, parent_only: bool) -> Option<(usize, u64)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for entry in &OPEN {
        // The previous user of this number has lost it without knowing.
        let tag = entry.tag.load(Ordering::Acquire);
        if tag < BEING_FILLED && descriptor(tag) == fd {
            let _ = entry.tag.compare_exchange(tag, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
    let tag = u64::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 32 | u64::from(fd.cast_unsigned());
    let claim =
        |entry: &Entry| entry.tag.compare_exchange(FREE, BEING_FILLED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let index = OPEN.iter().position(claim)?;
    let entry = &OPEN[index];
    entry.device.store(device, Ordering::Relaxed);
    entry.inode.store(inode, Ordering::Relaxed);
    entry.parent_only.store(parent_only, Ordering::Relaxed);
    // Release, pairs with the Acquire of whoever reads the rest of the entry.
    entry.tag.store(tag, Ordering::Release);
    Some((index, tag))
}

/// Closes, in a forked child, the files that belong to its parent. Async-signal-safe.
pub(crate) fn close_files_of_parent() {
    for entry in &OPEN {
        let tag = entry.tag.load(Ordering::Acquire);
        if tag >= BEING_FILLED || !entry.parent_only.load(Ordering::Relaxed) {
            continue;
        }
        entry.tag.store(FREE, Ordering::Relaxed);
        let fd = descriptor(tag);
        if identity(fd) == Some((entry.device.load(Ordering::Relaxed), entry.inode.load(Ordering::Relaxed))) {
            // SAFETY: the descriptor belongs to an OwnFile, which will not touch it in this process.
            unsafe { libc::close(fd) };
        }
    }
}

fn descriptor(tag: u64) -> RawFd {
    (tag as u32).cast_signed()
}

fn identity(fd: RawFd) -> Option<Identity> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat writes to `stat` only, and takes any number for a descriptor.
    let found = unsafe { libc::fstat(fd, stat.as_mut_ptr()) } == 0;
    // SAFETY: fstat has filled it.
    found.then(|| unsafe { stat.assume_init() }).map(|stat| (stat.st_dev, stat.st_ino))
}
