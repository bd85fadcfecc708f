//! `cargo xtask demo`: a video through a ring, from one process to another, with a third that owns the ring.
//!
//! Build -> start the sidecar, the reader and the writer ([`pipeline`]), with all that they write in one folder
//! ([`folder`]) -> show the reader's progress ([`report`]) until the video ends or a signal comes -> stop the sidecar,
//! remove the folder, check that nothing is left. [`input`] chooses the video, [`child`] starts and ends the processes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use anyhow::{Context, Result, ensure};
use framebuffer_contract::{InvalidQuantity, Quantity};
use framebuffer_signals::{Signal, on_signals};

use crate::workspace::Workspace;
use folder::Folder;
use input::{Input, Resolution};
use pipeline::{Pipeline, Streamed};

pub(crate) mod child;
mod folder;
mod input;
mod pipeline;
mod report;

/// Stream a video from one process to another, through a ring in shared memory.
///
/// Builds and starts a sidecar, which owns the ring, a reader and a writer; shows how many frames move and how fast;
/// checks that every frame arrived intact; leaves nothing behind, even after Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The video: Y4M, or anything that ffmpeg decodes; without it, frames are generated
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Write the received video to this file, as Y4M
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after this many seconds [default: 5 without an input, else at its end]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Size of the ring, as Kubernetes writes it: 512Mi, 2Gi
    #[arg(long, default_value = "512Mi", value_parser = ring_size)]
    size: Quantity,
    /// Frames per second; without it, as many as possible
    #[arg(long, value_name = "FPS")]
    rate: Option<String>,
    /// Width and height of generated frames, in pixels
    #[arg(long, default_value = "1920x1080", conflicts_with = "input")]
    resolution: Resolution,
    /// Use the programs in this folder instead of building them
    #[arg(long, value_name = "DIR", hide = true)]
    binaries: Option<PathBuf>,
}

/// One of the two whose results are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Writer,
    Reader,
}

/// An event that the demo waits for.
#[derive(Debug)]
enum Event {
    /// A signal that asks us to end.
    Interrupt(Signal),
    /// A line of the reader about its progress.
    Progress(String),
    /// The whole output of the reader or the writer.
    Result(Side, String),
}

/// Streams the video.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let input = Input::choose(args.input.as_deref(), args.resolution)?;
    let keep = keep(&input, args.size)?;
    let binaries = match &args.binaries {
        Some(folder) => std::path::absolute(folder).context("--binaries is not a path")?,
        None => build(&Workspace::find()?)?,
    };
    let (sender, events) = channel();
    let interrupts = sender.clone();
    let interrupt = move |signal| _ = interrupts.send(Event::Interrupt(signal));
    on_signals(&Signal::ALL, interrupt).context("failed to catch signals")?;
    let folder = Folder::new()?;
    let pipeline = Pipeline { args, input: &input, keep, binaries: &binaries, folder: &folder };
    let streamed = pipeline.stream(sender, &events);
    // Clean up first, then report errors.
    let removed = folder.remove();
    let report = match streamed? {
        Streamed::ToTheEnd(report) => report,
        Streamed::Interrupted(signal) => {
            removed?;
            println!("{signal}: all processes have ended, nothing is left behind");
            // As shells have it.
            return Ok(ExitCode::from(signal.exit_code()));
        }
    };
    report.conclude(|summary| print!("\n{summary}"))?;
    if let Some(output) = &args.output {
        println!("kept       {}", output.display());
    }
    removed?;
    println!("left       nothing: no process, no file in /dev/shm");
    Ok(ExitCode::SUCCESS)
}

fn ring_size(text: &str) -> Result<Quantity, String> {
    let size: Quantity = text.parse().map_err(|error: InvalidQuantity| error.to_string())?;
    if size.bytes() == 0 { Err("a ring of 0 bytes holds nothing".into()) } else { Ok(size) }
}

/// How many frames the writer keeps, and so may be ahead of the reader: enough to keep both busy, few enough to stay in
/// half the ring.
fn keep(input: &Input, ring: Quantity) -> Result<u64> {
    const MOST: u64 = 8;
    // ffmpeg reports the size of its frames when the writer already runs: 4 frames of 8K fit into the default ring.
    let Some(frame) = input.frame_bytes() else { return Ok(MOST / 2) };
    ensure!(frame <= ring.bytes(), "a frame has {frame} bytes, the ring {}: give a larger --size", ring.bytes());
    Ok((ring.bytes() / 2 / frame).clamp(1, MOST))
}

/// Builds the three programs and returns their folder.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    if !workspace.fast_binary("framebuffer-sidecar").exists() {
        println!("Building the sidecar, the writer and the reader; the first time takes a minute or two.");
    }
    let mut cargo = workspace.cargo(["build", "--profile=fast", "--bins"]);
    cargo.args(["--package=framebuffer-sidecar", "--package=framebuffer-video"]);
    ensure!(cargo.status().context("failed to start cargo")?.success(), "failed to build");
    Ok(workspace.target.join("fast"))
}
