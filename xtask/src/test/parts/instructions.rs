//! How many instructions the hot path takes: shows a regression where time can't be measured.
//!
//! `client/benches/instructions.rs` runs one operation, callgrind counts. The counts depend on the code and the
//! compiler alone: the kernel is the same everywhere (valgrind has no AVX-512), and timing has no influence. They do
//! not measure speed: an instruction that waits for memory counts like any other.
//!
//! Own code, since a number and its bound is all that a framework would be needed for. gungraun (formerly
//! iai-callgrind) does more, with a runner of 170 crates that must be installed in exactly the library's version, and
//! it does not report a bound that has become too high.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::Counts;
use crate::workspace::{Workspace, shown};

pub(super) const INSTRUCTIONS: Part = Part {
    name: "instructions",
    about: "the hot path takes no more instructions than its bounds say (on processors with AVX2)",
    needs: || vec![Need::Package { name: "valgrind", gives: "valgrind" }],
    run: instructions,
};

/// The most instructions that each operation may take, in a build of the `bench` profile: the release build with thin
/// instead of fat link-time optimisation. A twentieth above the count, for the differences between compilers. After a
/// change that is meant to cost or save instructions, run the part and write its numbers here.
const BOUNDS: [(&str, u64); 7] = [
    ("allocate", 850),
    ("publish-4k", 2620),
    ("publish-1m", 360_400),
    ("loan-commit-4k", 2310),
    ("loan-commit-unhashed-1m", 1170),
    ("read-into-4k", 1840),
    ("view", 385),
];

const BENCH: &str = "instructions";
/// The function in there that is counted.
const MEASURED: &str = "measured";

fn instructions(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    if !has_avx2() {
        println!("skipped: this processor has no AVX2, and the bounds are those of that kernel");
        return Ok(Counts::SKIPPED);
    }
    let program = build(workspace)?;
    let folder = workspace.target.join(BENCH);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let check = |(operation, bound): &(&str, u64)| {
        let profile = folder.join(operation).with_extension("callgrind");
        let taken = count(&program, operation, &profile)?;
        println!("{}", verdict(operation, taken, *bound));
        if taken <= *bound {
            return Ok(Counts::PASSED);
        }
        println!("where they are: callgrind_annotate {}", profile.display());
        Ok(Counts::FAILED)
    };
    BOUNDS.iter().map(check).sum()
}

fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Compares the count of an operation with its bound.
fn verdict(operation: &str, taken: u64, bound: u64) -> String {
    let against = match taken {
        taken if taken > bound => format!("MORE than its bound of {bound}"),
        taken if taken < bound / 5 * 4 => {
            format!("far below its bound of {bound}: lower that to {}", taken + taken / 20)
        }
        _ => format!("its bound is {bound}"),
    };
    format!("{operation:<24}{taken:>9} instructions, {against}")
}

/// Builds the program with the optimisations of benchmarks, and returns its path, which has a hash in it.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo(["build", "--package=framebuffer", "--profile=bench", "--message-format=json"]);
    command.args(["--bench", BENCH]);
    println!("$ {}", shown(&command));
    let output = command.stderr(Stdio::inherit()).output().context("failed to start cargo")?;
    ensure!(output.status.success(), "failed to build {BENCH}");
    executable(&output.stdout).with_context(|| format!("cargo named no program called {BENCH}"))
}

/// The program in cargo's messages, a JSON object in each line.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Built {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let built = messages.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Built>(line).ok());
    built.filter(|built| built.target.name == BENCH).find_map(|built| built.executable)
}

/// Counts the instructions of one `operation`. Writes callgrind's profile to the file `profile`.
fn count(program: &Path, operation: &str, profile: &Path) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--toggle-collect={MEASURED}"));
    command.arg(format!("--callgrind-out-file={}", profile.display()));
    command.arg(program).arg(operation).env("FRAMEBUFFER_KERNEL", "avx2");
    let output = command.stdin(Stdio::null()).output().context("failed to start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}\n{said}", shown(&command), output.status);
    let times: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("the program said no number")?;
    let text = fs::read_to_string(profile).with_context(|| format!("failed to read {}", profile.display()))?;
    match total(&text) {
        Some(total) if total >= times => Ok(total / times),
        _ => bail!("callgrind counted nothing in {MEASURED}: {}", shown(&command)),
    }
}

/// The sum in a file of callgrind's.
fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_above_its_bound_or_far_below_is_reported() {
        assert_eq!(verdict("view", 400, 400), "view                          400 instructions, its bound is 400");
        assert_eq!(verdict("view", 320, 400), "view                          320 instructions, its bound is 400");
        let above = verdict("view", 401, 400);
        assert_eq!(above, "view                          401 instructions, MORE than its bound of 400");
        let below = verdict("view", 300, 400);
        assert_eq!(
            below,
            "view                          300 instructions, far below its bound of 400: lower that to 315"
        );
    }

    #[test]
    fn the_sum_of_a_profile_is_found() {
        assert_eq!(total("# callgrind format\nsummary: 12\n\ntotals: 29858\n"), Some(29858));
        assert_eq!(total("# callgrind format\n"), None);
    }

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"framebuffer"},"executable":null}"#,
            r#"{"reason":"compiler-message","message":{}}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"instructions"},"executable":"/built/instructions-1"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        assert_eq!(executable(lines.join("\n").as_bytes()), Some("/built/instructions-1".into()));
        assert_eq!(executable(lines[..2].join("\n").as_bytes()), None);
    }
}
