//! [`Group`]: the processes of one transport, and the measurements of a run of frames through them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::control::{Control, MOST_READERS};
use crate::folder::RunFolder;
use crate::orders::{Answer, Frames, Measure, Order, Run};
use crate::process::{Process, Worker};
use crate::transports::{Ends, Transport, python};

/// How long a worker may take for one order. Its own patience for one frame is shorter, and says more when it ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// A writer and its readers.
pub(crate) struct Group {
    transport: &'static Transport,
    /// Readers first, the writer last. All are ended before the server between them.
    workers: Vec<Worker>,
    _server: Option<Process>,
    frames: Option<Frames>,
}

/// The measurements of a run.
#[derive(Debug)]
pub(crate) struct Measured {
    /// For each frame, nanoseconds until the last reader had it. Only of latency runs.
    pub(crate) latencies: Vec<u64>,
    /// Nanoseconds from the start of the first frame until the last reader had the last one.
    pub(crate) took: u64,
    /// The time that the run took as a whole, with the frames before the measured ones.
    pub(crate) wall: Duration,
}

impl Group {
    /// Starts the processes and waits until their ends are open, the writer's first.
    pub(crate) fn start(transport: &'static Transport, readers: usize, run: &RunFolder) -> Result<Self> {
        ensure!(readers <= MOST_READERS, "{readers} readers are more than {MOST_READERS}");
        let dir = run.group(&format!("{}-{readers}", transport.id))?;
        Control::create(&dir)?;
        let server = transport.server.map(|server| {
            let name = format!("{}-server", transport.id);
            Process::start(name, &dir, &server(&dir), Stdio::null(), Stdio::null())
        });
        let server = server.transpose()?;
        let start = |reader: Option<usize>| {
            let name = match reader {
                None => format!("{} writer", transport.id),
                Some(reader) => format!("{} reader {reader}", transport.id),
            };
            Worker::start(name, &dir, &command(transport, &dir, readers, reader)?)
        };
        let mut writer = start(None)?;
        collect(std::slice::from_mut(&mut writer))?;
        let others = if let Ends::Alone { .. } = transport.ends { 0 } else { readers };
        let mut workers = (0..others).map(|reader| start(Some(reader))).collect::<Result<Vec<_>>>()?;
        collect(&mut workers)?;
        workers.push(writer);
        Ok(Self { transport, workers, _server: server, frames: None })
    }

    /// Its transport.
    pub(crate) fn transport(&self) -> &'static Transport {
        self.transport
    }

    /// Gets all ends ready for such frames, the writer's first.
    pub(crate) fn prepare(&mut self, frames: Frames) -> Result<()> {
        for worker in self.workers.iter_mut().rev() {
            worker.order(Order::Prepare(frames))?;
            collect(std::slice::from_mut(worker))?;
        }
        self.frames = Some(frames);
        Ok(())
    }

    /// Moves frames.
    pub(crate) fn run(&mut self, run: Run) -> Result<Measured> {
        let begun = Instant::now();
        let frames = self.frames.context("not prepared")?;
        self.workers.iter_mut().try_for_each(|worker| worker.order(Order::Run(run)))?;
        let answers = collect(&mut self.workers)?;
        let started = answers.iter().map(|answer| answer.started).max().unwrap_or_default();
        let ended = answers.iter().map(|answer| answer.ended).max().unwrap_or_default();
        let mut latencies = Vec::new();
        for answer in answers.iter().filter(|answer| !answer.latencies.is_empty()) {
            latencies.resize(answer.latencies.len(), 0);
            for (last, latency) in latencies.iter_mut().zip(&answer.latencies) {
                *last = *latency.max(last);
            }
        }
        let expected = if let Measure::Latency = run.measure { run.count } else { 0 };
        ensure!(latencies.len() as u64 == expected, "{} of {expected} latencies came", latencies.len());
        ensure!(ended > started, "frames of {} bytes took no time", frames.size);
        Ok(Measured { latencies, took: ended - started, wall: begun.elapsed() })
    }

    /// Lets all its processes end, readers first.
    pub(crate) fn finish(self) -> Result<()> {
        self.workers.into_iter().try_for_each(Worker::finish)
    }
}

/// Waits for an answer from each of `workers`. They depend on each other: if one has died, the others wait in vain.
pub(crate) fn collect(workers: &mut [Worker]) -> Result<Vec<Answer>> {
    let deadline = Instant::now() + PATIENCE;
    let mut answers = Vec::with_capacity(workers.len());
    while let Some(worker) = workers.get_mut(answers.len()) {
        if let Some(answer) = worker.poll()? {
            answers.push(answer);
            continue;
        }
        ensure!(Instant::now() < deadline, "{} did not answer within {} s", worker.name(), PATIENCE.as_secs());
        workers.iter_mut().try_for_each(Worker::check)?;
    }
    Ok(answers)
}

fn command(transport: &Transport, dir: &Path, readers: usize, reader: Option<usize>) -> Result<Command> {
    if let Ends::Python = transport.ends {
        return python::command(dir, readers, reader);
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("worker").arg(transport.id).arg(dir).arg(readers.to_string());
    command.args(reader.map(|reader| reader.to_string()));
    Ok(command)
}
