//! `frame-reader`: reads the frames that a `frame-writer` announces from a FrameBuffer, and checks every byte.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use framebuffer::{Error, FrameBufferClient, FrameBufferTimeout};
use framebuffer_video::clock::now_ns;
use framebuffer_video::descriptor::{Ack, Descriptor, Line, StreamHeader, line};
use framebuffer_video::shutdown::Stop;
use framebuffer_video::sink::{self, OutputFormat, Sink};
use framebuffer_video::stats::{Latency, Progress, Throughput, Timeouts};
use framebuffer_video::transport::{Address, Connection, Listener, Received};
use framebuffer_video::{log, say};
use serde_json::json;

/// Reads the frames that a frame-writer announces from a FrameBuffer, and checks every byte against the checksum.
///
/// A frame that the ring has already overwritten counts as a timeout and is skipped. Video goes to --output, log and
/// statistics to standard error.
///
/// Y4M has no tag for rgb24, bgr24 and rgba, and ffmpeg reads none: frames in these formats are written raw (read them
/// with ffmpeg -f rawvideo -pixel_format rgb24 -video_size WIDTHxHEIGHT) unless --output-format y4m converts them.
///
/// Exit status: 0 after the end of the stream or SIGINT or SIGTERM, 1 after an error, 2 for wrong arguments. A writer
/// that dies does not end its stream: the reader waits for the next one.
#[allow(clippy::doc_markdown, reason = "the text of --help")]
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to listen for the writer: tcp:HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDRESS", default_value = "tcp:127.0.0.1:7600")]
    listen: Address,
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
    /// How to access the frames
    #[arg(long, value_enum, default_value_t)]
    access: Access,
    /// Sleep this many milliseconds after each frame, as a slow reader would
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow_ms: u64,
    /// Serve the next writer even after the regular end of a stream
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
    /// Hash and use them in place, in the ring, without a copy
    #[default]
    View,
    /// Copy and hash them in one pass, then use the copy: releases the ring sooner
    Copy,
}

/// The reasons for which a frame is not delivered. The last one is no timeout of the ring: writer and reader use
/// different rings.
const REASONS: [&str; 4] = ["overwritten", "not_written", "mismatch", "never_allocated"];

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
    // Only now: until here a signal simply ends the program, and later it must not leave the socket's file behind.
    let stop = Stop::on_signals().context("failed to install signal handlers")?;
    let listener = Listener::bind(&args.listen).with_context(|| format!("failed to listen on {}", args.listen))?;
    say!("frame-reader: listening on {}", listener.address());
    let mut reader = Reader::new(args, client, sink, stop);
    let served = reader.serve_all(&listener, args.forever);
    reader.progress.finish();
    let flushed = reader.sink.flush();
    let reported = reader.report(args.json);
    served?;
    flushed?;
    reported
}

/// How a stream ended.
enum Outcome {
    /// With its last line.
    Ended,
    /// Without: the writer is gone.
    Lost,
    /// The program was asked to stop.
    Stopped,
    /// Whoever reads our output has enough.
    Unwanted,
}

struct Reader {
    client: FrameBufferClient,
    access: Access,
    pause: Duration,
    sink: Sink,
    stop: Stop,
    copy: Vec<u8>,
    progress: Progress,
    throughput: Throughput,
    latency: Latency,
    timeouts: Timeouts,
    /// Frames that were never announced: gaps in the writer's numbers.
    missed: u64,
    writers: u64,
}

impl Reader {
    fn new(args: &Args, client: FrameBufferClient, sink: Sink, stop: Stop) -> Self {
        Self {
            client,
            access: args.access,
            pause: Duration::from_millis(args.slow_ms),
            sink,
            stop,
            copy: Vec::new(),
            progress: Progress::new(args.progress),
            throughput: Throughput::default(),
            latency: Latency::new(),
            timeouts: Timeouts::new(&REASONS),
            missed: 0,
            writers: 0,
        }
    }

    /// Serves one writer after the other.
    fn serve_all(&mut self, listener: &Listener, forever: bool) -> anyhow::Result<()> {
        while let Some(connection) = listener.accept(&self.stop).context("failed to accept a writer")? {
            match self.serve(connection)? {
                Outcome::Ended if forever => {
                    say!("frame-reader: the stream has ended, waiting for the next writer");
                }
                Outcome::Lost => say!("frame-reader: the writer is gone, waiting for the next one"),
                Outcome::Ended | Outcome::Stopped | Outcome::Unwanted => break,
            }
        }
        Ok(())
    }

    /// Serves one writer until its end.
    fn serve(&mut self, mut connection: Connection) -> anyhow::Result<Outcome> {
        let Some(header) = self.receive_header(&mut connection) else { return Ok(self.lost()) };
        self.sink.begin(&header.format)?;
        self.writers += 1;
        let frame_size = header.format.video()?.frame_size;
        let (started, busy) = (Instant::now(), self.throughput.busy);
        let mut expected = None;
        while !self.stop.is_set() {
            let timeouts = &self.timeouts;
            self.progress.tick(&self.throughput, || format!(", {timeouts}"));
            let descriptor = match next_line(&mut connection, frame_size) {
                Next::Line(Line::Frame(descriptor)) => descriptor,
                Next::Line(Line::End(frames)) => {
                    self.missed += frames.saturating_sub(expected.unwrap_or(0));
                    return Ok(Outcome::Ended);
                }
                Next::Nothing => continue,
                Next::Closed => return Ok(self.lost()),
            };
            let sequence = descriptor.sequence;
            self.missed += expected.map_or(0, |expected| sequence.saturating_sub(expected));
            expected = Some(sequence.saturating_add(1));
            let timeout = match self.take(&descriptor) {
                Err(error) if is_unwanted(&error) => return Ok(Outcome::Unwanted),
                taken => taken?.map(str::to_owned),
            };
            self.throughput.busy = busy + started.elapsed();
            if header.window.is_some() && connection.send(&line(&Ack { sequence, timeout })).is_err() {
                return Ok(self.lost());
            }
        }
        Ok(Outcome::Stopped)
    }

    /// How a stream ended that was not ended by its writer.
    fn lost(&self) -> Outcome {
        if self.stop.is_set() { Outcome::Stopped } else { Outcome::Lost }
    }

    /// The first line. A connection that begins with something else is dropped, and says so.
    fn receive_header(&self, connection: &mut Connection) -> Option<StreamHeader> {
        while !self.stop.is_set() {
            let error = match connection.receive() {
                Ok(Received::Line(text)) => match StreamHeader::parse(text) {
                    Ok(header) => return Some(header),
                    Err(error) => anyhow::Error::from(error),
                },
                Ok(Received::Nothing) => continue,
                Ok(Received::Closed(_)) => return None,
                Err(error) => error.into(),
            };
            say!("frame-reader: refusing a writer: {error:#}");
            return None;
        }
        None
    }

    /// Fetches a frame and hands it on. Returns the reason if it is not there.
    fn take(&mut self, descriptor: &Descriptor) -> anyhow::Result<Option<&'static str>> {
        let delivered = match self.access {
            Access::View => self.deliver_view(descriptor),
            Access::Copy => self.deliver_copy(descriptor),
        };
        let reason = match delivered {
            Ok(()) => {
                self.throughput.add(descriptor.size);
                self.stop.sleep(self.pause);
                return Ok(None);
            }
            Err(Undelivered::Ring(Error::Timeout(FrameBufferTimeout { reason, .. }))) => reason.label(),
            Err(Undelivered::Ring(error @ (Error::NeverAllocated { .. } | Error::OtherRing { .. }))) => {
                let reason = if matches!(error, Error::OtherRing { .. }) { "other_ring" } else { "never_allocated" };
                if self.timeouts.count(reason) == 0 {
                    say!("frame-reader: {error}: do writer and reader use the same sidecar?");
                }
                reason
            }
            Err(Undelivered::Ring(error)) => return Err(error).context("failed to read a frame"),
            Err(Undelivered::Sink(error)) => return Err(error.into()),
        };
        self.timeouts.add(reason);
        Ok(Some(reason))
    }

    fn deliver_view(&mut self, descriptor: &Descriptor) -> Result<(), Undelivered> {
        let view = self.client.view(&descriptor.frame())?;
        view.verify().map_err(Error::from)?;
        self.latency.record(now_ns().saturating_sub(descriptor.sent_ns));
        self.sink.frame(descriptor.sequence, &descriptor.parameters, &view)?;
        Ok(())
    }

    fn deliver_copy(&mut self, descriptor: &Descriptor) -> Result<(), Undelivered> {
        // All frames of a stream have this size, which the stream's header bounds.
        self.copy.resize(descriptor.size as usize, 0);
        self.client.read_into(&descriptor.frame(), &mut self.copy)?;
        self.latency.record(now_ns().saturating_sub(descriptor.sent_ns));
        self.sink.frame(descriptor.sequence, &descriptor.parameters, &self.copy)?;
        Ok(())
    }

    fn report(&self, as_json: bool) -> anyhow::Result<()> {
        let Self { throughput, latency, timeouts, missed, writers, .. } = self;
        let latency = latency.summary();
        say!("frame-reader: {throughput}, {latency}, {timeouts}, {missed} missed, {writers} writers");
        if as_json {
            let summary = json!({
                "frames": throughput.frames,
                "bytes": throughput.bytes,
                "seconds": throughput.busy.as_secs_f64(),
                "frames_per_second": throughput.frames_per_second(),
                "gigabytes_per_second": throughput.gigabytes_per_second(),
                "latency_us": latency,
                "timeouts": timeouts,
                "missed": missed,
                "writers": writers,
            });
            log::print(&summary).context("failed to write the statistics")?;
        }
        Ok(())
    }
}

/// Why a frame was not delivered.
enum Undelivered {
    Ring(Error),
    Sink(sink::Error),
}

impl From<Error> for Undelivered {
    fn from(error: Error) -> Self {
        Self::Ring(error)
    }
}

impl From<sink::Error> for Undelivered {
    fn from(error: sink::Error) -> Self {
        Self::Sink(error)
    }
}

enum Next {
    Line(Line),
    /// None yet.
    Nothing,
    /// None any more, or none that makes sense.
    Closed,
}

fn next_line(connection: &mut Connection, frame_size: u64) -> Next {
    let error = match connection.receive() {
        Ok(Received::Line(text)) => match Line::parse(text, frame_size) {
            Ok(line) => return Next::Line(line),
            Err(error) => anyhow::Error::from(error),
        },
        Ok(Received::Nothing) => return Next::Nothing,
        Ok(Received::Closed(_)) => return Next::Closed,
        Err(error) => error.into(),
    };
    say!("frame-reader: dropping the writer: {error:#}");
    Next::Closed
}

/// Whether the output's reader is gone, as `head` goes when it has enough.
fn is_unwanted(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(sink::Error::Write(error)) if error.kind() == ErrorKind::BrokenPipe)
}
