//! FrameBuffer's channels, in place: readers spin, or sleep until they are woken.
//!
//! The ring is that of the other rows of FrameBuffer; each group has a channel of its own in it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use framebuffer::{FrameBufferClient, Publisher, Start, Subscriber};

use super::ring::{IN_PLACE_SPINNING, open};
use super::{Ends, Place, Received, Receiver, Sender, Transport};
use crate::clock;
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{PATIENCE, Patience, Waiting};

pub(super) const SPINNING: Transport = Transport {
    id: "framebuffer-channel",
    name: "FrameBuffer channel, in place",
    ends: Ends::Processes { writer, reader: |place| reader(place, Waiting::Spin) },
    ..IN_PLACE_SPINNING
};

pub(super) const ASLEEP: Transport = Transport {
    id: "framebuffer-channel-asleep",
    name: "FrameBuffer channel, in place, asleep",
    waiting: Waiting::Block,
    ends: Ends::Processes { writer, reader: |place| reader(place, Waiting::Block) },
    ..SPINNING
};

/// The ring, for as long as the process lives.
fn ring(place: &Place) -> Result<&'static FrameBufferClient> {
    Ok(Box::leak(Box::new(open(place)?)))
}

/// The channel of a group.
fn name(place: &Place) -> String {
    place.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

struct Writer {
    publisher: Publisher<'static>,
    whole: bool,
}

fn writer(place: &Place) -> Result<Box<dyn Sender>> {
    let publisher = ring(place)?.publisher(&name(place)).context("failed to open a publisher")?;
    Ok(Box::new(Writer { publisher, whole: false }))
}

impl Sender for Writer {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        Ok(())
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        let mut loan = self.publisher.loan(payload.len() as u64)?;
        if self.whole {
            loan.copy_from_slice(payload);
        }
        loan.send_unhashed().context("failed to send over a channel")?;
        Ok(())
    }
}

struct Reader {
    subscriber: Subscriber<'static>,
    waiting: Waiting,
    processes: usize,
    whole: bool,
}

fn reader(place: &Place, waiting: Waiting) -> Result<Box<dyn Receiver>> {
    let subscriber = ring(place)?.subscriber_options(&name(place)).start(Start::New).spin(Duration::ZERO).open();
    let subscriber = subscriber.context("failed to open a subscriber")?;
    Ok(Box::new(Reader { subscriber, waiting, processes: place.readers + 1, whole: false }))
}

impl Receiver for Reader {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        Ok(())
    }

    fn receive(&mut self, _: &Control, number: u64, buffer: &mut [u8]) -> Result<Received> {
        let mut patience = Patience::new(self.waiting, self.processes);
        let sample = loop {
            let sample = match self.waiting {
                Waiting::Spin => self.subscriber.try_next(),
                Waiting::Block => self.subscriber.next(PATIENCE),
            };
            if let Some(sample) = sample.context("failed to receive over a channel")? {
                break sample;
            }
            patience.pass(|| format!("for frame {number}"))?;
        };
        let received = Received { len: sample.len(), at: clock::now() };
        ensure!(self.subscriber.lost() == 0, "{} frames were lost before frame {number}", self.subscriber.lost());
        if self.whole {
            buffer.copy_from_slice(&sample);
        }
        Ok(received)
    }

    fn copies(&self) -> bool {
        false
    }
}
