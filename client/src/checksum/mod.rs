//! [`Checksum`], and the only place where frame bytes are copied and hashed.
//!
//! The checksum is XXH3-64 with seed 0 (<https://github.com/Cyan4973/xxHash>, `doc/xxhash_spec.md`), so Python's
//! `xxhash.xxh3_64_digest` and `xxhsum -H3` compute the same. Every byte that enters or leaves the ring passes through
//! [`hash`], [`copy_in`] or [`copy_out`]; what they run on is decided here and nowhere else:
//! - [`avx2`]: copying and hashing in one pass through the registers, with the constants in [`xxh3`];
//! - [`blocks`]: on any other processor, and for what is short;
//! - hashing without a copy is the `twox-hash` crate's, which is also what the tests compare with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

#[cfg(target_arch = "x86_64")]
mod avx2;
mod blocks;
#[cfg(target_arch = "x86_64")]
mod xxh3;

/// Frames from this size on, in bytes, go past the caches on their way into the ring. That makes writing faster and the first
/// reading slower: at 1 MiB the two together take as long either way (AMD Zen 4, 2026-11-24, `benches/frames.rs` with other
/// values of this), above that the gain is larger than the loss.
#[cfg(target_arch = "x86_64")]
const STREAM_FROM: usize = 1 << 20;

/// The XXH3-64 checksum (seed 0) of a frame: 8 bytes in canonical, that is big-endian, order.
///
/// Text formats (JSON, YAML) carry it as 16 hexadecimal digits, binary formats as 8 bytes.
///
/// ```
/// use framebuffer::Checksum;
///
/// let checksum = Checksum::of(b"a frame");
/// assert_eq!(checksum.to_string().parse::<Checksum>()?, checksum);
/// assert_eq!(serde_json::to_string(&Checksum::of(b"")).unwrap(), r#""2d06800538d394c2""#);
/// # Ok::<(), framebuffer::InvalidChecksum>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum([u8; 8]);

/// A string that is not a [`Checksum`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a checksum is 16 hexadecimal digits, not {0:?}")]
pub struct InvalidChecksum(String);

/// The checksum of `data`.
pub(crate) fn hash(data: &[u8]) -> Checksum {
    Checksum::from_u64(twox_hash::XxHash3_64::oneshot(data))
}

/// Copies `data` to `to`, in the ring, and returns its checksum, in one pass over memory.
///
/// # Safety
///
/// `to` is aligned to 32 bytes and valid for writes of `data.len()` bytes, which do not overlap `data`; nobody else touches
/// them meanwhile.
pub(crate) unsafe fn copy_in(data: &[u8], to: *mut u8) -> Checksum {
    // SAFETY: the caller vouches for it.
    Checksum::from_u64(unsafe { copy(data.as_ptr(), to, data.len(), data.len() >= STREAM_FROM) })
}

/// Copies `len` bytes from `from`, in the ring, to `to`, and returns the checksum of what arrived, in one pass over memory:
/// what the caller then holds is what was hashed, whatever others do to the ring.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, they do not overlap, and nobody else writes to either
/// while this runs. `to` may be uninitialised; it is initialised afterwards.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) -> Checksum {
    // SAFETY: the caller vouches for it.
    Checksum::from_u64(unsafe { copy(from, to, len, false) })
}

/// Copies by the fastest code that this processor has.
///
/// # Safety
///
/// As [`copy_out`]; with `stream`, `to` is aligned to 32 bytes.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize, stream: bool) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if len > xxh3::SHORT && is_x86_feature_detected!("avx2") {
        let kernel = if stream { avx2::copy::<true> } else { avx2::copy::<false> };
        // SAFETY: the processor has AVX2, the input is not short; the caller vouches for the rest.
        return unsafe { kernel(from, to, len) };
    }
    // SAFETY: the caller vouches for it.
    unsafe { blocks::copy(from, to, len) }
}

impl Checksum {
    /// The checksum of `data`.
    pub fn of(data: &[u8]) -> Self {
        hash(data)
    }

    /// The checksum as 8 bytes in canonical order.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The checksum that has these 8 bytes in canonical order.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The checksum as the number that XXH3-64 defines.
    pub const fn to_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The checksum for a number as XXH3-64 defines it.
    pub const fn from_u64(value: u64) -> Self {
        Self(value.to_be_bytes())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.to_u64())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = if digits { u64::from_str_radix(text, 16).ok() } else { None };
        // A wrong text may be anything, of any length: the message keeps its beginning.
        value.map(Self::from_u64).ok_or_else(|| InvalidChecksum(text.chars().take(40).collect()))
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            <[u8; 8]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A way to copy and hash.
    type Kernel = unsafe fn(*const u8, *mut u8, usize) -> u64;

    /// All that this processor can run, by name.
    fn kernels() -> Vec<(&'static str, Kernel)> {
        let mut kernels: Vec<(_, Kernel)> = vec![("blocks", blocks::copy)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            kernels.push(("avx2", |from, to, len| {
                // SAFETY: `check` vouches for it; nothing is streamed.
                unsafe { copy(from, to, len, false) }
            }));
            kernels.push(("avx2, streaming", |from, to, len| {
                // SAFETY: `check` vouches for it; nothing is streamed to where it is not aligned.
                unsafe { copy(from, to, len, to.addr().is_multiple_of(32)) }
            }));
        }
        kernels
    }

    /// Copies `data` to a place `shift` bytes beyond an aligned address, in each way, and compares with the crate's hash.
    fn check(data: &[u8], shift: usize) {
        let expected = twox_hash::XxHash3_64::oneshot(data);
        for (name, kernel) in kernels() {
            let mut room = vec![0xEE; data.len() + 64 + 2 * 32];
            let start = room.as_ptr().align_offset(32) + shift;
            // SAFETY: two separate buffers, with room for data.len() bytes behind `start`.
            let found = unsafe { kernel(data.as_ptr(), room.as_mut_ptr().wrapping_add(start), data.len()) };
            assert_eq!(found, expected, "{name}: {} bytes, shifted by {shift}", data.len());
            let (before, rest) = room.split_at(start);
            let (copied, after) = rest.split_at(data.len());
            assert!(copied == data, "{name}: {} bytes, shifted by {shift}", data.len());
            assert!(before.iter().chain(after).all(|&byte| byte == 0xEE), "{name} writes beyond {} bytes", data.len());
        }
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn the_hash_is_xxh3_64_with_seed_0() {
        // As `xxhsum -H3` prints them.
        for (input, expected) in [("", "2d06800538d394c2"), ("a", "e6c632b61e964e1f"), ("abc", "78af5f94892f3950")] {
            assert_eq!(Checksum::of(input.as_bytes()).to_string(), expected);
        }
    }

    #[test]
    fn every_kernel_copies_and_hashes_right_at_every_length_up_to_4096_and_every_alignment() {
        let data = pattern(4096 + 64);
        for len in 0..=4096 {
            check(&data[len % 64..][..len], len * 7 % 32);
        }
        for shift in 0..32 {
            for from in 0..32 {
                check(&data[from..][..1500 + shift], shift);
            }
        }
    }

    #[test]
    fn every_kernel_copies_and_hashes_right_at_large_odd_lengths() {
        let data = pattern(5 << 20);
        for len in [16 << 10, (16 << 10) + 1, 65_537, (1 << 20) - 1, (2 << 20) + 63, (4 << 20) + 65, 5 << 20] {
            check(&data[..len], 0);
            check(&data[..len], 3);
        }
    }

    proptest! {
        #[test]
        fn every_kernel_copies_and_hashes_whatever_comes(
            data in proptest::collection::vec(any::<u8>(), 0..20_000),
            shift in 0_usize..32,
        ) {
            check(&data, shift);
        }
    }

    #[test]
    fn a_checksum_is_big_endian_hexadecimal_in_text() {
        let checksum = Checksum::from_u64(0x0102_0304_0506_0708);
        assert_eq!(checksum.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(checksum.to_string(), "0102030405060708");
        assert_eq!("0102030405060708".parse(), Ok(checksum));
    }

    #[test]
    fn what_is_not_16_hexadecimal_digits_is_refused() {
        for bad in ["", "0102", "+102030405060708", "01020304050607080", "g102030405060708", "äöüäöüäö"] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad:?}");
        }
    }
}
