//! `doctor`: checks a ring's requirements, one line each, with advice for each that is not met.
//!
//! `folder` looks at the shared folder and its room, `orphans` at what killed servers have left there, `memory` at the
//! container's limit, `system` at the kernel, `ring` at the ring itself and its sidecar.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use framebuffer_contract::Quantity;

use crate::cli::DoctorArgs;

mod folder;
mod memory;
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
    let mut checks = folder::examine(&args.ring.dir, wanted);
    checks.extend(orphan_checks);
    checks.push(memory::examine(ring.map(|ring| Quantity::from(ring.size)).or(args.size)));
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

/// Bytes that the segment of a ring of `size` needs. More than there can be if the size is none that a ring can have.
fn segment_bytes(size: Quantity) -> u64 {
    framebuffer::segment_length(size.bytes()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_stands_under_what_was_found() {
        assert_eq!(Check::ok("fine").to_string(), "ok    fine");
        assert_eq!(Check::fail("bad", "mend it").to_string(), "fail  bad\n      -> mend it");
    }

    #[test]
    fn a_size_at_the_limit_does_not_overflow() {
        assert_eq!(segment_bytes(Quantity::from(u64::MAX)), u64::MAX);
    }
}
