//! Detecting `fork`: a child has its parent's memory and file descriptors, but must not act as its parent.
//!
//! A child of `fork` without `exec` (Python's multiprocessing, servers that fork workers) inherits the mapping of a
//! ring, which is welcome, and its parent's slots and locks, which are not: both would use the same pins. So
//! - [`generation`] differs in the child. It reads a page that the kernel wipes on fork (`MADV_WIPEONFORK`, Linux
//!   4.14), which costs one load; anything made in another generation belongs to the parent;
//! - files that hold locks are closed in the child ([`ParentOnly`]) by a `pthread_atfork` handler: otherwise a parent's
//!   locks would outlive it for as long as its children live. The [gate](super::gate) sees to it that the child knows
//!   them all, the [handover](super::handover) that it has closed them when `fork` returns in the parent.
//!
//! A program that creates a child without running the handlers (`_Fork`, `clone`) keeps the parent's files until the
//! child's first call.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::own_file::{Inheritance, OwnFile, close_files_of_others};
use super::{gate, handover};

/// The number of this process. It differs in every forked child.
#[inline]
pub(crate) fn generation() -> u64 {
    // Acquire, pairs with the Release of `first_word`.
    let word = WIPED.load(Ordering::Acquire);
    // SAFETY: null, or a word that is never freed.
    match unsafe { word.as_ref() }.map(|word| word.load(Ordering::Relaxed)) {
        Some(generation) if generation != 0 => generation,
        _ => number_process(),
    }
}

/// The first call in this process: gives it a number.
#[cold]
fn number_process() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // SAFETY: null, or a word that is never freed.
    let word = unsafe { WIPED.load(Ordering::Acquire).as_ref() }.unwrap_or_else(first_word);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    // Of several threads one sets the number.
    let set = word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
    let own = set.map_or_else(|set| set, |_| next);
    close_files_of_others(own);
    own
}

/// A word that is zero in a forked child. Null before the first call.
static WIPED: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// Creates the word, or returns the one of a thread that was faster.
fn first_word() -> &'static AtomicU64 {
    let new = wiped_word();
    let made = std::ptr::from_ref(new).cast_mut();
    match WIPED.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        // SAFETY: only ever set to a word that is never freed.
        Err(theirs) => unsafe { &*theirs },
    }
}

/// A word that is zero in a forked child.
fn wiped_word() -> &'static AtomicU64 {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers lock and unlock the gate, so they are registered once; that in the child is
        // async-signal-safe besides: it uses atomics and calls fstat and close.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    }
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
    let Ok(page) = (unsafe { mmap_anonymous(None, PAGE, access, MapFlags::MAP_PRIVATE) }) else {
        // No memory for a page: the handler alone then wipes.
        return Box::leak(Box::new(AtomicU64::new(0)));
    };
    // On an error (an older kernel), the handler does the wiping.
    // SAFETY: the page is ours and never unmapped.
    unsafe { libc::madvise(page.as_ptr(), PAGE.get(), libc::MADV_WIPEONFORK) };
    // SAFETY: mapped, zeroed, aligned to a page, never unmapped, and only ever used as this atomic.
    unsafe { page.cast().as_ref() }
}

extern "C" fn before_fork() {
    gate::lock();
    handover::begin();
}

extern "C" fn after_fork_in_parent() {
    let handover = handover::take();
    // SAFETY: `before_fork` has locked it in this thread.
    unsafe { gate::unlock() };
    handover.wait();
}

extern "C" fn after_fork_in_child() {
    // SAFETY: `before_fork` has locked it in the thread that this one is a copy of.
    unsafe { gate::unlock() };
    if let Some(word) = NonNull::new(WIPED.load(Ordering::Acquire)) {
        // SAFETY: only ever set to a word that is never freed.
        unsafe { word.as_ref() }.store(0, Ordering::Relaxed);
    }
    // Closes the parent's files, under the child's own number.
    generation();
    handover::take().end();
}

/// Bytes to map for a word; the kernel rounds up to its page size.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A file that is closed in a forked child.
#[derive(Debug)]
pub(crate) struct ParentOnly {
    file: OwnFile,
    generation: u64,
}

impl ParentOnly {
    /// Takes over the file that `open` returns, as [`OwnFile::open`].
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        // First this: it sees to it that the handlers are there.
        let generation = generation();
        Ok(Self { file: OwnFile::open(open, Inheritance::OnlyOf(generation))?, generation })
    }

    /// The file; `None` in a forked child, and if the program has closed it.
    pub(crate) fn get(&self) -> Option<&File> {
        (self.generation == generation()).then(|| self.file.get())?
    }

    /// Closes the file early.
    pub(crate) fn close(&self) {
        self.file.close();
    }
}
