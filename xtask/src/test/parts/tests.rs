//! The workspace's own tests: in one process, as loom models, and of whole processes.

use anyhow::Result;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::Workspace;

/// Holds locks as another process, in tests.
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
    let mut command = workspace.cargo(["test", "--workspace", "--lib", "--bins", "--no-fail-fast"]);
    // Its peers are large: they are built once, by the part that is about them.
    run(command.arg("--exclude=framebuffer-bench"))
}

fn loom(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--package=framebuffer", "--lib", "--profile=fast", "--target-dir"]);
    command.arg(workspace.target_for("loom")).env("RUSTFLAGS", "--cfg loom");
    run(&mut command)
}

fn processes(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let built = build_programs(workspace)?;
    if built.failed > 0 {
        return Ok(built);
    }
    let mut command = workspace.cargo(["test", "--profile=fast", "--workspace", "--test=*", "--no-fail-fast"]);
    // The tests that need a cluster, peers, or an installed library.
    command.args(["--exclude=framebuffer-e2e", "--exclude=framebuffer-bench", "--exclude=framebuffer-c"]);
    command.env("FRAMEBUFFER_SIDECAR", workspace.fast_binary("framebuffer-sidecar"));
    command.env("FRAMEBUFFER_CLIP", setup.clip());
    run(&mut command)
}

/// Builds all programs, as one part after the other may need them: with the same features, so that it is done once.
pub(super) fn build_programs(workspace: &Workspace) -> Result<Counts> {
    let mut build = workspace.cargo(["build", "--profile=fast", "--workspace", "--bins"]);
    run(build.args(["--exclude=xtask", "--exclude=framebuffer-bench"]))
}

fn bench(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let test = ["test", "--profile=fast", "--package=framebuffer-bench", "--features=zeromq", "--no-fail-fast"];
    run(&mut workspace.cargo(test))
}
