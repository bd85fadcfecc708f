//! `cargo xtask bench`: FrameBuffer beside other ways to move frames, by the program in `bench/`.
//!
//! Gets the peers that the machine lacks, builds the program, becomes it. A peer that can't be got is named in its table.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::setup::{Need, Setup};
use crate::workspace::Workspace;

/// What its peers need. Compiles libzmq; the others are started.
pub(crate) const NEEDS: [Need; 3] = [
    Need::Cxx,
    Need::Package { name: "redis-server", gives: "redis-server" },
    Need::Package { name: "python3", gives: "python3" },
];

/// Measure FrameBuffer beside iceoryx2, sockets, ZeroMQ, Redis, Python's shared memory and memcpy.
///
/// Prints a table: one-way latency and throughput by frame size, to one reader and to four, and what an allocation over HTTP
/// costs. Takes ten minutes without the build. docs/benchmarks.md says how to read it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take a minute instead, for coarser figures
    #[arg(long)]
    quick: bool,
    /// Write all figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write tables for a document into this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// More for the program itself: `-- --help` lists it
    #[arg(last = true)]
    more: Vec<OsString>,
}

/// Returns only if it can't.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut setup = Setup::new()?;
    let mut there =
        NEEDS.map(|need| setup.provide(need).inspect_err(|error| println!("{error:#}")).is_ok()).into_iter();
    let mut build = workspace.cargo(["build", "--profile=bench", "--package=framebuffer-bench"]);
    if there.next() == Some(true) {
        build.arg("--features=zeromq");
    }
    ensure!(build.status().context("failed to start cargo")?.success(), "failed to build the benchmark");
    let Args { quick, json, plot, markdown, more } = args;
    let program = workspace.target.join("release/framebuffer-bench");
    let mut command = Command::new(&program);
    command.args(["run", "--called", "cargo xtask bench"]);
    command.args(quick.then_some("--quick"));
    for (flag, file) in [("--json", json), ("--plot", plot), ("--markdown", markdown)] {
        command.args(file.iter().flat_map(|file| [flag.as_ref(), file.as_os_str()]));
    }
    command.args(more);
    let error = command.exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}
