//! Figures for people.

/// Bytes: `64 KiB`, `6.2 MB`.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) && bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Nanoseconds, three digits: `310 ns`, `12.3 us`, `1.72 ms`.
pub(super) fn time(nanoseconds: f64) -> String {
    let (figure, unit) = match nanoseconds {
        ns if ns < 999.5 => return format!("{ns:.0} ns"),
        ns if ns < 999.5e3 => (ns / 1e3, "us"),
        ns => (ns / 1e6, "ms"),
    };
    format!("{} {unit}", three_digits(figure))
}

/// The throughput per second: in bytes if they are copied, else in frames.
pub(super) fn rate(frames_per_second: f64, size: usize, copies: bool) -> String {
    if copies {
        return format!("{:.2} GB/s", frames_per_second * size as f64 / 1e9);
    }
    if frames_per_second < 1e6 {
        format!("{:.0} k/s", frames_per_second / 1e3)
    } else {
        format!("{:.2} M/s", frames_per_second / 1e6)
    }
}

/// A ratio: `0.45x`, `12x`.
pub(super) fn ratio(ratio: f64) -> String {
    if ratio.is_nan() { "-".to_owned() } else { format!("{}x", three_digits(ratio)) }
}

fn three_digits(figure: f64) -> String {
    match figure {
        figure if figure < 9.995 => format!("{figure:.2}"),
        figure if figure < 99.95 => format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let times = [310.4, 999.6, 1000.0, 12_345.0, 999_900.0, 1_720_000.0].map(time);
        assert_eq!(times, ["310 ns", "1.00 us", "1.00 us", "12.3 us", "1.00 ms", "1.72 ms"]);
        assert_eq!([4096, 65_536, 1 << 20, 6_220_800].map(size), ["4 KiB", "64 KiB", "1 MiB", "6.2 MB"]);
        assert_eq!(rate(1000.0, 6_220_800, true), "6.22 GB/s");
        assert_eq!(rate(3_100_000.0, 6_220_800, false), "3.10 M/s");
        assert_eq!([0.449, 3.0, 12.34, 250.0, f64::NAN].map(ratio), ["0.45x", "3.00x", "12.3x", "250x", "-"]);
    }
}
