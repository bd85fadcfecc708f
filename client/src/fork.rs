//! Noticing `fork`: a child has its parent's memory and file descriptors, but must not act as its parent.
//!
//! A child of `fork` without `exec` (Python's multiprocessing, servers that fork workers) inherits the mapping of a ring,
//! which is welcome, and the seats and locks of its parent, which are not: both would use the same pins. So
//! - [`generation`] is another number in the child. It reads a page that the kernel wipes on fork (`MADV_WIPEONFORK`,
//!   Linux 4.14), which costs one load; whatever was made in another generation is the parent's;
//! - files that hold locks are closed in the child ([`ParentOnly`]), by a handler of `pthread_atfork`: otherwise a
//!   parent's locks would outlive it for as long as its children live.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// The number of this process: another one in every forked child.
pub(crate) fn generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let word = WIPED.get_or_init(wiped_word);
    match word.load(Ordering::Relaxed) {
        0 => {
            // The first call in this process. Of several threads one sets the number.
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|set| set, |_| next)
        }
        generation => generation,
    }
}

static WIPED: OnceLock<&'static AtomicU64> = OnceLock::new();

/// A word that is zero in a forked child.
fn wiped_word() -> &'static AtomicU64 {
    // SAFETY: the handler does only what may be done between fork and exec: it stores to atomics and calls close.
    unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
    let Ok(page) = (unsafe { mmap_anonymous(None, PAGE, access, MapFlags::MAP_PRIVATE) }) else {
        // No memory for a page: then the handler alone wipes.
        return Box::leak(Box::new(AtomicU64::new(0)));
    };
    // An error (a kernel that does not know it) leaves the wiping to the handler.
    // SAFETY: the page is ours and never unmapped.
    unsafe { libc::madvise(page.as_ptr(), PAGE.get(), libc::MADV_WIPEONFORK) };
    // SAFETY: mapped, zeroed, aligned to a page, never unmapped, and only ever used as this atomic.
    unsafe { page.cast().as_ref() }
}

extern "C" fn after_fork_in_child() {
    if let Some(word) = WIPED.get() {
        word.store(0, Ordering::Relaxed);
    }
    for open in &OPEN {
        let fd = open.swap(NONE, Ordering::Relaxed);
        if fd != NONE {
            // SAFETY: the descriptor belongs to a ParentOnly, which will not touch it in this process.
            unsafe { libc::close(fd) };
        }
    }
}

/// At least what is mapped for a word, whatever the page size.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

const NONE: RawFd = -1;

/// Descriptors to close in a child. Those that find no room here stay open there, and their locks held by it.
static OPEN: [AtomicI32; 1024] = [const { AtomicI32::new(NONE) }; 1024];

/// A file that a forked child does not have.
#[derive(Debug)]
pub(crate) struct ParentOnly {
    /// `None` only while it is dropped.
    file: Option<File>,
    generation: u64,
}

impl ParentOnly {
    pub(crate) fn new(file: File) -> Self {
        let generation = generation();
        let fd = file.as_raw_fd();
        OPEN.iter().find(|open| open.compare_exchange(NONE, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok());
        Self { file: Some(file), generation }
    }

    /// The file, but for a forked child.
    pub(crate) fn get(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| self.generation == generation())
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.generation == generation() {
            let fd = file.as_raw_fd();
            OPEN.iter().find(|open| open.compare_exchange(fd, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok());
        } else {
            // Closed already, and its number may be another file's by now.
            std::mem::forget(file);
        }
    }
}
