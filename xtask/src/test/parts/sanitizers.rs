//! The multi-threaded tests of the client crate under `ThreadSanitizer` and `AddressSanitizer`.

use anyhow::Result;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{TARGET, Workspace};

pub(super) const SANITIZERS: Part = Part {
    name: "sanitizers",
    about: "no data race and no stray access in the multi-threaded tests",
    needs: || vec![Need::Nightly],
    run: sanitizers,
};

/// The standard library comes without instrumentation: for races that is an ABI of its own, which has to be allowed.
const FLAVOURS: [(&str, &str); 2] =
    [("tsan", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"), ("asan", "-Zsanitizer=address")];

fn sanitizers(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    FLAVOURS.iter().map(|(flavour, flags)| run_under(workspace, flavour, flags)).sum()
}

fn run_under(workspace: &Workspace, flavour: &str, flags: &str) -> Result<Counts> {
    // With a --target the flags stay out of build scripts and procedural macros.
    let mut command = workspace.cargo_nightly(["test", "--package=framebuffer", "--lib", "--test=threads"]);
    command.args(["--no-fail-fast", "--profile=fast", "--target", TARGET, "--target-dir"]);
    command.arg(workspace.target_for(flavour)).env("RUSTFLAGS", flags);
    let suppressions = workspace.root.join("client/tests/tsan-suppressions.txt");
    command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    // A report without line numbers is of little use.
    command.env("CARGO_PROFILE_FAST_DEBUG", "line-tables-only");
    run(&mut command)
}
