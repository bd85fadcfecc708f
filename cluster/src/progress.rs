//! The progress of a build of many packages: how many are compiled, and how long the rest will take.

use std::io::{IsTerminal, Write, stdout};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The packages that one core compiles in a second, measured over a whole build: 4,492 packages in 767 s on two cores,
/// linking included.
const PACKAGES_PER_CORE_SECOND: f64 = 2.9;
/// The measured speed counts as much as so many packages of this build: the first ones alone would promise too much.
const WEIGHT: f64 = 300.0;
/// The time between two lines where lines can't be overwritten.
const INTERVAL: Duration = Duration::from_secs(20);

/// The progress of a build.
#[derive(Debug)]
pub(crate) struct Progress {
    packages: u32,
    done: u32,
    start: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// A build of at most so many packages: those in the compiler's cache are not compiled again.
    pub(crate) fn new(packages: u32) -> Self {
        Self { packages, done: 0, start: Instant::now(), shown: None, terminal: stdout().is_terminal() }
    }

    /// A package of `module` is being compiled.
    pub(crate) fn step(&mut self, module: &str) {
        self.done = (self.done + 1).min(self.packages);
        let interval = if self.terminal { Duration::from_millis(500) } else { INTERVAL };
        if self.shown.is_none_or(|shown| shown.elapsed() >= interval) {
            self.shown = Some(Instant::now());
            let left = self.left(self.start.elapsed(), available_parallelism().map_or(1, |cores| cores.get() as u32));
            let line = format!("{module}: {} of {} packages, {left}", self.done, self.packages);
            let (before, after) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
            print!("{before}{line}{after}");
            let _ = stdout().flush();
        }
    }

    /// The time until all packages are compiled.
    fn left(&self, elapsed: Duration, cores: u32) -> String {
        let usual = PACKAGES_PER_CORE_SECOND * f64::from(cores);
        let rate = (f64::from(self.done) + WEIGHT) / (elapsed.as_secs_f64() + WEIGHT / usual);
        let seconds = f64::from(self.packages - self.done) / rate;
        match Duration::from_secs_f64(seconds).as_secs().div_ceil(60) {
            0 | 1 => "less than a minute left".into(),
            minutes => format!("about {minutes} minutes left"),
        }
    }

    /// The time since the start; ends the line.
    pub(crate) fn elapsed(&self) -> String {
        if self.terminal && self.shown.is_some() {
            println!();
        }
        let seconds = self.start.elapsed().as_secs();
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u32, packages: u32) -> Progress {
        Progress { packages, done, start: Instant::now(), shown: None, terminal: false }
    }

    #[test]
    fn at_the_start_the_usual_speed_counts() {
        let first = progress(1, 4200).left(Duration::from_secs(1), 2);
        assert_eq!(first, "about 13 minutes left");
    }

    #[test]
    fn later_the_speed_of_this_build_counts() {
        // Half the packages in ten minutes: ten more.
        let left = progress(10_000, 20_000).left(Duration::from_mins(10), 64);
        assert_eq!(left, "about 10 minutes left");
    }

    #[test]
    fn at_the_end_nothing_is_left() {
        assert_eq!(progress(5, 5).left(Duration::from_secs(5), 2), "less than a minute left");
    }
}
