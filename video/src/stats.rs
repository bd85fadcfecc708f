//! Figures: throughput, latency, and a line of them each second.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Frames and bytes over a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Throughput {
    /// Frames.
    pub frames: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Time in which they moved: pauses between two connections do not count.
    pub busy: Duration,
}

impl Throughput {
    /// Counts a frame.
    pub const fn add(&mut self, bytes: u64) {
        self.frames += 1;
        self.bytes += bytes;
    }

    /// Frames per second.
    pub fn frames_per_second(&self) -> f64 {
        ratio(self.frames, self.busy)
    }

    /// Gigabytes (10^9 bytes) per second.
    pub fn gigabytes_per_second(&self) -> f64 {
        ratio(self.bytes, self.busy) / 1e9
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (frames, seconds) = (self.frames, self.busy.as_secs_f64());
        let (rate, speed) = (self.frames_per_second(), self.gigabytes_per_second());
        write!(f, "{frames} frames in {seconds:.2} s, {rate:.1} frames/s, {speed:.2} GB/s")
    }
}

// Precise up to 2^53, which no counter of frames or bytes per run reaches.
#[expect(clippy::cast_precision_loss)]
fn ratio(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// One-way latency: from committing a frame until the reader has verified it.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

/// The figures of a [`Latency`], in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Half of the frames took at most this.
    pub p50: f64,
    /// 99 of 100 frames took at most this.
    pub p99: f64,
    /// The slowest frame.
    pub max: f64,
}

impl Latency {
    /// Three significant digits, from 1 ns to an hour.
    ///
    /// # Panics
    ///
    /// Never: the bounds are valid.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("valid bounds"))
    }

    /// Counts a frame that took `nanoseconds`.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// The figures.
    #[expect(clippy::cast_precision_loss, reason = "an hour of nanoseconds is below 2^53")]
    pub fn summary(&self) -> LatencySummary {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let quantile = |quantile| microseconds(self.0.value_at_quantile(quantile));
        LatencySummary { p50: quantile(0.5), p99: quantile(0.99), max: microseconds(self.0.max()) }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, max } = self;
        write!(f, "latency p50 {p50:.0} us, p99 {p99:.0} us, max {max:.0} us")
    }
}

/// A line on stderr once a second.
#[derive(Debug)]
pub struct Progress {
    enabled: bool,
    terminal: bool,
    last: Instant,
    seen: Throughput,
}

impl Progress {
    /// Lines only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { enabled, terminal, last: Instant::now(), seen: Throughput::default() }
    }

    /// Prints the line if a second has passed; `rest` follows the figures of that second.
    pub fn tick(&mut self, now: &Throughput, rest: impl FnOnce() -> String) {
        let elapsed = self.last.elapsed();
        if !self.enabled || elapsed < Duration::from_secs(1) {
            return;
        }
        let (frames, bytes) = (now.frames - self.seen.frames, now.bytes - self.seen.bytes);
        let (rate, speed) = (ratio(frames, elapsed), ratio(bytes, elapsed) / 1e9);
        let line = format!("{} frames, {rate:.1} frames/s, {speed:.2} GB/s{}", now.frames, rest());
        // In a terminal the line replaces the one before. A closed stderr is no reason to stop the stream.
        let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{before}{line}{after}").and_then(|()| stderr.flush());
        (self.last, self.seen) = (Instant::now(), *now);
    }

    /// Leaves the live line, so that other text begins on a line of its own.
    pub fn finish(&self) {
        if self.enabled && self.terminal {
            let _ = writeln!(std::io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_counted_per_second_of_work() {
        let mut throughput = Throughput { busy: Duration::from_millis(500), ..Throughput::default() };
        (0..10).for_each(|_| throughput.add(100_000_000));
        assert_eq!(throughput.to_string(), "10 frames in 0.50 s, 20.0 frames/s, 2.00 GB/s");
        assert_eq!(Throughput::default().to_string(), "0 frames in 0.00 s, 0.0 frames/s, 0.00 GB/s");
    }

    #[test]
    fn latency_percentiles_come_from_all_frames() {
        let mut latency = Latency::new();
        (1..=1000).for_each(|microseconds| latency.record(microseconds * 1000));
        latency.record(u64::MAX);
        let LatencySummary { p50, p99, max } = latency.summary();
        assert!((p50 - 500.0).abs() < 5.0 && (p99 - 990.0).abs() < 5.0 && max > 1e9, "{p50} {p99} {max}");
    }
}
