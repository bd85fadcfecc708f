//! [`Mapping`]: a segment's file in memory, its ring twice, back to back.
//!
//! Rules that make it sound: the mapping's address and length never change while it lives; nobody gets a reference into
//! it but to atomics; payload bytes are touched through raw pointers, and only under the ring's protocol.

use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::error::SegmentError;

/// Size of a huge page on x86-64 and on aarch64 with 4 KiB pages.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

/// How much is populated by one system call: little enough to stop soon when asked to.
const POPULATE_STEP: usize = 32 << 20;

/// `[0, ring_offset + capacity)` of the file, and behind it `[ring_offset, ring_offset + capacity)` once more. A frame
/// that crosses the ring's end is therefore contiguous.
pub(crate) struct Mapping {
    /// Start of the reserved address range, and its length: what is unmapped at the end.
    reserved: (NonNull<c_void>, usize),
    base: NonNull<u8>,
    ring_offset: usize,
    capacity: usize,
}

// SAFETY: a Mapping is an address range, the same for all threads; what is in it is touched only through atomics or by
// the ring's protocol.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; `&Mapping` gives only addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the file. It has `ring_offset + capacity` bytes, both multiples of the page size.
    pub(crate) fn new(file: &File, ring_offset: u64, capacity: u64, writable: bool) -> Result<Self, SegmentError> {
        let (ring_offset, capacity) = (ring_offset as usize, capacity as usize);
        let length = ring_offset + 2 * capacity;
        let slack = HUGE_PAGE as usize;
        let reserve = NonZeroUsize::new(length + slack).unwrap_or(NonZeroUsize::MIN);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap_anonymous(None, reserve, ProtFlags::PROT_NONE, flags) }
            .map_err(SegmentError::io("reserve address space for the ring"))?;
        let base = start.cast::<u8>();
        // Where huge pages are possible, file and addresses must agree on where they begin.
        let to_aligned = base.as_ptr().align_offset(slack);
        // SAFETY: to_aligned < slack, and slack bytes beyond `length` are reserved.
        let base = unsafe { base.add(to_aligned) };
        let mapping = Self { reserved: (start, reserve.get()), base, ring_offset, capacity };
        let protection = if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        for (at, from, len) in [(0, 0, ring_offset + capacity), (ring_offset + capacity, ring_offset, capacity)] {
            let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
            let (Some(address), Some(len)) = (NonZeroUsize::new(base.as_ptr() as usize + at), NonZeroUsize::new(len))
            else {
                continue;
            };
            // SAFETY: the target is inside the range reserved above, which nobody else uses.
            unsafe { mmap(Some(address), len, protection, flags, file, from.cast_signed() as libc::off_t) }
                .map_err(SegmentError::io("map the segment"))?;
        }
        Ok(mapping)
    }

    /// The address of a byte of the file in front of the ring.
    #[inline]
    pub(crate) fn control(&self, offset: u64) -> NonNull<u8> {
        assert!((offset as usize) < self.ring_offset, "inside the control area");
        // SAFETY: inside the mapping by the assertion.
        unsafe { self.base.add(offset as usize) }
    }

    /// The address of a stream position. `capacity` bytes from there on are mapped.
    #[inline]
    pub(crate) fn ring(&self, position: u64) -> NonNull<u8> {
        let in_ring = (position % self.capacity as u64) as usize;
        // SAFETY: in_ring < capacity, and 2 * capacity bytes are mapped from ring_offset on.
        unsafe { self.base.add(self.ring_offset + in_ring) }
    }

    /// Fills this process's page tables for the whole mapping, so that later accesses meet no page fault. Contents do not
    /// change. Stops early when `stop` is set, and where the kernel cannot do it (before Linux 5.14).
    pub(crate) fn populate(&self, stop: &AtomicBool) {
        let length = self.ring_offset + 2 * self.capacity;
        for at in (0..length).step_by(POPULATE_STEP) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: at < length, so inside the mapping.
            let address = unsafe { self.base.add(at) }.cast();
            let step = POPULATE_STEP.min(length - at);
            // SAFETY: the range is inside our mapping; populating changes no contents.
            if unsafe { madvise(address, step, MmapAdvise::MADV_POPULATE_WRITE) }.is_err() {
                return;
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let (start, length) = self.reserved;
        // SAFETY: exactly what was reserved; every borrow of the Mapping has ended.
        let unmapped = unsafe { munmap(start, length) };
        debug_assert!(unmapped.is_ok(), "munmap of an own range");
    }
}

/// When the pages of a ring are touched: the first touch of a page costs about as much as copying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefault {
    /// When a frame first comes to lie there.
    Off,
    /// By a thread of its own, while frames already flow.
    #[default]
    Background,
    /// Before the call returns.
    Wait,
}

/// The prefaulting under way; dropping it ends it.
pub(crate) struct Prefaulting {
    stop: Arc<AtomicBool>,
}

impl Prefaulting {
    /// Begins to prefault.
    pub(crate) fn start(mapping: &Arc<Mapping>, when: Prefault) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        match when {
            Prefault::Off => {}
            Prefault::Wait => mapping.populate(&stop),
            Prefault::Background => {
                let (mapping, stop) = (Arc::clone(mapping), Arc::clone(&stop));
                let name = "framebuffer-prefault".to_owned();
                // Without the thread (a limit on threads, say) pages are touched when they are needed.
                let spawned = std::thread::Builder::new().name(name).spawn(move || mapping.populate(&stop));
                if let Err(error) = spawned {
                    tracing::debug!(%error, "no thread for prefaulting");
                }
            }
        }
        Self { stop }
    }
}

impl Drop for Prefaulting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
