//! `frame-reader`: receives the frames of a video from a channel of a FrameBuffer, and checks every byte.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use framebuffer_video::clock::now_ns;
use framebuffer_video::rate::Rate;
use framebuffer_video::receiver::{Frame, Received, Receiver};
use framebuffer_video::shutdown::Stop;
use framebuffer_video::sink::{self, OutputFormat, Sink};
use framebuffer_video::stats::{Latency, Progress, Throughput};
use framebuffer_video::{log, say};
use serde_json::json;

/// Receives the frames of a video from a channel of a FrameBuffer, and checks every byte against the checksum.
///
/// Begins with the next frame that is sent. A frame that the ring overwrites before its turn is lost, and counted;
/// with --lossless the writer waits instead. Video goes to --output, log and statistics to standard error.
///
/// Y4M has no tag for rgb24, bgr24 and rgba, and ffmpeg reads none: frames in these formats are written raw (read them
/// with ffmpeg -f rawvideo -pixel_format rgb24 -video_size WIDTHxHEIGHT) unless --output-format y4m converts them.
///
/// Exit status: 0 after the end of the stream or SIGINT or SIGTERM, 1 after an error, 2 for wrong arguments. A writer
/// that dies does not end its stream: the reader waits for the next one.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[allow(clippy::doc_markdown, reason = "the text of --help")]
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The channel
    #[arg(long, value_name = "NAME", default_value = "video")]
    channel: String,
    /// Lose no frame: the writer waits for this reader
    #[arg(long)]
    lossless: bool,
    /// The sidecar: http://127.0.0.1:7570 or unix:/path; default is FRAMEBUFFER_URL
    #[arg(long)]
    url: Option<String>,
    /// Write the video to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
    /// Write each frame's MD5 as ffmpeg -an -f framemd5 does; - is standard output
    #[arg(long, value_name = "FILE")]
    framemd5: Option<PathBuf>,
    /// Frames per second for the headers of these files, where the channel says nothing of them: raw frames
    #[arg(long, value_name = "FPS")]
    rate: Option<Rate>,
    /// How to access the frames
    #[arg(long, value_enum, default_value_t)]
    access: Access,
    /// Sleep this many milliseconds after each frame, as a slow reader would
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow_ms: u64,
    /// Receive the next stream, even after the regular end of one
    #[arg(long)]
    forever: bool,
    /// Print a line on standard error each second
    #[arg(long)]
    progress: bool,
    /// At the end, print the statistics on standard output, as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Access {
    /// Use them in place, in the ring, without a copy
    #[default]
    View,
    /// Copy them and use the copy: releases the ring sooner
    Copy,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("frame-reader: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if usize::from(stdout(&args.output)) + usize::from(stdout(&args.framemd5)) + usize::from(args.json) > 1 {
        bail!("standard output can be used only once: by --output -, by --framemd5 - or by --json");
    }
    let client = match &args.url {
        Some(url) => framebuffer::connect(url),
        None => framebuffer::connect_env(),
    };
    let client = client.context("failed to connect to the sidecar")?;
    let sink = Sink::new(args.output.as_deref(), args.output_format, args.framemd5.as_deref())?;
    let receiver = Receiver::open(&client, &args.channel, args.lossless, args.rate)
        .with_context(|| format!("failed to subscribe to channel {:?}", args.channel))?;
    // Only now: until here a signal simply ends the program.
    let stop = Stop::on_signals().context("failed to install signal handlers")?;
    say!("frame-reader: subscribed to channel {:?}", args.channel);
    let mut reader = Reader::new(args, receiver, sink, stop);
    let received = reader.receive_all(args.forever);
    reader.progress.finish();
    let flushed = reader.sink.flush();
    let reported = reader.report(args.json);
    received?;
    flushed?;
    reported
}

struct Reader<'c> {
    receiver: Receiver<'c>,
    access: Access,
    pause: Duration,
    sink: Sink,
    stop: Stop,
    copy: Vec<u8>,
    progress: Progress,
    throughput: Throughput,
    latency: Latency,
    /// Frames with other bytes than were sent.
    damaged: u64,
    writers: u64,
}

impl<'c> Reader<'c> {
    fn new(args: &Args, receiver: Receiver<'c>, sink: Sink, stop: Stop) -> Self {
        Self {
            receiver,
            access: args.access,
            pause: Duration::from_millis(args.slow_ms),
            sink,
            stop,
            copy: Vec::new(),
            progress: Progress::new(args.progress),
            throughput: Throughput::default(),
            latency: Latency::new(),
            damaged: 0,
            writers: 0,
        }
    }

    /// Receives one stream after the other, `forever` or until one has ended, until the program is asked to stop, or
    /// until whoever reads our output has enough.
    fn receive_all(&mut self, forever: bool) -> anyhow::Result<()> {
        // Of the stream that flows: when it began, and the time that all streams before it took.
        let (mut began, mut before) = (Instant::now(), Duration::ZERO);
        while !self.stop.is_set() {
            let lost = self.receiver.lost();
            self.progress.tick(&self.throughput, || format!(", {lost} lost"));
            let frame = match self.receiver.receive().context("failed to receive")? {
                Received::Nothing => continue,
                Received::Gone => {
                    say!("frame-reader: the writer is gone, waiting for the next one");
                    continue;
                }
                Received::End if forever => {
                    say!("frame-reader: the stream has ended, waiting for the next one");
                    continue;
                }
                Received::End => break,
                Received::First(frame) => {
                    if let Some(format) = self.receiver.format() {
                        self.sink.begin(format)?;
                    }
                    self.writers += 1;
                    (began, before) = (Instant::now(), self.throughput.busy);
                    frame
                }
                Received::Frame(frame) => frame,
            };
            if self.take(frame).or_else(until_unwanted)? == Wanted::NoMore {
                break;
            }
            self.throughput.busy = before + began.elapsed();
        }
        Ok(())
    }

    /// Checks a frame and hands it on.
    fn take(&mut self, Frame { sample, sequence }: Frame<'c>) -> anyhow::Result<Wanted> {
        if let Err(timeout) = sample.view().verify() {
            say!("frame-reader: frame {sequence}: {timeout}");
            self.damaged += 1;
            return Ok(Wanted::More);
        }
        self.latency.record(now_ns().saturating_sub(sample.committed()));
        let held = match self.access {
            Access::View => Some(sample),
            Access::Copy => {
                self.copy.clear();
                self.copy.extend_from_slice(&sample);
                None
            }
        };
        let frame = held.as_deref().unwrap_or(&self.copy);
        let (picture, parameters) = self.receiver.split(frame);
        self.sink.frame(sequence, parameters, picture)?;
        self.throughput.add(picture.len() as u64);
        self.stop.sleep(self.pause);
        Ok(Wanted::More)
    }

    fn report(&self, as_json: bool) -> anyhow::Result<()> {
        let Self { throughput, latency, damaged, writers, receiver, .. } = self;
        let (latency, lost, refused) = (latency.summary(), receiver.lost(), receiver.refused());
        say!(
            "frame-reader: {throughput}, {latency}, {lost} lost, {damaged} damaged, {refused} refused, \
             {writers} writers"
        );
        if as_json {
            let summary = json!({
                "frames": throughput.frames,
                "bytes": throughput.bytes,
                "seconds": throughput.busy.as_secs_f64(),
                "frames_per_second": throughput.frames_per_second(),
                "gigabytes_per_second": throughput.gigabytes_per_second(),
                "latency_us": latency,
                "lost": lost,
                "damaged": damaged,
                "refused": refused,
                "writers": writers,
            });
            log::print(&summary).context("failed to write the statistics")?;
        }
        Ok(())
    }
}

/// Whether whoever reads our output wants more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    More,
    NoMore,
}

/// An output whose reader is gone, as `head` goes when it has enough, is no error.
fn until_unwanted(error: anyhow::Error) -> anyhow::Result<Wanted> {
    match error.downcast_ref() {
        Some(sink::Error::Write(write)) if write.kind() == ErrorKind::BrokenPipe => Ok(Wanted::NoMore),
        _ => Err(error),
    }
}
