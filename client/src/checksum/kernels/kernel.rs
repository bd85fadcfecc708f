//! [`Kernel`]: the code for one instruction set.

use super::portable;

/// Inputs up to this length, in bytes, are hashed in other ways than longer ones (xxHash specification, XXH3).
pub(super) const SHORT: usize = 240;

/// Copies and hashes.
///
/// # Safety
///
/// As [`Kernel`], and both sides are valid for that many bytes, and do not overlap.
pub(super) type Copy = unsafe fn(*const u8, *mut u8, usize) -> u64;

/// Code for one instruction set.
///
/// # Safety
///
/// The functions need more than [`SHORT`] bytes, and a processor with that instruction set: kernels come from
/// [`available`](super::available).
#[derive(Debug)]
pub struct Kernel {
    pub(super) name: &'static str,
    pub(super) copy: Copy,
    /// As `copy`, past the caches, to an address that is a multiple of the number beside it. Memory for large buffers
    /// that comes from an allocator is rarely aligned to more than 16 bytes, hence the second one.
    pub(super) streams: [(usize, Copy); 2],
    pub(super) hash: unsafe fn(*const u8, usize) -> u64,
}

impl Kernel {
    /// Its name, as [`OVERRIDE`](super::OVERRIDE) gives it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Copies `len` bytes from `from` to `to` in one pass over memory and returns the XXH3-64 of the copy: the bytes at
    /// `to` are the hashed ones, even if others write to `from`. With `stream`, past the caches if `to` is sufficiently
    /// aligned; in any case before all later stores of the caller.
    ///
    /// # Safety
    ///
    /// `from` is valid for reads and `to` for writes of `len` bytes, which do not overlap; nobody else writes to `to`.
    #[inline]
    pub unsafe fn copy(&self, from: *const u8, to: *mut u8, len: usize, stream: bool) -> u64 {
        let copy = if len <= SHORT {
            portable::copy
        } else if stream {
            let possible = self.streams.iter().find(|(align, _)| to.addr().is_multiple_of(*align));
            possible.map_or(self.copy, |(_, stream)| *stream)
        } else {
            self.copy
        };
        // SAFETY: the processor can run the kernel, and the caller vouches for the rest.
        unsafe { copy(from, to, len) }
    }

    /// The XXH3-64 of `data`.
    #[inline]
    pub fn hash(&self, data: &[u8]) -> u64 {
        let hash = if data.len() <= SHORT { portable::hash } else { self.hash };
        // SAFETY: the processor can run the kernel, and `data` is valid for reads.
        unsafe { hash(data.as_ptr(), data.len()) }
    }
}

/// The kernel for any processor.
pub(super) static PORTABLE: Kernel =
    Kernel { name: "portable", copy: portable::copy, streams: [(1, portable::copy); 2], hash: portable::hash };
