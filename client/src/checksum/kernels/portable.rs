//! The kernel for any processor: block by block, each hashed by the `twox-hash` crate while it is in the cache.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;
use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};

/// Bytes that are copied and hashed at a time: half of the smallest L1 cache of a server core.
const BLOCK: usize = 16 * 1024;

/// For any length. See [`Kernel::copy`](super::Kernel::copy).
///
/// # Safety
///
/// Both sides are valid for `len` bytes, and do not overlap.
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
    // Not XxHash3_64::new, which allocates.
    let Ok(secret) = SecretBuffer::with_seed(0, [0; 192]) else { unreachable!("the default secret has 192 bytes") };
    let mut hasher = RawHasher::new(secret);
    for at in (0..len).step_by(BLOCK) {
        hasher.write(copy_block(at, BLOCK.min(len - at)));
    }
    hasher.finish()
}

/// For any length. See [`Kernel::hash`](super::Kernel::hash).
///
/// # Safety
///
/// `from` is valid for reads of `len` bytes.
pub(super) unsafe fn hash(from: *const u8, len: usize) -> u64 {
    // SAFETY: the caller vouches for that.
    XxHash3_64::oneshot(unsafe { std::slice::from_raw_parts(from, len) })
}
