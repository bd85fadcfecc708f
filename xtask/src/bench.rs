//! `cargo xtask bench`: FrameBuffer beside other ways to move frames, by the program in `bench/`.
//!
//! Installs the missing peers, builds the program and becomes it. The tables name the peers that can't be installed.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::setup::{Need, Setup};
use crate::workspace::Workspace;

/// The peers' needs: the compiler builds libzmq, the programs are started.
pub(crate) const NEEDS: [Need; 3] = [
    Need::Cxx,
    Need::Package { name: "redis-server", gives: "redis-server" },
    Need::Package { name: "python3", gives: "python3" },
];

/// Measure FrameBuffer beside iceoryx2, sockets, ZeroMQ, Redis, Python's shared memory and memcpy.
///
/// Prints tables: one-way latency and throughput by frame size, to one reader and to four, and the cost of an
/// allocation over HTTP. Takes ten minutes without the build. docs/benchmarks.md tells how to read them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure for a minute only; the figures are coarser
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
    /// Options of the program itself: `-- --help` lists them
    #[arg(last = true)]
    more: Vec<OsString>,
}

/// Becomes the benchmark; returns only if it can't.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut setup = Setup::new()?;
    let mut provided =
        NEEDS.map(|need| setup.provide(need).inspect_err(|error| println!("{error:#}")).is_ok()).into_iter();
    let mut build = workspace.cargo(["build", "--profile=bench", "--package=framebuffer-bench"]);
    if provided.next() == Some(true) {
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
