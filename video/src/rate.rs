//! [`Rate`]: frames per second, as a fraction.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::shutdown::Stop;

/// Frames per second, as a fraction: film on television is 30000/1001.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Numerator.
    pub num: u32,
    /// Denominator.
    pub den: u32,
}

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a rate: expected frames per second between 0.001 and 1000000, like 25, 29.97 or 30000/1001")]
pub struct InvalidRate(String);

impl Rate {
    /// 25 frames per second, as ffmpeg assumes where nothing is said.
    pub const DEFAULT: Self = Self { num: 25, den: 1 };

    /// This rate, or the default where the fraction is not a rate (Y4M writes "unknown" as 0:0).
    #[must_use]
    pub const fn or_default(self) -> Self {
        if self.num == 0 || self.den == 0 { Self::DEFAULT } else { self }
    }

    /// The time between two frames.
    pub fn period(self) -> Duration {
        let Self { num, den } = self.or_default();
        Duration::from_nanos(u64::from(den) * 1_000_000_000 / u64::from(num))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.num, self.den)
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let fraction = || {
            if let Some((num, den)) = text.split_once(['/', ':']) {
                return Some(Self { num: num.parse().ok()?, den: den.parse().ok()? });
            }
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            let den = 10_u32.checked_pow(decimals.len().try_into().ok()?)?;
            let decimals = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
            let num = whole.parse::<u32>().ok()?.checked_mul(den)?.checked_add(decimals)?;
            Some(Self { num, den })
        };
        let plausible = |rate: &Self| {
            let (num, den) = (u64::from(rate.num), u64::from(rate.den));
            den > 0 && num * 1000 >= den && num <= den * 1_000_000
        };
        let invalid = || InvalidRate(text.chars().take(40).collect());
        fraction().filter(plausible).ok_or_else(invalid)
    }
}

/// Lets one frame pass each period, or all of them at once.
#[derive(Debug)]
pub struct Pacer {
    period: Option<Duration>,
    due: Instant,
}

impl Pacer {
    /// A pacer for `rate`; without one, nothing waits.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { period: rate.map(Rate::period), due: Instant::now() }
    }

    /// Waits until the next frame is due, or the program is asked to stop. Lost time is made up for, except after a
    /// pause of more than a second: frames of a live stream are then better late than in a burst.
    pub fn wait(&mut self, stop: &Stop) {
        let Some(period) = self.period else { return };
        let now = Instant::now();
        if now.duration_since(self.due) > Duration::from_secs(1) {
            self.due = now;
        }
        stop.sleep(self.due.duration_since(now));
        self.due += period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number_a_decimal_or_a_fraction() {
        assert_eq!("25".parse(), Ok(Rate { num: 25, den: 1 }));
        assert_eq!("29.97".parse(), Ok(Rate { num: 2997, den: 100 }));
        assert_eq!("30000/1001".parse(), Ok(Rate { num: 30000, den: 1001 }));
        assert_eq!("50:2".parse::<Rate>().unwrap().period(), Duration::from_millis(40));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_limits() {
        for bad in ["", "0", "-1", "x", "1/0", "0:0", "1000001", "99999999999", "1.0000000000001", "1/2/3"] {
            let error = bad.parse::<Rate>().expect_err(bad).to_string();
            assert!(error.contains("between 0.001 and 1000000"), "{error}");
        }
    }
}
