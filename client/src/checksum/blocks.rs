//! Copying and hashing in one pass over memory: block by block, each hashed while it is still in the cache.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::Checksum;

/// A block is copied, then hashed from the copy's source or destination while it is still in the L1 cache
/// (32 KiB or more on every x86-64 and aarch64 server core; half of it leaves room for the other side of the copy).
const BLOCK: usize = 8 * 1024;

/// The checksum of `data`.
pub(crate) fn hash(data: &[u8]) -> Checksum {
    Checksum::from_u64(xxh3_64(data))
}

/// Copies `len` bytes from `from` to `to` and returns the checksum of what arrived, in one pass over memory.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, they do not overlap, and nobody else writes to either
/// while this runs. `to` may be uninitialised; it is initialised afterwards.
pub(crate) unsafe fn copy_and_hash(from: *const u8, to: *mut u8, len: usize) -> Checksum {
    let mut hasher = Xxh3::new();
    let mut done = 0;
    while done < len {
        let block = BLOCK.min(len - done);
        // SAFETY: done <= len, and the caller vouches for len bytes.
        let from = unsafe { from.add(done) };
        // SAFETY: likewise.
        let to = unsafe { to.add(done) };
        // SAFETY: done + block <= len on both sides, which do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from, to, block) };
        // SAFETY: just initialised, and nobody else writes there.
        hasher.update(unsafe { std::slice::from_raw_parts(to, block) });
        done += block;
    }
    Checksum::from_u64(hasher.digest())
}
