//! [`Element`]: the type of a frame's elements.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The type of a frame's elements, as `DLDataType` has it: a code, bits of a lane, and lanes.
///
/// Written and [parsed](FromStr) as Python's users call it: `uint8`, `float32`, `bfloat16`, `datetime64[ns]`,
/// `float32x4` for vectors.
///
/// Source of the codes below 128: `dlpack.h` 1.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Element {
    /// Kind of number: 0 signed, 1 unsigned, 2 float, 3 opaque, 4 bfloat, 5 complex, 6 bool, 7 to 17 floats of 8 bits
    /// and less. From 128 on, points in time, and from 160 on, spans of time, as `NumPy` has them, in units whose
    /// number in `NPY_DATETIMEUNIT` is added.
    pub code: u8,
    /// Bits of one lane. 0: not known.
    pub bits: u8,
    /// Numbers in an element: 1, or more for vectors. Bytes of an opaque element.
    pub lanes: u16,
}

/// The text names no type of elements.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no type of elements; uint8, float32, bfloat16, bool, datetime64[ns] are some")]
pub struct InvalidElement {
    text: String,
}

/// Kinds of numbers whose name is followed by their bits.
const KINDS: [(u8, &str); 6] = [(0, "int"), (1, "uint"), (2, "float"), (3, "opaque"), (4, "bfloat"), (5, "complex")];

/// Small floats. The code says all.
const SMALL: [(u8, u8, &str); 11] = [
    (7, 8, "float8_e3m4"),
    (8, 8, "float8_e4m3"),
    (9, 8, "float8_e4m3b11fnuz"),
    (10, 8, "float8_e4m3fn"),
    (11, 8, "float8_e4m3fnuz"),
    (12, 8, "float8_e5m2"),
    (13, 8, "float8_e5m2fnuz"),
    (14, 8, "float8_e8m0fnu"),
    (15, 6, "float6_e2m3fn"),
    (16, 6, "float6_e3m2fn"),
    (17, 4, "float4_e2m1fn"),
];

/// Codes of points and spans of time, to which the number of their unit is added.
const TIMES: [(u8, &str); 2] = [(128, "datetime64"), (160, "timedelta64")];

/// The units, at their numbers. Source: `NPY_DATETIMEUNIT` in `numpy/ndarraytypes.h`.
const UNITS: [&str; 15] = ["Y", "M", "W", "", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"];

impl Element {
    /// Signed integers of 8 bits.
    pub const I8: Self = Self::new(0, 8);
    /// Signed integers of 16 bits.
    pub const I16: Self = Self::new(0, 16);
    /// Signed integers of 32 bits.
    pub const I32: Self = Self::new(0, 32);
    /// Signed integers of 64 bits.
    pub const I64: Self = Self::new(0, 64);
    /// Bytes.
    pub const U8: Self = Self::new(1, 8);
    /// Unsigned integers of 16 bits.
    pub const U16: Self = Self::new(1, 16);
    /// Unsigned integers of 32 bits.
    pub const U32: Self = Self::new(1, 32);
    /// Unsigned integers of 64 bits.
    pub const U64: Self = Self::new(1, 64);
    /// IEEE 754 half precision.
    pub const F16: Self = Self::new(2, 16);
    /// IEEE 754 single precision.
    pub const F32: Self = Self::new(2, 32);
    /// IEEE 754 double precision.
    pub const F64: Self = Self::new(2, 64);
    /// The upper half of an [`F32`](Self::F32).
    pub const BF16: Self = Self::new(4, 16);
    /// Two [`F32`](Self::F32), real and imaginary part.
    pub const COMPLEX64: Self = Self::new(5, 64);
    /// Two [`F64`](Self::F64), real and imaginary part.
    pub const COMPLEX128: Self = Self::new(5, 128);
    /// Truth values of a byte each.
    pub const BOOL: Self = Self::new(6, 8);

    /// The type with this code of `DLDataType` and so many bits, in one lane.
    pub const fn new(code: u8, bits: u8) -> Self {
        Self { code, bits, lanes: 1 }
    }

    /// Elements of so many bytes, of which nothing else is told.
    pub const fn opaque(bytes: u16) -> Self {
        Self { code: 3, bits: 8, lanes: bytes }
    }

    /// Whether nothing is known of the elements.
    pub const fn is_unknown(self) -> bool {
        self.bits == 0
    }

    /// Bits of an element, all lanes together.
    pub const fn total_bits(self) -> u64 {
        self.bits as u64 * self.lanes as u64
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, bits, lanes } = *self;
        if self.is_unknown() {
            return f.write_str("unknown");
        }
        if let Some((_, name)) = KINDS.iter().find(|(of_kind, _)| *of_kind == code) {
            write!(f, "{name}{bits}")?;
        } else if let Some((.., name)) = SMALL.iter().find(|small| (small.0, small.1) == (code, bits)) {
            f.write_str(name)?;
        } else if let Some((name, unit)) = time(code).filter(|_| bits == 64) {
            write!(f, "{name}[{unit}]")?;
        } else if (code, bits) == (6, 8) {
            f.write_str("bool")?;
        } else {
            write!(f, "code{code}_{bits}")?;
        }
        if lanes == 1 { Ok(()) } else { write!(f, "x{lanes}") }
    }
}

/// The name and unit of a point or span of time with this code.
fn time(code: u8) -> Option<(&'static str, &'static str)> {
    TIMES.iter().find_map(|(first, name)| {
        let unit = UNITS.get(usize::from(code.checked_sub(*first)?))?;
        (!unit.is_empty()).then_some((*name, *unit))
    })
}

impl FromStr for Element {
    type Err = InvalidElement;

    fn from_str(text: &str) -> Result<Self, InvalidElement> {
        let invalid = || InvalidElement { text: text.chars().take(40).collect() };
        if let Some(element) = one_lane(text) {
            return Ok(element);
        }
        let (name, lanes) = text.rsplit_once('x').ok_or_else(invalid)?;
        let lanes = number(lanes).filter(|lanes| *lanes > 0).ok_or_else(invalid)?;
        one_lane(name).map(|element| Self { lanes, ..element }).ok_or_else(invalid)
    }
}

fn one_lane(name: &str) -> Option<Element> {
    if name == "bool" {
        return Some(Element::BOOL);
    }
    if let Some((code, bits, _)) = SMALL.iter().find(|(.., small)| *small == name) {
        return Some(Element::new(*code, *bits));
    }
    if let Some((kind, unit)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        let (first, _) = TIMES.iter().find(|(_, time)| *time == kind)?;
        let unit = UNITS.iter().position(|of| *of == unit && !unit.is_empty())?;
        return Some(Element::new(first + unit as u8, 64));
    }
    let digits = name.find(|character: char| character.is_ascii_digit())?;
    let (code, _) = KINDS.iter().find(|(_, kind)| *kind == &name[..digits])?;
    let bits = number(&name[digits..]).and_then(|bits| u8::try_from(bits).ok()).filter(|bits| *bits > 0)?;
    Some(Element::new(*code, bits))
}

/// A number as it is written without a sign or zeros in front.
fn number(text: &str) -> Option<u16> {
    let number: u16 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_as_their_users_call_them() {
        let names = [Element::U8, Element::F32, Element::BF16, Element::BOOL, Element { lanes: 4, ..Element::F32 }];
        assert_eq!(names.map(|element| element.to_string()), ["uint8", "float32", "bfloat16", "bool", "float32x4"]);
        let others = [Element::new(10, 8), Element::new(138, 64), Element::new(174, 64), Element::opaque(12)];
        let names = ["float8_e4m3fn", "datetime64[ns]", "timedelta64[generic]", "opaque8x12"];
        assert_eq!(others.map(|element| element.to_string()), names);
        assert_eq!(Element::default().to_string(), "unknown");
    }

    #[test]
    fn whatever_has_a_name_is_parsed_from_it() {
        for (code, bits) in (0..=u8::MAX).flat_map(|code| [1, 4, 6, 8, 16, 32, 64, 128, 255].map(|bits| (code, bits))) {
            for lanes in [1, 2, u16::MAX] {
                let element = Element { code, bits, lanes };
                match element.to_string() {
                    nameless if nameless.starts_with("code") => _ = nameless.parse::<Element>().expect_err("no name"),
                    name => assert_eq!(name.parse(), Ok(element), "{name}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_type_is_refused_and_named() {
        let texts =
            ["", "uint", "uint0", "uint08", "uint256", "float32x0", "float32x", "datetime64[x]", "datetime64[]"];
        for text in texts.into_iter().chain(["unknown", "x", "bool8", "Float32", "ünt8", "float32x4x4"]) {
            let error = text.parse::<Element>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is no type")), "{error}");
        }
        assert!("9".repeat(1000).parse::<Element>().expect_err("too long").to_string().len() < 200);
    }
}
