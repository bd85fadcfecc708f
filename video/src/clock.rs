//! The clock that the writer and the reader share.

use std::time::SystemTime;

/// Nanoseconds since 1970: the clock by which frames are committed. 0 if it cannot be read.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_counts_from_1970() {
        let of_2026 = 1_767_225_600_000_000_000;
        assert!(super::now_ns() > of_2026 / 2);
    }
}
