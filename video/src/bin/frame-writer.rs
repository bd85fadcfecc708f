//! `frame-writer`: publishes the frames of a video through a FrameBuffer and announces them to a `frame-reader`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use framebuffer::{Frame, FrameBufferClient};
use framebuffer_video::descriptor::{Descriptor, Format, MAX_WINDOW, StreamHeader};
use framebuffer_video::link::{Link, Settings};
use framebuffer_video::rate::{Pacer, Rate};
use framebuffer_video::raw::RawFormat;
use framebuffer_video::shutdown::Stop;
use framebuffer_video::source::Source;
use framebuffer_video::stats::{Progress, Throughput};
use framebuffer_video::transport::Address;
use framebuffer_video::{log, say};
use serde_json::json;

/// Publishes the frames of a video through a FrameBuffer and announces them to a frame-reader.
///
/// The video is a Y4M stream or raw frames (--raw), from a file or standard input, or a moving test picture
/// (--generate). Frames are read straight into the ring. Log and statistics go to standard error.
///
/// Exit status: 0 at the end of the video or after SIGINT or SIGTERM, 1 after an error, 2 for wrong arguments.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// Where the reader listens: tcp:HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDRESS", default_value = "tcp:127.0.0.1:7600")]
    to: Address,
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
    /// Keep at most this many frames in flight: the reader acknowledges each, none is lost if the ring holds as many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_WINDOW)))]
    window: Option<u32>,
    /// End with an error when the reader goes away, instead of waiting for the next one
    #[arg(long)]
    once: bool,
    /// How long to wait for the first reader, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    connect_timeout: u64,
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
    let mut format = source.format();
    if let (Format::Raw(raw), Some(rate)) = (&mut format, args.rate) {
        raw.rate = rate;
    }
    let settings =
        Settings { address: args.to.clone(), deadline: Duration::from_secs(args.connect_timeout), once: args.once };
    let link = Link::connect(settings, StreamHeader::new(format, args.window), &stop)?;
    Writer { client, source, link, stop, throughput: Throughput::default(), waits: 0 }.run(args)
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

struct Writer {
    client: FrameBufferClient,
    source: Source,
    link: Link,
    stop: Stop,
    throughput: Throughput,
    /// Times that there was no room because readers held the whole ring.
    waits: u64,
}

impl Writer {
    fn run(mut self, args: &Args) -> anyhow::Result<()> {
        let mut progress = Progress::new(args.progress);
        let streamed = self.stream(args, &mut progress);
        progress.finish();
        let Self { link, stop, throughput, waits, .. } = self;
        let reconnects = link.reconnects();
        // To the reader, the frames so far are a whole stream, whatever ended it.
        let finished = link.finish(throughput.frames);
        say!("frame-writer: {throughput}, {reconnects} reconnects, {waits} waits for room");
        if args.json {
            let summary = json!({
                "frames": throughput.frames,
                "bytes": throughput.bytes,
                "seconds": throughput.busy.as_secs_f64(),
                "frames_per_second": throughput.frames_per_second(),
                "gigabytes_per_second": throughput.gigabytes_per_second(),
                "reconnects": reconnects,
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
        let started = Instant::now();
        let mut pacer = Pacer::new(args.rate);
        let over = |frames| {
            args.frames.is_some_and(|limit| frames >= limit)
                || args.seconds.is_some_and(|limit| started.elapsed() >= Duration::from_secs(limit))
        };
        while !over(self.throughput.frames) {
            pacer.wait(&self.stop);
            if !self.link.wait_for_room()? {
                break;
            }
            let Some(parameters) = self.source.advance()? else { break };
            let sequence = self.throughput.frames;
            let Some(frame) = self.publish(sequence)? else { break };
            let Frame { offset, size, checksum, ring } = frame;
            let descriptor = Descriptor { offset, size, checksum, ring, sequence, sent_ns: 0, parameters };
            if !self.link.send(descriptor)? {
                break;
            }
            self.throughput.add(size);
            self.throughput.busy = started.elapsed();
            progress.tick(&self.throughput, String::new);
        }
        Ok(())
    }

    /// Reads the next frame straight into the ring. `None`: asked to stop.
    fn publish(&mut self, sequence: u64) -> anyhow::Result<Option<Frame>> {
        let size = self.source.frame_size();
        while !self.stop.is_set() {
            match self.client.loan(size) {
                Ok(mut loan) => {
                    self.source.fill(sequence, &mut loan)?;
                    return Ok(Some(loan.commit().context("failed to commit a frame")?));
                }
                // Readers hold the whole ring for the moment. They give it back when they are done.
                Err(framebuffer::Error::Exhausted { .. }) => {
                    self.waits += 1;
                    self.stop.sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("failed to allocate a frame"),
            }
        }
        Ok(None)
    }
}
