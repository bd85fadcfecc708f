//! The workspace's own tests: in one process, as loom models, and of whole processes.

use anyhow::Result;

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::Workspace;

pub(super) const UNIT: Part = Part { name: "unit", about: "unit and property tests", needs: &[], run: unit };

pub(super) const LOOM: Part = Part {
    name: "loom",
    about: "models of the ring's protocol, interleavings of up to 4 preemptions",
    needs: &[],
    run: loom,
};

pub(super) const PROCESSES: Part = Part {
    name: "processes",
    about: "the real binaries, over real sockets and segments, with a real clip, killed and restarted",
    needs: &[Need::Ffmpeg, Need::Clip],
    run: processes,
};

fn unit(workspace: &Workspace, _: &Setup) -> Result<Counts> {
    run(&mut workspace.cargo(["test", "--workspace", "--lib", "--bins", "--no-fail-fast"]))
}

fn loom(workspace: &Workspace, _: &Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--package=framebuffer", "--lib", "--profile=fast", "--target-dir"]);
    command.arg(workspace.target_for("loom")).env("RUSTFLAGS", "--cfg loom");
    run(&mut command)
}

fn processes(workspace: &Workspace, setup: &Setup) -> Result<Counts> {
    let built = run(&mut workspace.cargo(["build", "--profile=fast", "--workspace", "--exclude=xtask", "--bins"]))?;
    if built.failed > 0 {
        return Ok(built);
    }
    let mut command = workspace.cargo(["test", "--profile=fast", "--workspace", "--test=*", "--no-fail-fast"]);
    // The tests that need a cluster.
    command.arg("--exclude=framebuffer-e2e");
    command.env("FRAMEBUFFER_SIDECAR", workspace.fast_binary("framebuffer-sidecar"));
    command.env("FRAMEBUFFER_CLIP", setup.clip());
    run(&mut command)
}
