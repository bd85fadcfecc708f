//! [`parse_bytes`] and [`parse_milli_cpu`]: the amounts that a `FrameBuffer` may contain. The contract parses them; this
//! policy refuses the rest as the CRD's pattern does: a sign, a point without digits on both sides, units above Ti and T.

use framebuffer_contract::{MilliCpu, Quantity};

/// Bytes of `500Mi`, `1.5Gi`, `4G` or `65536`; a fraction of a byte is rounded up. `None` if it is none of these, or
/// beyond 64 bits.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let admitted = is_plain(number) && !text.contains(['P', 'E']);
    let quantity: Quantity = admitted.then_some(text)?.parse().ok()?;
    Some(quantity.bytes())
}

/// Thousandths of a CPU of `100m`, `2` or `0.5`. `None` if it is none of these.
pub fn parse_milli_cpu(text: &str) -> Option<u64> {
    let admitted = match text.strip_suffix('m') {
        Some(milli) => is_plain(milli) && !milli.contains('.'),
        None => is_plain(text),
    };
    let cpu: MilliCpu = admitted.then_some(text)?.parse().ok()?;
    Some(cpu.thousandths())
}

/// Whether it is digits, or digits around a point.
fn is_plain(number: &str) -> bool {
    number.split_once('.').is_none_or(|(whole, fraction)| !whole.is_empty() && !fraction.is_empty())
        && !number.starts_with(['+', '-'])
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
    fn what_the_crd_does_not_admit_is_refused() {
        let bytes =
            ["", "Mi", "-1Mi", "+1Mi", "1.", "1.Mi", ".5Mi", ".5", "1.2.3", "5 Mi", "500MB", "1e6", "1E6", "1E"];
        let more = ["1Pi", "1P", "1Ei", "1K", "1m", "99999999999999999999Ti", "٣Mi"];
        for text in bytes.into_iter().chain(more) {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for text in ["", "m", "0.5m", "-1", "+1", "+1m", "1.", ".5", "1k"] {
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
