//! The multi-threaded tests of the client crate under `ThreadSanitizer` and `AddressSanitizer`.

use anyhow::Result;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{THIS_MACHINE, Workspace};

pub(super) const SANITIZERS: Part = Part {
    name: "sanitizers",
    about: "no data race and no stray access in the multi-threaded tests",
    needs: || vec![Need::Nightly],
    run: sanitizers,
};

/// The standard library comes without instrumentation: for races that is an ABI of its own, which has to be allowed.
const FLAGS: [&str; 2] = ["-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer", "-Zsanitizer=address"];

fn sanitizers(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    FLAGS.iter().map(|flags| run_under(workspace, flags)).sum()
}

fn run_under(workspace: &Workspace, flags: &str) -> Result<Counts> {
    let mut command = workspace.cargo_nightly(["test", "--package=framebuffer", "--lib", "--test=threads"]);
    command.args(["--no-fail-fast", "--profile=fast", THIS_MACHINE]).env("RUSTFLAGS", flags);
    let suppressions = workspace.root.join("client/tests/tsan-suppressions.txt");
    command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    // A report without line numbers is of little use.
    command.env("CARGO_PROFILE_FAST_DEBUG", "line-tables-only");
    run(&mut command)
}
