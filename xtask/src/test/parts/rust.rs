//! The workspace's own tests: in one process, as loom models, and of whole processes.

use anyhow::Result;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{THIS_MACHINE, Workspace};

/// The crate of part `bench`.
const BENCHMARK: &str = "framebuffer-bench";
/// The crates whose tests have parts of their own: they need a cluster, Helm, peers, or an installed library.
const ELSEWHERE: [&str; 4] = ["framebuffer-e2e", "framebuffer-chart-tests", BENCHMARK, "framebuffer-c"];
/// The crates whose tests part `unit` runs: it has built the large crates for Kubernetes anyway, and profile `fast`
/// would build them once more.
const WITH_UNIT: [&str; 1] = ["framebuffer-operator"];
/// Holds a lock as another process, in tests.
const PYTHON3: Need = Need::Package { name: "python3", gives: "python3" };

pub(super) const UNIT: Part =
    Part { name: "unit", about: "unit and property tests", needs: || vec![PYTHON3], run: unit };

pub(super) const LOOM: Part = Part {
    name: "loom",
    about: "models of the ring's protocol, interleavings of up to 4 preemptions",
    needs: Vec::new,
    run: loom,
};

pub(super) const PROCESSES: Part = Part {
    name: "processes",
    about: "the real binaries, over real sockets and segments, with a real clip, killed and restarted",
    needs: || vec![Need::Ffmpeg, Need::Clip],
    run: processes,
};

pub(super) const BENCH: Part = Part {
    name: "bench",
    about: "all that the benchmark compares delivers the right bytes, and nothing of it is left behind",
    needs: || crate::bench::NEEDS.to_vec(),
    run: bench,
};

fn unit(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--workspace", "--no-fail-fast", "--lib"]);
    // The peers of the benchmark are large: only its own part builds them.
    command.args(workspace.select("bin", |package| package != BENCHMARK));
    run(command.args(workspace.select("test", |package| WITH_UNIT.contains(&package))))
}

fn loom(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let test = ["test", "--package=framebuffer", "--lib", "--profile=fast", THIS_MACHINE];
    run(workspace.cargo(test).env("RUSTFLAGS", "--cfg loom"))
}

fn processes(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--profile=fast", "--workspace", "--no-fail-fast"]);
    command.args(workspace.select("test", starts_programs));
    command.env("FRAMEBUFFER_SIDECAR", workspace.fast_binary("framebuffer-sidecar"));
    command.env("FRAMEBUFFER_CLIP", setup.clip());
    run(&mut command)
}

/// Whether the tests of a crate are those of part `processes`.
fn starts_programs(package: &str) -> bool {
    !ELSEWHERE.contains(&package) && !WITH_UNIT.contains(&package)
}

/// Builds the sidecar, the writer and the reader as `processes` does, with their tests.
pub(super) fn build_programs(workspace: &Workspace) -> Result<Counts> {
    let mut build = workspace.cargo(["test", "--no-run", "--profile=fast", "--workspace"]);
    run(build.args(workspace.select("test", |package| ["framebuffer-sidecar", "framebuffer-video"].contains(&package))))
}

fn bench(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--profile=fast", "--workspace", "--no-fail-fast"]);
    command.arg("--features=framebuffer-bench/zeromq");
    let select = |kind| workspace.select(kind, |package| package == BENCHMARK);
    run(command.args(select("bin")).args(select("test")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_different_parts_have_different_names() {
        // A test is selected by its name alone.
        let workspace = Workspace::find().unwrap();
        let mut names = workspace.select("test", starts_programs);
        for crate_elsewhere in ELSEWHERE.into_iter().chain(WITH_UNIT) {
            let own = workspace.select("test", |package| package == crate_elsewhere);
            assert!(!own.is_empty(), "{crate_elsewhere} has no tests");
            assert!(names.is_disjoint(&own), "{crate_elsewhere} has a test with the name of another");
            names.extend(own);
        }
    }
}
