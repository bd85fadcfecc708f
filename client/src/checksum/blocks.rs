//! Copying and hashing in one pass over memory: block by block, each hashed while it is still in the cache.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::Checksum;

/// A block is copied, then hashed at its destination while it is still in the L1 cache, which has 32 KiB or more on every
/// x86-64 and aarch64 server core.
const BLOCK: usize = 16 * 1024;

/// The checksum of `data`.
pub(crate) fn hash(data: &[u8]) -> Checksum {
    Checksum::from_u64(XxHash3_64::oneshot(data))
}

/// Copies `len` bytes from `from` to `to` and returns the checksum of what arrived, in one pass over memory.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, they do not overlap, and nobody else writes to either
/// while this runs. `to` may be uninitialised; it is initialised afterwards.
pub(crate) unsafe fn copy_and_hash(from: *const u8, to: *mut u8, len: usize) -> Checksum {
    if len <= BLOCK {
        // SAFETY: the caller vouches for len bytes on both sides.
        return hash(unsafe { copy(from, to, len) });
    }
    let mut hasher = XxHash3_64::new();
    for done in (0..len).step_by(BLOCK) {
        // SAFETY: done < len, and the caller vouches for len bytes.
        let from = unsafe { from.add(done) };
        // SAFETY: likewise.
        let to = unsafe { to.add(done) };
        // SAFETY: the block ends at len at the latest, on both sides.
        hasher.write(unsafe { copy(from, to, BLOCK.min(len - done)) });
    }
    Checksum::from_u64(hasher.finish())
}

/// Copies `len` bytes and returns what arrived.
///
/// # Safety
///
/// As [`copy_and_hash`]; the slice is to be used no longer than that holds.
unsafe fn copy<'a>(from: *const u8, to: *mut u8, len: usize) -> &'a [u8] {
    // SAFETY: the caller vouches for it.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    // SAFETY: just initialised, and nobody writes there.
    unsafe { std::slice::from_raw_parts(to, len) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Published vectors: XXH3-64 of the empty input, from the specification's sanity checks; the others as `xxhsum -H3`
    /// prints them.
    #[test]
    fn the_hash_is_xxh3_64_with_seed_0() {
        assert_eq!(hash(b"").to_u64(), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"a").to_u64(), 0xe6c6_32b6_1e96_4e1f);
        assert_eq!(hash(b"abc").to_u64(), 0x78af_5f94_892f_3950);
    }

    #[test]
    fn copying_and_hashing_at_once_gives_the_hash_of_the_whole_at_every_length_around_a_block() {
        let data: Vec<u8> = (0..3 * BLOCK + 300).map(|i| (i * 31 % 251) as u8).collect();
        let around = |n: usize| n.saturating_sub(70)..=n + 70;
        for len in (0..=600).chain(around(BLOCK)).chain(around(2 * BLOCK)).chain(around(3 * BLOCK)) {
            check(&data[..len]);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_copied_arrives_with_its_hash(data in proptest::collection::vec(any::<u8>(), 0..100_000)) {
            check(&data);
        }
    }

    fn check(data: &[u8]) {
        let mut copy = vec![0; data.len()];
        // SAFETY: two separate buffers of data.len() bytes.
        let checksum = unsafe { copy_and_hash(data.as_ptr(), copy.as_mut_ptr(), data.len()) };
        assert_eq!(checksum, hash(data), "{} bytes", data.len());
        assert!(copy == data, "{} bytes", data.len());
    }
}
