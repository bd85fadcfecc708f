//! [`Size`]: bytes as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    number: u64,
    unit: (&'static str, u64),
}

const UNITS: [(&str, u64); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];

impl Size {
    /// The bytes.
    pub(super) fn bytes(self) -> u64 {
        // It was checked when the size was parsed.
        self.number.saturating_mul(self.unit.1)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a whole number of bytes such as 512Mi, 2Gi or 500M";
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, suffix) = text.split_at(digits);
        let unit = *UNITS.iter().find(|(name, _)| *name == suffix).ok_or(expected)?;
        let number: u64 = number.parse().map_err(|_| expected)?;
        let bytes = number.checked_mul(unit.1).ok_or("more than 2^64 bytes")?;
        if bytes == 0 { Err("a ring of 0 bytes holds nothing".into()) } else { Ok(Self { number, unit }) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, bytes) in [("512Mi", 512 << 20), ("2Gi", 2 << 30), ("500M", 500_000_000), ("4096", 4096)] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "Mi", "-1Mi", "1.5Gi", "1 Gi", "1mi", "0", "0Mi", "99999999999Ti", "99999999999999999999"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }
}
