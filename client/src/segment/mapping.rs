//! [`Mapping`]: a segment's file in memory, with its ring mapped twice, back to back.
//!
//! Rules that make it sound: the mapping's address and length never change while it lives, even if the memory is given
//! up before that; references into it are only
//! to atomics; payload bytes are touched through raw pointers, and only under the ring's protocol.

use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use framebuffer_contract::segment::HUGE_PAGE;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use crate::error::segment::SegmentError;
use crate::layout::{CHANNELS, CHANNELS_OFFSET, ChannelWords, Control, INDEX, INDEXES_OFFSET};
use crate::sync::AtomicU64;

/// Advice to the kernel that changes no contents.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(crate) enum Advice {
    /// Fill this process's page tables with pages that exist, several at a time (`MADV_POPULATE_READ`, Linux 5.14).
    Populate = libc::MADV_POPULATE_READ,
    /// The same, and give the pages contents (`MADV_POPULATE_WRITE`).
    Clear = libc::MADV_POPULATE_WRITE,
    /// Move the contents into huge pages (`MADV_COLLAPSE`, Linux 6.1). Not every libc names the number, which is from
    /// `include/uapi/asm-generic/mman-common.h`.
    Collapse = 25,
}

/// `[0, ring_offset + capacity)` of the file, and behind it `[ring_offset, ring_offset + capacity)` once more. A frame
/// that crosses the ring's end is therefore contiguous.
pub(crate) struct Mapping {
    /// Start and length of the reserved address range, which is unmapped at the end.
    reserved: (NonNull<c_void>, usize),
    base: NonNull<u8>,
    ring_offset: usize,
    capacity: usize,
}

/// Bytes of address space that a mapping takes: the file, the ring once more, and room to align them to huge pages.
pub(super) const fn reserved_length(ring_offset: u64, capacity: u64) -> u64 {
    ring_offset + 2 * capacity + HUGE_PAGE
}

// SAFETY: a Mapping is an address range, the same for all threads; its contents are touched only through atomics or by
// the ring's protocol.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; `&Mapping` gives only addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the file. It has `ring_offset + capacity` bytes, both multiples of the page size.
    pub(crate) fn new(file: &File, ring_offset: u64, capacity: u64, writable: bool) -> Result<Self, SegmentError> {
        let reserve = reserved_length(ring_offset, capacity) as usize;
        let reserve = NonZeroUsize::new(reserve).unwrap_or(NonZeroUsize::MIN);
        let (ring_offset, capacity) = (ring_offset as usize, capacity as usize);
        let slack = HUGE_PAGE as usize;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap_anonymous(None, reserve, ProtFlags::PROT_NONE, flags) }
            .map_err(SegmentError::io("reserve address space for the ring"))?;
        let base = start.cast::<u8>();
        // For huge pages, file offsets and addresses must agree on where they begin.
        let to_aligned = base.as_ptr().align_offset(slack);
        // SAFETY: to_aligned < slack, and slack bytes beyond the two mappings are reserved.
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

    /// Bytes of the ring.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether file offsets and addresses agree on where huge pages begin.
    pub(crate) fn is_aligned_to_huge_pages(&self) -> bool {
        [self.ring_offset, self.capacity].iter().all(|length| length.is_multiple_of(HUGE_PAGE as usize))
    }

    /// Advises the kernel about `len` bytes of the two mappings of the ring, from `at` on.
    pub(crate) fn advise(&self, at: usize, len: usize, advice: Advice) -> Result<(), Errno> {
        assert!(at + len <= 2 * self.capacity, "inside the two rings");
        // SAFETY: inside the mapping by the assertion.
        let address = unsafe { self.base.add(self.ring_offset + at) };
        // SAFETY: the range is inside our mapping, and none of the advices changes contents.
        Errno::result(unsafe { libc::madvise(address.as_ptr().cast(), len, advice as libc::c_int) }).map(drop)
    }

    /// Gives the segment's memory up: what is mapped from here on is private memory, all zeros, at the same addresses.
    ///
    /// Whoever still has references to words there finds zeros, and what it stores reaches nobody.
    ///
    /// # Safety
    ///
    /// No slice of payload is in use, and none will be made.
    pub(crate) unsafe fn abandon(&self) -> Result<(), SegmentError> {
        let (start, length) = self.reserved;
        let (address, length) = (NonZeroUsize::new(start.as_ptr() as usize), NonZeroUsize::new(length));
        let Some(length) = length else { return Ok(()) };
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_FIXED;
        // SAFETY: exactly what was reserved. References into it are to atomics, which may change at any time.
        unsafe { mmap_anonymous(address, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }
            .map_err(SegmentError::io("give up the memory of a retired ring"))?;
        Ok(())
    }

    /// The channels.
    #[inline]
    pub(crate) fn channels(&self) -> &[ChannelWords] {
        let channels = self.control(CHANNELS_OFFSET).cast::<ChannelWords>();
        // SAFETY: as many lie between the slots and the indexes, aligned, since CHANNELS_OFFSET and their size are
        // multiples of 64. They consist of atomics, and live as long as the mapping, which `self` borrows.
        unsafe { std::slice::from_raw_parts(channels.as_ptr(), CHANNELS) }
    }

    /// The words of the index of the channel at this place, below `CHANNELS`.
    #[inline]
    pub(crate) fn index(&self, place: usize) -> &[AtomicU64] {
        assert!(place < CHANNELS, "channel {place} of {CHANNELS}");
        let words = self.control(INDEXES_OFFSET + (place * INDEX) as u64 * 8).cast::<AtomicU64>();
        // SAFETY: as in `channels`; the last index ends where the ring begins, at the latest.
        unsafe { std::slice::from_raw_parts(words.as_ptr(), INDEX) }
    }

    /// The control block.
    #[inline]
    pub(crate) fn control_block(&self) -> &Control {
        // SAFETY: mapped, aligned to a page, as large as SLOTS_OFFSET, all of its fields are atomics or never touched,
        // and it lives as long as the mapping, which `self` borrows.
        unsafe { self.base.cast::<Control>().as_ref() }
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
