//! A worker: the writer or a reader of one transport, in a process of its own.
//!
//! It opens its end, then follows its orders ([`crate::orders`]) until there are no more. The loops here measure all
//! transports; `transports/shared_memory.py` has the same in Python.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::control::Control;
use crate::orders::{Answer, Frames, Measure, Order, Run};
use crate::transports::{Copier, Ends, Place, Receiver, Sender, Transport};
use crate::{payload, wait};

/// Be one end of a transport.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The transport
    transport: String,
    /// The folder of the group
    dir: PathBuf,
    /// How many readers the group has
    readers: usize,
    /// Which of them this is; without it, the writer
    reader: Option<usize>,
}

/// Follows the coordinator's orders.
pub(crate) fn run(args: &Args) -> Result<()> {
    let transport = Transport::find(&args.transport)?;
    let place = Place { dir: args.dir.clone(), readers: args.readers, reader: args.reader };
    let control = Control::open(&place.dir, transport.waiting)?;
    let mut worker = match (transport.ends, args.reader) {
        (Ends::Processes { writer, .. }, None) => Worker::Writer(writer(&place)?),
        (Ends::Processes { reader, .. }, Some(_)) => Worker::Reader(reader(&place)?),
        (Ends::Alone { copier }, _) => Worker::Alone(copier()),
        (Ends::Python, _) => anyhow::bail!("{} is not a worker of this program", transport.id),
    };
    // Not before: threads that opening starts (to touch memory, say) are not to be bound to one processor.
    let which = args.reader.map_or(0, |reader| reader + 1);
    wait::pin(transport.waiting, args.readers + 1, which)?;
    let mut state = State { place, control, number: 0, frames: None, buffer: Vec::new() };
    answer(&Answer::default())?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("failed to read an order")?;
        let order = serde_json::from_str(&line).with_context(|| format!("not an order: {line}"))?;
        let result = match order {
            Order::Prepare(frames) => worker.prepare(&mut state, frames),
            Order::Run(run) => worker.run(&mut state, run),
        };
        answer(&result.unwrap_or_else(|error| Answer { error: Some(format!("{error:#}")), ..Answer::default() }))?;
    }
    Ok(())
}

fn answer(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer).context("failed to encode an answer")?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).context("failed to answer")
}

enum Worker {
    Writer(Box<dyn Sender>),
    Reader(Box<dyn Receiver>),
    Alone(Copier),
}

/// The state that all runs of a worker share.
struct State {
    place: Place,
    control: Control,
    /// The number of the last frame.
    number: u64,
    frames: Option<Frames>,
    /// The writer's payload, or the buffer to which a reader copies. Reused for each frame.
    buffer: Vec<u8>,
}

impl Worker {
    fn prepare(&mut self, state: &mut State, frames: Frames) -> Result<Answer> {
        state.buffer = vec![0xA5; frames.size];
        state.frames = Some(frames);
        match self {
            Self::Writer(sender) => sender.prepare(&frames)?,
            Self::Reader(receiver) => receiver.prepare(&frames)?,
            Self::Alone(_) => {}
        }
        Ok(Answer::default())
    }

    fn run(&mut self, state: &mut State, run: Run) -> Result<Answer> {
        let frames = state.frames.context("told to run before it was told to prepare")?;
        match self {
            Self::Writer(sender) => write(sender.as_mut(), state, &frames, run),
            Self::Reader(receiver) => read(receiver.as_mut(), state, &frames, run),
            Self::Alone(copy) => Ok(copy_alone(copy, &state.buffer, run)),
        }
    }
}

fn write(sender: &mut dyn Sender, state: &mut State, frames: &Frames, run: Run) -> Result<Answer> {
    let readers = state.place.readers;
    let mut started = clock::now();
    for turn in 0..run.warm + run.count {
        if turn == run.warm {
            // The frames before are done.
            state.control.wait_until_taken(readers, state.number)?;
            started = clock::now();
        }
        state.number += 1;
        payload::mark(&mut state.buffer, state.number, frames.whole);
        if let Measure::Throughput = run.measure {
            state.control.wait_until_taken(readers, state.number.saturating_sub(frames.window))?;
        }
        state.control.stamp(clock::now());
        sender.send(&state.control, state.number, &state.buffer)?;
        if let Measure::Latency = run.measure {
            state.control.wait_until_taken(readers, state.number)?;
        }
    }
    state.control.wait_until_taken(readers, state.number)?;
    Ok(Answer { started, ..Answer::default() })
}

fn read(receiver: &mut dyn Receiver, state: &mut State, frames: &Frames, run: Run) -> Result<Answer> {
    let reader = state.place.reader.context("the writer was told to read")?;
    let mut latencies = Vec::with_capacity(run.count as usize);
    let mut ended = 0;
    for turn in 0..run.warm + run.count {
        state.number += 1;
        let received = receiver.receive(&state.control, state.number, &mut state.buffer)?;
        ended = received.at;
        if run.measure == Measure::Latency && turn >= run.warm {
            latencies.push(received.at.saturating_sub(state.control.stamped()));
        }
        ensure!(
            received.len == frames.size,
            "frame {} has {} bytes instead of {}",
            state.number,
            received.len,
            frames.size
        );
        if frames.whole || receiver.copies() {
            payload::check(&state.buffer, state.number, frames.whole)?;
        }
        state.control.take(reader, state.number);
    }
    Ok(Answer { latencies, ended, ..Answer::default() })
}

fn copy_alone(copy: &mut dyn FnMut(&[u8]), payload: &[u8], run: Run) -> Answer {
    (0..run.warm).for_each(|_| copy(payload));
    let mut answer = Answer { started: clock::now(), ..Answer::default() };
    for _ in 0..run.count {
        let started = clock::now();
        copy(payload);
        answer.ended = clock::now();
        if let Measure::Latency = run.measure {
            answer.latencies.push(answer.ended - started);
        }
    }
    answer
}
