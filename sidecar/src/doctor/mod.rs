//! `doctor`: checks a ring's requirements, one line each, with advice for each that is not met.
//!
//! `folder` looks at the shared folder and tries a ring there, `orphans` at what killed servers have left there,
//! `limits` at all limits of a ring, `system` at the kernel, `ring` at the ring itself and its sidecar.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::DoctorArgs;

mod folder;
mod limits;
mod orphans;
mod ring;
mod system;

/// Checks everything and prints a report.
///
/// # Errors
///
/// If it cannot print. Failed checks are in the report and make the exit code 1.
pub fn main(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let checks = examine(args);
    let mut stdout = std::io::stdout();
    checks.iter().try_for_each(|check| writeln!(stdout, "{check}")).context("failed to print")?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(args: &DoctorArgs) -> Vec<Check> {
    // First, so that the room that it frees counts.
    let orphan_checks = orphans::examine(&args.ring.dir, args.clean);
    let (ring, ring_checks) = ring::examine(&args.ring);
    // A ring that is there needs no more room.
    let wanted = if ring.is_some() { None } else { args.size };
    let mut checks = folder::examine(&args.ring.dir, ring.is_some());
    checks.extend(orphan_checks);
    if args.ring.dir.is_dir() {
        checks.extend(limits::examine(&args.ring.dir, wanted));
    }
    checks.extend(system::examine());
    checks.extend(ring_checks);
    checks
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report, with advice.
#[derive(Debug)]
struct Check {
    verdict: Verdict,
    found: String,
    advice: Option<String>,
}

impl Check {
    fn ok(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        write!(f, "{verdict:<5} {}", self.found)?;
        self.advice.iter().try_for_each(|advice| write!(f, "\n      -> {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_stands_under_what_was_found() {
        assert_eq!(Check::ok("fine").to_string(), "ok    fine");
        assert_eq!(Check::fail("bad", "mend it").to_string(), "fail  bad\n      -> mend it");
    }
}
