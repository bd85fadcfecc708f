//! [`Quantity`] and [`MilliCpu`]: amounts in Kubernetes' notation (`500Mi`, `1.5Gi`, `4G`, `65536`; `100m`, `0.5`).
//!
//! The code is our own, because programs must read a size exactly as the API server that checked it: exact fractions, a
//! fraction of a byte rounded up, `Mi` but not `mi` or `MB`. `kube_quantity` comes nearest, but brings k8s-openapi, nom
//! and `rust_decimal` into every client; `bytesize` computes fractions in `f64` and truncates; `parse-size` ignores case
//! and spaces, accepts `MB`, and rounds to nearest.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A number of bytes. Parsed as Kubernetes parses a quantity, without its exponents and its `m`: a fraction of a byte
/// is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u64);

/// Thousandths of a CPU: `100m`, `2` or `0.5`; a fraction of a thousandth is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MilliCpu(u64);

/// A string that is not an amount.
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
    /// Not an amount of CPU.
    #[error("`{0}` is not an amount of CPU, as in 100m or 0.5")]
    Cpu(String),
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

impl MilliCpu {
    /// In thousandths of a CPU.
    pub const fn thousandths(self) -> u64 {
        self.0
    }
}

impl FromStr for MilliCpu {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (number, factor) = text.strip_suffix('m').map_or((text, 1000), |number| (number, 1));
        // The API server knows `0.5m`, and rounds it up.
        let milli = Decimal::parse(number).and_then(|number| number.times(factor));
        milli.map(Self).ok_or_else(|| InvalidQuantity::Cpu(text.to_owned()))
    }
}

/// Digits before and after the decimal point. At least one digit is there, and nothing else.
struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let any = !(whole.is_empty() && fraction.is_empty());
        (any && digits(whole) && digits(fraction)).then_some(Self { whole, fraction })
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

/// In the largest binary unit that divides it, or else with up to two decimals: for people, not for other programs.
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
mod tests;
