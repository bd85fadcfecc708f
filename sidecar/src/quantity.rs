//! [`Quantity`]: a number of bytes in Kubernetes' notation (`500Mi`, `1.5Gi`, `4G`, `65536`).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A number of bytes. Parsed as Kubernetes parses a quantity, without its exponents and its `m`: a fraction of a byte
/// is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u64);

/// A string that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidQuantity {
    /// The empty string.
    #[error("a size is missing, as in 500Mi")]
    Empty,
    /// A size below nothing.
    #[error("a size cannot be negative")]
    Negative,
    /// No digits where the number should be.
    #[error("`{0}` is not a decimal number, as in 500Mi or 1.5Gi")]
    Number(String),
    /// A unit that Kubernetes does not have.
    #[error(
        "`{0}` is not a unit: use none (bytes), Ki Mi Gi Ti Pi Ei (powers of 1024) or k M G T P E (powers of 1000)"
    )]
    Unit(String),
    /// More than fits.
    #[error("the size is larger than the limit of {} bytes", u64::MAX)]
    TooLarge,
}

const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// Digits after the point that count. The smallest step of 18 digits is one byte of the largest unit.
const MAX_FRACTION_DIGITS: usize = 18;

impl Quantity {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl From<u64> for Quantity {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        if text.is_empty() {
            return Err(InvalidQuantity::Empty);
        }
        if text.starts_with('-') {
            return Err(InvalidQuantity::Negative);
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, unit) = unsigned.split_at(split);
        let number = Decimal::parse(number).ok_or_else(|| InvalidQuantity::Number(text.to_owned()))?;
        let (_, factor) =
            UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| InvalidQuantity::Unit(unit.to_owned()))?;
        number.times(*factor).map(Self).ok_or(InvalidQuantity::TooLarge)
    }
}

/// Digits before and after the decimal point. At least one digit is there.
struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = !(whole.is_empty() && fraction.is_empty());
        (digits && !fraction.contains('.')).then_some(Self { whole, fraction })
    }

    /// The product, rounded up; `None` if it is beyond 64 bits.
    fn times(&self, factor: u64) -> Option<u64> {
        let kept = &self.fraction[..self.fraction.len().min(MAX_FRACTION_DIGITS)];
        let cut = self.fraction[kept.len()..].bytes().any(|digit| digit != b'0');
        let scale = 10_u128.pow(kept.len() as u32);
        let fraction = (digits(kept)? + u128::from(cut)) * u128::from(factor);
        let whole = digits(self.whole)?.checked_mul(u128::from(factor))?;
        u64::try_from(whole.checked_add(fraction.div_ceil(scale))?).ok()
    }
}

/// The number that these digits are, 0 for none; `None` if it is beyond 128 bits.
fn digits(text: &str) -> Option<u128> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

/// In the largest binary unit that divides it, or else with up to two decimals: for people.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[1..7].iter().rev().find(|(_, factor)| self.0 >= *factor);
        let Some((unit, factor)) = binary else { return write!(f, "{}", self.0) };
        if self.0.is_multiple_of(*factor) {
            return write!(f, "{}{unit}", self.0 / factor);
        }
        let hundredths = u128::from(self.0) * 100 / u128::from(*factor);
        write!(f, "{}.{:02}{unit}", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<u64, InvalidQuantity> {
        text.parse::<Quantity>().map(Quantity::bytes)
    }

    #[test]
    fn every_unit_is_understood() {
        let expected = [
            ("0", 0),
            ("65536", 65_536),
            ("+7", 7),
            ("500Mi", 500 << 20),
            ("64Ki", 64 << 10),
            ("2Gi", 2 << 30),
            ("1Ti", 1 << 40),
            ("1Pi", 1 << 50),
            ("15Ei", 15 << 60),
            ("1k", 1_000),
            ("4M", 4_000_000),
            ("4G", 4_000_000_000),
            ("3T", 3_000_000_000_000),
            ("1P", 1_000_000_000_000_000),
            ("18E", 18_000_000_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, value) in expected {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_and_a_fraction_of_a_byte_is_rounded_up() {
        assert_eq!(bytes("1.5Gi"), Ok(3 << 29));
        assert_eq!(bytes("0.5"), Ok(1));
        assert_eq!(bytes(".5Ki"), Ok(512));
        assert_eq!(bytes("5.Ki"), Ok(5 << 10));
        assert_eq!(bytes("0.1Ki"), Ok(103), "102.4 rounded up");
        assert_eq!(bytes("0.000000000000000000000001"), Ok(1));
        assert_eq!(bytes("1.000000000000000000000000"), Ok(1));
        assert_eq!(bytes("0.1E"), Ok(100_000_000_000_000_000));
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_the_reason() {
        assert_eq!(bytes(""), Err(InvalidQuantity::Empty));
        assert_eq!(bytes("-1Mi"), Err(InvalidQuantity::Negative));
        for text in ["Mi", ".", "1.2.3", "x", " 5Mi", "."] {
            assert_eq!(bytes(text), Err(InvalidQuantity::Number(text.to_owned())), "{text}");
        }
        for (text, unit) in [("500MB", "MB"), ("5mi", "mi"), ("5 Mi", " Mi"), ("1K", "K"), ("1e6", "e6"), ("5m", "m")] {
            assert_eq!(bytes(text), Err(InvalidQuantity::Unit(unit.to_owned())), "{text}");
        }
        for text in ["18446744073709551616", "16Ei", "99999999999999999999999999999999999999999999", "19E"] {
            assert_eq!(bytes(text), Err(InvalidQuantity::TooLarge), "{text}");
        }
    }

    #[test]
    fn people_see_the_unit_that_fits() {
        let shown = |bytes| Quantity(bytes).to_string();
        assert_eq!(shown(0), "0");
        assert_eq!(shown(1023), "1023");
        assert_eq!(shown(500 << 20), "500Mi");
        assert_eq!(shown((3 << 29) + 1), "1.50Gi");
        assert_eq!(shown(u64::MAX), "15.99Ei");
    }
}
