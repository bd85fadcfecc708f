//! [`Checksum`], and the only place where frame bytes are copied and hashed.
//!
//! The checksum is XXH3-64 with seed 0 (<https://github.com/Cyan4973/xxHash>, `doc/xxhash_spec.md`), so Python's
//! `xxhash.xxh3_64_digest` and `xxhsum -H3` compute the same. Every byte that enters or leaves the ring passes through
//! [`hash`], [`copy_in`] or [`copy_out`], which run the best of the [`kernels`] for the processor.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

pub mod kernels;
mod streaming;

use kernels::chosen;
pub(crate) use streaming::{Caching, Streaming};

/// The XXH3-64 checksum (seed 0) of a frame: 8 bytes in canonical (big-endian) order.
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
    Checksum::from_u64(chosen().hash(data))
}

/// Copies `len` bytes from `from` to `to`, in the ring, and returns the checksum of the copy, in one pass over memory.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, which do not overlap; nobody else touches those at
/// `to` meanwhile.
pub(crate) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize, streaming: Streaming) -> Checksum {
    // SAFETY: the caller vouches for it.
    Checksum::from_u64(unsafe { chosen().copy(from, to, len, len >= streaming.write_from) })
}

/// Copies `len` bytes from `from`, in the ring, to `to`, and returns the checksum of the copy, in one pass over memory:
/// the caller's bytes are the hashed ones, whatever others do to the ring.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes, they do not overlap, and nobody else writes to either
/// while this runs. `to` may be uninitialised; it is initialised afterwards.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize, streaming: Streaming) -> Checksum {
    // SAFETY: the caller vouches for it.
    Checksum::from_u64(unsafe { chosen().copy(from, to, len, len >= streaming.read_from) })
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

    /// The checksum with these 8 bytes in canonical order.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The checksum as a number, as XXH3-64 defines it.
    pub const fn to_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The checksum with this number, as XXH3-64 defines it.
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
        // The text may be of any length: the message keeps only its beginning.
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
    use super::*;

    #[test]
    fn the_hash_is_xxh3_64_with_seed_0() {
        // As `xxhsum -H3` prints them.
        for (input, expected) in [("", "2d06800538d394c2"), ("a", "e6c632b61e964e1f"), ("abc", "78af5f94892f3950")] {
            assert_eq!(Checksum::of(input.as_bytes()).to_string(), expected);
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
