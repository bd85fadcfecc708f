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
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use nix::libc;

use super::gate::Gate;

/// A file that is neither used nor closed once its descriptor number belongs to another file.
#[derive(Debug)]
pub(crate) struct OwnFile {
    file: ManuallyDrop<File>,
    identity: Identity,
    /// Its entry in the table, and the `tag` stored there.
    entry: &'static Entry,
    tag: u64,
}

/// Device and inode.
type Identity = (u64, u64);

/// Who closes a file besides its `OwnFile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// Nobody: a forked child has it too.
    Inherited,
    /// A forked child, by [`close_files_of_others`]: it belongs to the process with this number.
    OnlyOf(u64),
}

impl OwnFile {
    /// Takes over the file that `open` returns. No thread forks meanwhile: `open` must not take long.
    ///
    /// # Errors
    ///
    /// That of `open`.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>, inheritance: Inheritance) -> io::Result<Self> {
        let gate = Gate::enter();
        let file = open()?;
        let identity = identity(file.as_raw_fd()).ok_or_else(io::Error::last_os_error)?;
        let (entry, tag) = register(&gate, file.as_raw_fd(), identity, inheritance);
        Ok(Self { file: ManuallyDrop::new(file), identity, entry, tag })
    }

    /// The file, if the program has not closed it.
    pub(crate) fn get(&self) -> Option<&File> {
        let unclaimed = self.entry.tag.load(Ordering::Acquire) == self.tag;
        (unclaimed && identity(self.file.as_raw_fd()) == Some(self.identity)).then_some(&*self.file)
    }

    /// Whether the file has no name any more. `None` if the program has closed it. One system call.
    pub(crate) fn is_nameless(&self) -> Option<bool> {
        let stat = stat(self.file.as_raw_fd())?;
        let is_ours = self.entry.tag.load(Ordering::Acquire) == self.tag && self.identity == (stat.st_dev, stat.st_ino);
        is_ours.then_some(stat.st_nlink == 0)
    }

    /// Reopens the file: a new file description of the same file, even if it no longer has a name.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let closed = || io::Error::other("the program has closed a file descriptor of this library");
        let file = reopen(self.get().ok_or_else(closed)?)?;
        // It may have been closed meanwhile, and the number be another file's.
        if identity(file.as_raw_fd()) == Some(self.identity) { Ok(file) } else { Err(closed()) }
    }

    /// Closes the file before this is dropped. There is no file afterwards.
    pub(crate) fn close(&self) {
        let _gate = Gate::enter();
        let is_ours = self.get().is_some();
        let released = self.entry.tag.compare_exchange(self.tag, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_ours && released {
            // SAFETY: whoever finds its tag in the entry owns the descriptor, and we have just taken it away.
            unsafe { libc::close(self.file.as_raw_fd()) };
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reopens the file behind `file`, likewise.
pub(crate) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}

/// The table of open files: blocks of entries, never freed, so that a signal-safe function can walk through it.
static OPEN: Block = Block::new();

struct Block {
    entries: [Entry; 64],
    /// Null at the end.
    next: AtomicPtr<Block>,
}

#[derive(Debug)]
struct Entry {
    /// The descriptor in the lower half, a unique number in the upper; or one of the values below.
    tag: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
    /// The number of the process that it belongs to, or [`INHERITED`].
    process: AtomicU64,
}

/// `tag` of an entry that is free: no descriptor is that large.
const FREE: u64 = u64::MAX;
/// `process` of a file that a forked child keeps.
const INHERITED: u64 = 0;

impl Block {
    const fn new() -> Self {
        Self { entries: [const { Entry::new() }; 64], next: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Self> {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a block that was leaked.
        unsafe { next.as_ref() }
    }
}

impl Entry {
    const fn new() -> Self {
        Self {
            tag: AtomicU64::new(FREE),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            process: AtomicU64::new(INHERITED),
        }
    }

    fn identity(&self) -> Identity {
        (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed))
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    std::iter::successors(Some(&OPEN), |block| block.next()).flat_map(|block| &block.entries)
}

/// Enters a file into the table. Whoever is inside the gate is alone with it, but for those who look up an entry of
/// theirs.
fn register(_gate: &Gate, fd: RawFd, (device, inode): Identity, inheritance: Inheritance) -> (&'static Entry, u64) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // The previous user of this number has lost it without knowing.
    for entry in entries() {
        let tag = entry.tag.load(Ordering::Acquire);
        if tag != FREE && descriptor(tag) == fd {
            entry.tag.store(FREE, Ordering::Release);
        }
    }
    let tag = u64::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 32 | u64::from(fd.cast_unsigned());
    let entry = entries().find(|entry| entry.tag.load(Ordering::Acquire) == FREE).unwrap_or_else(|| &grow().entries[0]);
    entry.device.store(device, Ordering::Relaxed);
    entry.inode.store(inode, Ordering::Relaxed);
    let process = match inheritance {
        Inheritance::Inherited => INHERITED,
        Inheritance::OnlyOf(process) => process,
    };
    entry.process.store(process, Ordering::Relaxed);
    // Release, pairs with the Acquire of whoever reads the rest of the entry.
    entry.tag.store(tag, Ordering::Release);
    (entry, tag)
}

/// Appends a block to the table, inside the gate.
fn grow() -> &'static Block {
    let new: &'static Block = Box::leak(Box::new(Block::new()));
    let mut last = &OPEN;
    while let Some(next) = last.next() {
        last = next;
    }
    last.next.store(std::ptr::from_ref(new).cast_mut(), Ordering::Release);
    new
}

/// Whether there are files that a forked child has to close. Async-signal-safe.
pub(super) fn has_files_of_own() -> bool {
    let process = |entry: &Entry| entry.process.load(Ordering::Relaxed);
    entries().any(|entry| entry.tag.load(Ordering::Acquire) != FREE && process(entry) != INHERITED)
}

/// Closes, in a forked child, the files that belong only to other processes than number `own`. Async-signal-safe.
pub(super) fn close_files_of_others(own: u64) {
    for entry in entries() {
        let tag = entry.tag.load(Ordering::Acquire);
        let process = entry.process.load(Ordering::Relaxed);
        if tag == FREE || process == INHERITED || process == own {
            continue;
        }
        let found = identity(descriptor(tag));
        let taken = entry.tag.compare_exchange(tag, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken && found == Some(entry.identity()) {
            // SAFETY: the descriptor belongs to an OwnFile, which will not touch it in this process.
            unsafe { libc::close(descriptor(tag)) };
        }
    }
}

fn descriptor(tag: u64) -> RawFd {
    (tag as u32).cast_signed()
}

fn identity(fd: RawFd) -> Option<Identity> {
    stat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

fn stat(fd: RawFd) -> Option<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat writes to `stat` only, and takes any number for a descriptor.
    let found = unsafe { libc::fstat(fd, stat.as_mut_ptr()) } == 0;
    // SAFETY: fstat has filled it.
    found.then(|| unsafe { stat.assume_init() })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_open_files_grows() {
        let open = || OwnFile::open(|| File::open("/dev/null"), Inheritance::Inherited).expect("it can be opened");
        let files: Vec<_> = (0..300).map(|_| open()).collect();
        assert!(files.iter().all(|file| file.get().is_some()));
        let distinct: std::collections::HashSet<_> = files.iter().map(|file| std::ptr::from_ref(file.entry)).collect();
        assert_eq!(distinct.len(), files.len(), "two files share an entry");
        drop(files);
        assert!(open().get().is_some());
    }
}
