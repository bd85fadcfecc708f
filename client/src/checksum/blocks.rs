//! Copying and XXH3-64 in one pass over memory on any processor: block by block, each hashed while it is in the cache.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

/// Bytes that are copied and hashed at a time: half of the smallest L1 cache of a server core.
const BLOCK: usize = 16 * 1024;

/// Copies `len` bytes from `from` to `to` and returns the XXH3-64 of what arrived.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, which do not overlap; nobody else writes to `to`.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> u64 {
    let copy_block = |at: usize, block: usize| {
        let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
        // SAFETY: at + block <= len, which the caller vouches for on both sides.
        unsafe { std::ptr::copy_nonoverlapping(from, to, block) };
        // SAFETY: just copied, and nobody else writes there.
        unsafe { std::slice::from_raw_parts(to, block) }
    };
    if len <= BLOCK {
        return XxHash3_64::oneshot(copy_block(0, len));
    }
    let mut hasher = XxHash3_64::new();
    for at in (0..len).step_by(BLOCK) {
        hasher.write(copy_block(at, BLOCK.min(len - at)));
    }
    hasher.finish()
}
