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

struct Sanitizer {
    flags: &'static str,
    /// Parts of the names of tests that it cannot follow.
    skipped: &'static [&'static str],
}

/// A child of a process with other threads: a lock of the sanitizer itself may be taken there, by nobody.
const FORKS: &str = "rings::a_forked_child";

const USED: [Sanitizer; 2] = [
    Sanitizer {
        // The standard library comes without instrumentation: for races that is an ABI of its own, which has to be
        // allowed.
        flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
        // - A thread of event loops takes orders by a Condvar and ends by itself, with the last of several Arcs:
        //   neither the lock that the standard library takes in `Condvar::wait` nor the fence in `Arc::drop` is seen.
        // - The HTTP client has a LazyLock and a channel of the standard library, which wait where it is not seen.
        skipped: &["event_loops::", "connect::tests::", "http::tests::", FORKS],
    },
    Sanitizer { flags: "-Zsanitizer=address", skipped: &[FORKS] },
];

fn sanitizers(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    USED.iter().map(|sanitizer| run_under(workspace, sanitizer)).sum()
}

fn run_under(workspace: &Workspace, Sanitizer { flags, skipped }: &Sanitizer) -> Result<Counts> {
    let mut command = workspace.cargo_nightly(["test", "--package=framebuffer", "--lib"]);
    command.args(["--test=threads", "--test=channels"]);
    command.args(["--no-fail-fast", "--profile=fast", THIS_MACHINE]).env("RUSTFLAGS", flags);
    let suppressions = workspace.root.join("client/tests/tsan-suppressions.txt");
    command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    // A report without line numbers is of little use.
    command.env("CARGO_PROFILE_FAST_DEBUG", "line-tables-only");
    command.arg("--").args(skipped.iter().map(|name| format!("--skip={name}")));
    run(&mut command)
}
