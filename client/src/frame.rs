//! [`Frame`]: the description of a frame, which a writer sends to a reader; [`RingId`]: which ring the frame is in.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::checksum::Checksum;

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Send it over any messaging system. In JSON:
///
/// ```
/// let frame: framebuffer::Frame = serde_json::from_str(
///     r#"{"offset": 64, "size": 6220800, "checksum": "2d06800538d394c2", "ring": "91b5c3f0a6e24d18"}"#,
/// )?;
/// assert_eq!(frame.size, 1920 * 1080 * 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// Text formats leave `ring` out if it is `None`, and may: descriptions without it are read as ever, and only their
/// checksum tells a frame from one of a ring that was there before. Binary formats always carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct Frame {
    /// Stream offset of the first byte. Offsets grow throughout the life of the ring and are never reused.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Checksum of these bytes, or of the frame's identity after
    /// [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    pub checksum: Checksum,
    /// The ring that the frame is in: reading it from another is [`Error::OtherRing`](crate::Error::OtherRing). `None`
    /// if it is not known; then the ring is not checked.
    #[serde(default)]
    pub ring: Option<RingId>,
}

impl Frame {
    /// The description of a frame in whatever ring: `ring` is `None`.
    pub const fn new(offset: u64, size: u64, checksum: Checksum) -> Self {
        Self { offset, size, checksum, ring: None }
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { offset, size, checksum, ring } = self;
        // A format that does not name its fields cannot tell that one is left out.
        let with_ring = ring.is_some() || !serializer.is_human_readable();
        let mut fields = serializer.serialize_struct("Frame", 3 + usize::from(with_ring))?;
        fields.serialize_field("offset", offset)?;
        fields.serialize_field("size", size)?;
        fields.serialize_field("checksum", checksum)?;
        if with_ring {
            fields.serialize_field("ring", ring)?;
        } else {
            fields.skip_field("ring")?;
        }
        fields.end()
    }
}

/// The identity of a ring: 64 random bits, never all zero, which it keeps for as long as it exists. Another ring has
/// another one, also under the same key.
///
/// Text formats (JSON, YAML) carry it as 16 hexadecimal digits, binary formats as a number.
///
/// ```
/// use framebuffer::RingId;
///
/// let ring: RingId = "91b5c3f0a6e24d18".parse()?;
/// assert_eq!(ring.to_string(), "91b5c3f0a6e24d18");
/// assert_eq!(RingId::from_u64(0), None);
/// # Ok::<(), framebuffer::InvalidRingId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId(NonZeroU64);

/// A string that is not a [`RingId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a ring's identity is 16 hexadecimal digits, not all of them 0, and not {0:?}")]
pub struct InvalidRingId(String);

impl RingId {
    /// The identity with this number; `None` for 0, which stands for an unknown ring where there is no `Option`.
    pub const fn from_u64(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The identity as a number.
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The identity of the segment with this id.
    pub(crate) fn of_segment([low, high]: [u64; 2]) -> Self {
        Self(NonZeroU64::new(low).or(NonZeroU64::new(high)).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingId({self})")
    }
}

impl FromStr for RingId {
    type Err = InvalidRingId;

    fn from_str(text: &str) -> Result<Self, InvalidRingId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = if digits { u64::from_str_radix(text, 16).ok() } else { None };
        // The text may be of any length: the message keeps only its beginning.
        value.and_then(Self::from_u64).ok_or_else(|| InvalidRingId(text.chars().take(40).collect()))
    }
}

impl Serialize for RingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for RingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            <Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            NonZeroU64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame::new(64, 3, Checksum::of(b"abc"))
    }

    #[test]
    fn json_of_before_rings_had_identities_is_read_and_written_as_ever() {
        let old = r#"{"offset":64,"size":3,"checksum":"78af5f94892f3950"}"#;
        assert_eq!(serde_json::from_str::<Frame>(old).unwrap(), frame());
        assert_eq!(serde_json::to_string(&frame()).unwrap(), old);
        let null = r#"{"offset":64,"size":3,"checksum":"78af5f94892f3950","ring":null,"topic":"ignored"}"#;
        assert_eq!(serde_json::from_str::<Frame>(null).unwrap(), frame());
    }

    #[test]
    fn json_names_the_ring_by_16_hexadecimal_digits() {
        let named = Frame { ring: RingId::from_u64(0xab), ..frame() };
        let json = r#"{"offset":64,"size":3,"checksum":"78af5f94892f3950","ring":"00000000000000ab"}"#;
        assert_eq!(serde_json::to_string(&named).unwrap(), json);
        assert_eq!(serde_json::from_str::<Frame>(json).unwrap(), named);
        assert_eq!(serde_json::from_str::<Frame>(&json.replace("ab\"", "AB\"")).unwrap(), named);
    }

    #[test]
    fn what_is_no_identity_of_a_ring_is_refused() {
        for bad in ["", "ab", "+0000000000000ab", "0000000000000000", "00000000000000abc", "g0000000000000ab"] {
            assert_eq!(bad.parse::<RingId>(), Err(InvalidRingId(bad.to_owned())));
            let json = format!(r#"{{"offset":64,"size":3,"checksum":"78af5f94892f3950","ring":"{bad}"}}"#);
            assert!(serde_json::from_str::<Frame>(&json).unwrap_err().to_string().contains("16 hexadecimal digits"));
        }
    }

    #[test]
    fn every_segment_has_an_identity_that_is_not_0() {
        assert_eq!([[5, 7], [0, 7], [0, 0]].map(|id| RingId::of_segment(id).to_u64()), [5, 7, 1]);
    }
}
