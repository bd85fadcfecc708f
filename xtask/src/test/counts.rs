//! [`Counts`]: the number of tests that a command ran, taken from its output.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter::Sum;
use std::ops::Add;
use std::process::Command;

use anyhow::{Context, Result};

use super::watchdog::{Bounds, Watched};
use crate::workspace::shown;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that were not run.
    pub(crate) skipped: usize,
}

impl Counts {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that was not run.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed")?;
        if *skipped > 0 { write!(f, ", {skipped} skipped") } else { Ok(()) }
    }
}

/// Runs `command`, passes on its output, and counts its tests.
///
/// A command that reports no tests (a linter, say) counts as one, passed if it exits with 0. One that is silent for
/// too long is ended with all its processes, and has a failed test.
pub(crate) fn run(command: &mut Command) -> Result<Counts> {
    println!("$ {}", shown(command));
    run_within(command, Bounds::DEFAULT, &mut io::stdout().lock())
}

/// As [`run`], with its output passed on to `to`.
pub(super) fn run_within(command: &mut Command, bounds: Bounds, to: &mut impl Write) -> Result<Counts> {
    let mut watched = Watched::start(command, shown(command), bounds)
        .with_context(|| format!("failed to start {}", command.get_program().display()))?;
    let reported = count(&mut watched, to).context("failed to pass on the output")?;
    let passed = watched.wait().context("failed to wait for the command")?;
    Ok(judge(reported, passed))
}

/// Copies the output of a command and adds up the counts in it, if there are any.
fn count(from: impl Read, to: &mut impl Write) -> io::Result<Option<Counts>> {
    let mut reported: Option<Counts> = None;
    for line in BufReader::new(from).split(b'\n') {
        let line = line?;
        to.write_all(&line)?;
        to.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        if let Some(counts) = parse(&line).or_else(|| parse_pytest(&line)) {
            reported = Some(reported.unwrap_or_default() + counts);
        }
    }
    Ok(reported)
}

/// The result of the reported counts and the exit status: a command that fails without a failed test has one.
fn judge(reported: Option<Counts>, passed: bool) -> Counts {
    match (reported, passed) {
        (Some(counts), true) => counts,
        (Some(counts), false) if counts.failed > 0 => counts,
        (Some(counts), false) => counts + Counts::FAILED,
        (None, true) => Counts::PASSED,
        (None, false) => Counts::FAILED,
    }
}

/// The counts of a line `test result: ok. 5 passed; 0 failed; 1 ignored; ...`.
fn parse(line: &str) -> Option<Counts> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let before = counts.split("; ").find_map(|field| field.strip_suffix(word))?;
        before.trim().parse::<usize>().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
}

/// The counts of pytest's last line: `1 failed, 5 passed, 2 skipped in 0.12s`, between `=` unless it is quiet.
fn parse_pytest(line: &str) -> Option<Counts> {
    let (outcomes, time) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
    time.split(' ').next()?.strip_suffix('s')?.parse::<f64>().ok()?;
    outcomes.split(", ").try_fold(Counts::default(), |counts, outcome| {
        let (number, word) = outcome.split_once(' ')?;
        let number: usize = number.parse().ok()?;
        let found = match word {
            "passed" | "xfailed" => Counts { passed: number, ..Counts::default() },
            "failed" | "error" | "errors" | "xpassed" => Counts { failed: number, ..Counts::default() },
            "skipped" => Counts { skipped: number, ..Counts::default() },
            "deselected" | "warning" | "warnings" | "rerun" => Counts::default(),
            _ => return None,
        };
        Some(counts + found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_of_cargo_test_is_counted() {
        let ok = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(parse(ok), Some(Counts { passed: 12, failed: 0, skipped: 3 }));
        let failed = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9s";
        assert_eq!(parse(failed), Some(Counts { passed: 1, failed: 2, skipped: 0 }));
    }

    #[test]
    fn the_last_line_of_pytest_is_counted() {
        let counts = |passed, failed, skipped| Some(Counts { passed, failed, skipped });
        assert_eq!(parse_pytest("178 passed in 11.54s"), counts(178, 0, 0));
        let line = "=== 1 failed, 5 passed, 2 skipped, 3 warnings, 2 errors in 61.02s (0:01:01) ===";
        assert_eq!(parse_pytest(line), counts(5, 3, 2));
        for line in ["5 passed", "5 passed in time", "all passed in 5s", "5 frames in 5s", "Finished in 5.00s", ""] {
            assert_eq!(parse_pytest(line), None, "{line:?}");
        }
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in ["", "running 3 tests", "test passed ... ok", "test result: ", "test result: ok. many passed"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_command_that_reports_no_tests_counts_as_one() {
        assert_eq!(run(Command::new("true").arg("x")).unwrap(), Counts::PASSED);
        assert_eq!(run(&mut Command::new("false")).unwrap(), Counts::FAILED);
    }

    #[test]
    fn all_result_lines_of_a_command_add_up() {
        let line = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured";
        // Not by a command: this test's own output is counted too when it is run by `cargo xtask test`.
        let text = format!("{line}\nother\n{line}\n");
        let mut copy = Vec::new();
        let counts = count(text.as_bytes(), &mut copy).unwrap();
        assert_eq!(counts, Some(Counts { passed: 4, failed: 0, skipped: 2 }));
        assert_eq!(copy, text.as_bytes());
    }

    #[test]
    fn a_command_that_fails_after_passing_tests_has_a_failed_one() {
        let passed = Counts { passed: 5, failed: 0, skipped: 0 };
        assert_eq!(judge(Some(passed), false), Counts { passed: 5, failed: 1, skipped: 0 });
        let failed = Counts { passed: 5, failed: 2, skipped: 0 };
        assert_eq!(judge(Some(failed), false), failed);
    }

    #[test]
    fn a_command_that_does_not_exist_is_an_error_with_its_name() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "failed to start no-such-program");
    }
}
