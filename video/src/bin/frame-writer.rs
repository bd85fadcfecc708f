//! `frame-writer`: sends the frames of a video over a channel of a FrameBuffer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use framebuffer_video::rate::{Pacer, Rate};
use framebuffer_video::raw::RawFormat;
use framebuffer_video::sender::Sender;
use framebuffer_video::shutdown::Stop;
use framebuffer_video::source::Source;
use framebuffer_video::stats::{Progress, Throughput};
use framebuffer_video::{log, say};
use serde_json::json;

/// Sends the frames of a video over a channel of a FrameBuffer, to any number of frame-readers.
///
/// The video is a Y4M stream or raw frames (--raw), from a file or standard input, or a moving test picture
/// (--generate). Frames are read straight into the ring. Log and statistics go to standard error.
///
/// Exit status: 0 at the end of the video or after SIGINT or SIGTERM, 1 after an error, 2 for wrong arguments.
#[allow(clippy::doc_markdown, reason = "the text of --help")]
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Y4M file, or raw frames with --raw; - is standard input
    #[arg(required_unless_present = "generate", conflicts_with = "generate")]
    input: Option<PathBuf>,
    /// The input is raw frames: rgb24, bgr24, rgba, gray8 or yuv420p, as in 1920x1080:rgb24
    #[arg(long, value_name = "WIDTHxHEIGHT:FORMAT", conflicts_with = "generate")]
    raw: Option<RawFormat>,
    /// Generate a moving test picture, as in 1920x1080:rgb24
    #[arg(long, value_name = "WIDTHxHEIGHT:FORMAT")]
    generate: Option<RawFormat>,
    /// The channel
    #[arg(long, value_name = "NAME", default_value = "video")]
    channel: String,
    /// The sidecar: http://127.0.0.1:7570 or unix:/path; default is FRAMEBUFFER_URL
    #[arg(long)]
    url: Option<String>,
    /// Frames per second, like 25, 29.97 or 30000/1001; without it, as fast as possible
    #[arg(long, value_name = "FPS")]
    rate: Option<Rate>,
    /// End after this many frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// End after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Repeat the file
    #[arg(long = "loop")]
    looping: bool,
    /// Keep the last N frames in the ring, 0 to 32: a reader with --lossless is never further behind, the writer waits
    #[arg(long, value_name = "N", default_value_t = 4)]
    keep: usize,
    /// Wait for a reader before the first frame, for at most this long
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Print a line on standard error each second
    #[arg(long)]
    progress: bool,
    /// At the end, print the statistics on standard output, as one line of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("frame-writer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let client = match &args.url {
        Some(url) => framebuffer::connect(url),
        None => framebuffer::connect_env(),
    };
    let client = client.context("failed to connect to the sidecar")?;
    // Only now: until here a signal simply ends the program.
    let stop = Stop::on_signals().context("failed to install signal handlers")?;
    let opened = open(args, &stop);
    if stop.is_set() {
        return Ok(());
    }
    let source = opened?;
    let (size, limit) = (source.frame_size(), client.size()?);
    if size > limit {
        bail!("a frame of {size} bytes is larger than the ring, which holds frames of at most {limit} bytes");
    }
    let sender = Sender::open(&client, &args.channel, args.keep, &source.format(), &stop)?;
    if let Some(seconds) = args.wait {
        sender.wait_for_reader(Duration::from_secs(seconds))?;
    }
    Writer { source, sender, stop, throughput: Throughput::default() }.run(args)
}

fn open(args: &Args, stop: &Stop) -> anyhow::Result<Source> {
    if let Some(format) = args.generate {
        return Ok(Source::generated(format));
    }
    let Some(path) = &args.input else { bail!("neither an input nor --generate") };
    if args.looping && path.as_os_str() == "-" {
        bail!("--loop needs a file: standard input cannot be read a second time");
    }
    Ok(match args.raw {
        Some(format) => Source::raw(path, format, args.looping, stop)?,
        None => Source::y4m(path, args.looping, stop)?,
    })
}

struct Writer<'c> {
    source: Source,
    sender: Sender<'c>,
    stop: Stop,
    throughput: Throughput,
}

impl Writer<'_> {
    fn run(mut self, args: &Args) -> anyhow::Result<()> {
        let mut progress = Progress::new(args.progress);
        let streamed = self.stream(args, &mut progress);
        progress.finish();
        let Self { sender, stop, throughput, .. } = self;
        let waits = sender.waits();
        // To readers, the frames so far are a whole stream, whatever ended it.
        let finished = sender.finish();
        say!("frame-writer: {throughput}, {waits} waits for room");
        if args.json {
            let summary = json!({
                "frames": throughput.frames,
                "bytes": throughput.bytes,
                "seconds": throughput.busy.as_secs_f64(),
                "frames_per_second": throughput.frames_per_second(),
                "gigabytes_per_second": throughput.gigabytes_per_second(),
                "waits": waits,
            });
            log::print(&summary).context("failed to write the statistics")?;
        }
        if stop.is_set() {
            return Ok(());
        }
        streamed?;
        finished?;
        Ok(())
    }

    /// Frame after frame until the end, the limit, or the stop.
    fn stream(&mut self, args: &Args, progress: &mut Progress) -> anyhow::Result<()> {
        let Self { source, sender, stop, throughput } = self;
        let started = Instant::now();
        let mut pacer = Pacer::new(args.rate);
        let is_over = |frames| {
            args.frames.is_some_and(|limit| frames >= limit)
                || args.seconds.is_some_and(|limit| started.elapsed() >= Duration::from_secs(limit))
        };
        while !is_over(sender.sent()) {
            pacer.wait(stop);
            if !sender.wait_for_room()? {
                break;
            }
            let Some(parameters) = source.advance()? else { break };
            let (size, sequence) = (source.frame_size(), sender.sent());
            if !sender.send(size, &parameters, |picture| source.fill(sequence, picture))? {
                break;
            }
            throughput.add(size);
            throughput.busy = started.elapsed();
            progress.tick(throughput, String::new);
        }
        Ok(())
    }
}
