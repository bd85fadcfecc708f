//! [`parse_bytes`] and [`parse_milli_cpu`]: amounts in Kubernetes' notation, as far as a `FrameBuffer` may use it.

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

/// Digits after the point that are read; more are refused by the length of the whole.
const MAX_FRACTION: usize = 18;

/// Bytes of `500Mi`, `1.5Gi`, `4G` or `65536`; a fraction of a byte is rounded up. `None` if it is none of these, or
/// beyond 64 bits.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *factor)
}

/// Thousandths of a CPU of `100m`, `2` or `0.5`. `None` if it is none of these.
pub fn parse_milli_cpu(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(milli) => scaled(milli, 1).filter(|_| !milli.contains('.')),
        None => scaled(text, 1000),
    }
}

/// The decimal `number` times `factor`, rounded up.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > MAX_FRACTION {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let tail = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? * u128::from(factor) };
    let head = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    u64::try_from(head.checked_add(tail.div_ceil(scale))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_kubernetes_reads_them() {
        let expected = [
            ("65536", 65_536),
            ("500Mi", 500 << 20),
            ("1.5Gi", 3 << 29),
            ("0.1Ki", 103),
            ("4G", 4_000_000_000),
            ("1Ti", 1 << 40),
        ];
        for (text, bytes) in expected {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "Mi", "-1Mi", "1.", ".5Mi", "1.2.3", "5 Mi", "500MB", "1e6", "99999999999999999999Ti", "٣Mi"]
        {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for text in ["", "m", "0.5m", "-1", "1k"] {
            assert_eq!(parse_milli_cpu(text), None, "{text}");
        }
    }

    #[test]
    fn cpu_is_read_in_thousandths() {
        assert_eq!(parse_milli_cpu("100m"), Some(100));
        assert_eq!(parse_milli_cpu("0.5"), Some(500));
        assert_eq!(parse_milli_cpu("2"), Some(2000));
    }
}
