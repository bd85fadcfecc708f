//! [`Pipeline`]: the processes of the demo, their command lines, the order of their start and end, and failures.

use std::io::Read;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use framebuffer_contract::kubernetes::SIDECAR;
use framebuffer_contract::variables;
use nix::sys::signal::Signal;

use super::child::Child;
use super::folder::Folder;
use super::input::Input;
use super::report::Report;
use super::{Args, Event, Side};

/// How often the processes are checked while no event comes.
const TICK: Duration = Duration::from_millis(20);
/// How long the sidecar and the reader may take until the reader has subscribed.
const START: Duration = Duration::from_secs(30);
/// The channel that the video goes over.
const CHANNEL: &str = "video";
/// What the reader says once the writer may begin.
const SUBSCRIBED: &str = "subscribed to channel";
/// Variables that would change the programs' behaviour.
const VARIABLES: [&str; 5] =
    [variables::KEY, variables::KEEP, variables::MODE, variables::LOG_FORMAT, variables::PREFAULT];

/// The processes, as far as their command lines depend on it.
pub(super) struct Pipeline<'a> {
    pub(super) args: &'a Args,
    pub(super) input: &'a Input,
    /// Frames that the writer keeps for the reader.
    pub(super) keep: u64,
    /// The folder of the three programs.
    pub(super) binaries: &'a Path,
    pub(super) folder: &'a Folder,
}

/// The processes that end by themselves when the video ends, in that order.
type Working<'a> = [&'a mut Child];

/// How the video ended.
#[derive(Debug)]
pub(super) enum Streamed {
    /// By itself, with this report.
    ToTheEnd(Report),
    /// By a signal.
    Interrupted(framebuffer_signals::Signal),
}

impl Pipeline<'_> {
    /// Starts the processes and follows the video to its end.
    pub(super) fn stream(&self, sender: Sender<Event>, events: &Receiver<Event>) -> Result<Streamed> {
        let started = Instant::now();
        let mut sidecar = Child::start("sidecar", &self.sidecar(), Stdio::null(), Signal::SIGTERM, |_| ())?;
        let progress = sender.clone();
        let said = move |line: &str| _ = progress.send(Event::Progress(line.into()));
        let mut reader = Child::start("reader", &self.reader(), Stdio::null(), Signal::SIGKILL, said)?;
        if let Some(signal) = wait_for_reader(&mut [&mut sidecar, &mut reader], events)? {
            return Ok(Streamed::Interrupted(signal));
        }
        println!("ring       {} in shared memory, in use after {} ms", self.args.size, started.elapsed().as_millis());
        send_result(Side::Reader, reader.take_stdout()?, sender.clone());
        let (mut decoder, stdin) = self.start_decoder()?;
        let mut writer = Child::start("writer", &self.writer(), stdin, Signal::SIGKILL, |_| ())?;
        send_result(Side::Writer, writer.take_stdout()?, sender);
        println!("video      {}", self.input.describe());
        println!("channel    {CHANNEL:?}: the reader is {} behind at most, then the writer waits", frames(self.keep));
        println!("processes  sidecar {}, writer {}, reader {}\n", sidecar.pid(), writer.pid(), reader.pid());

        let mut report = Report::default();
        let mut working: Vec<&mut Child> = decoder.iter_mut().chain([&mut writer, &mut reader]).collect();
        let followed = follow(&mut report, &mut sidecar, &mut working, events);
        report.end_progress();
        if let Some(signal) = followed? {
            return Ok(Streamed::Interrupted(signal));
        }
        let status = sidecar.stop(Signal::SIGTERM)?;
        ensure!(status.success(), sidecar.describe_end(status));
        Ok(Streamed::ToTheEnd(report))
    }

    /// Starts the decoder, if the input needs one; returns it with the writer's standard input.
    fn start_decoder(&self) -> Result<(Option<Child>, Stdio)> {
        let Some(command) = self.input.decoder() else { return Ok((None, Stdio::null())) };
        let mut decoder = Child::start("decoder", &command, Stdio::null(), Signal::SIGKILL, |_| ())?;
        let output = decoder.take_stdout()?;
        Ok((Some(decoder), output.into()))
    }

    fn sidecar(&self) -> Command {
        let mut command = self.program(SIDECAR);
        command.args(["serve", "--log-level=warn", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--size"]);
        command.arg(self.args.size.bytes().to_string()).arg("--socket").arg(self.folder.api());
        command
    }

    fn reader(&self) -> Command {
        let mut command = self.program("frame-reader");
        command.args(["--channel", CHANNEL, "--lossless", "--progress", "--json"]);
        if let Some(rate) = &self.args.rate {
            command.arg("--rate").arg(rate);
        }
        if let Some(output) = &self.args.output {
            command.arg("--output").arg(output).args(["--output-format", "y4m"]);
        }
        command
    }

    fn writer(&self) -> Command {
        let mut command = self.program("frame-writer");
        command.args(["--channel", CHANNEL, "--json", "--keep"]).arg(self.keep.to_string());
        let generated = matches!(self.input, Input::Generated(_));
        if let Some(seconds) = self.args.seconds.or(generated.then_some(5)) {
            command.arg("--seconds").arg(seconds.to_string());
        }
        if let Some(rate) = &self.args.rate {
            command.arg("--rate").arg(rate);
        }
        match self.input {
            Input::Generated(resolution) => _ = command.arg("--generate").arg(format!("{resolution}:rgb24")),
            Input::Y4m(file) => _ = command.arg(file),
            Input::Ffmpeg(_) => _ = command.arg("-"),
        }
        command
    }

    /// One of our programs, with the variables that lead to the ring.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.env(variables::DIR, self.folder.path());
        command.env(variables::URL, address(&self.folder.api()));
        command
    }
}

fn frames(count: u64) -> String {
    if count == 1 { "1 frame".into() } else { format!("{count} frames") }
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Waits until the reader says that it has subscribed; an error if one of `children` ends first. A signal ends the
/// wait.
fn wait_for_reader(
    children: &mut Working<'_>,
    events: &Receiver<Event>,
) -> Result<Option<framebuffer_signals::Signal>> {
    let deadline = Instant::now() + START;
    loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Interrupt(signal)) => return Ok(Some(signal)),
            Ok(Event::Progress(line)) if line.contains(SUBSCRIBED) => return Ok(None),
            _ => {}
        }
        for child in children.iter_mut() {
            ensure_running(child)?;
        }
        if Instant::now() > deadline {
            let name = children.last().map_or("process", |child| child.name());
            bail!("the {name} was not ready after {} s", START.as_secs());
        }
    }
}

/// Shows the reader's progress until all of `working` have ended or a signal comes; an error if one fails, or if the
/// sidecar ends.
fn follow(
    report: &mut Report,
    sidecar: &mut Child,
    working: &mut Working<'_>,
    events: &Receiver<Event>,
) -> Result<Option<framebuffer_signals::Signal>> {
    loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Interrupt(signal)) => return Ok(Some(signal)),
            Ok(Event::Progress(line)) => report.progress(&line),
            Ok(Event::Result(side, text)) => report.result(side, text),
            // The thread for signals keeps a sender until the end: the channel never disconnects.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                if !still_running(sidecar, working)? && report.is_complete() {
                    return Ok(None);
                }
            }
        }
    }
}

/// Whether any of `working` still runs; an error if one has failed, or if the sidecar has ended.
fn still_running(sidecar: &mut Child, working: &mut Working<'_>) -> Result<bool> {
    let mut running = false;
    let mut failures = Vec::new();
    for child in working {
        running |= child.poll()?.is_none();
        failures.extend(child.failure()?);
    }
    if let Some(status) = sidecar.poll()? {
        failures.insert(0, format!("too early, {}", sidecar.describe_end(status)));
    }
    // A process that fails makes others fail: report all, so that the first is among them.
    ensure!(failures.is_empty(), failures.join("\n"));
    Ok(running)
}

fn ensure_running(child: &mut Child) -> Result<()> {
    match child.poll()? {
        Some(status) => bail!("too early, {}", child.describe_end(status)),
        None => Ok(()),
    }
}

/// Sends the whole output of one side as an event when it ends.
fn send_result(side: Side, mut output: ChildStdout, sender: Sender<Event>) {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // After an error, whoever parses the text reports that it is incomplete.
        let _ = output.read_to_end(&mut text);
        let _ = sender.send(Event::Result(side, String::from_utf8_lossy(&text).into_owned()));
    });
}
