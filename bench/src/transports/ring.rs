//! FrameBuffer itself: copied or in place, announced by a spinning word in shared memory or over a Unix socket.
//!
//! All of its groups share one ring, as the programs around a sidecar do.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};
use framebuffer::{Checksum, Frame, FrameBufferClient, FrameBufferServer, Key, Prefault};

use super::unix_socket::{Streams, connect};
use super::{Ends, Place, Received, Receiver, Sender, Transport, built_in};
use crate::clock;
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{Patience, Waiting};

/// The ring's key; its folder is for this user alone.
const KEY: &str = "bench";

pub(super) const COPY_SPINNING: Transport = Transport {
    id: "framebuffer-copy",
    name: "FrameBuffer, copy",
    ours: true,
    copies: true,
    checksum: true,
    waiting: Waiting::Spin,
    ends: Ends::Processes { writer: |place| writer(place, true, false), reader: |place| reader(place, true, false) },
    server: None,
    available: built_in,
};

pub(super) const COPY_SOCKET: Transport = Transport {
    id: "framebuffer-copy-socket",
    name: "FrameBuffer, copy, told by socket",
    waiting: Waiting::Block,
    ends: Ends::Processes { writer: |place| writer(place, true, true), reader: |place| reader(place, true, true) },
    ..COPY_SPINNING
};

pub(super) const IN_PLACE_SPINNING: Transport = Transport {
    id: "framebuffer-in-place",
    name: "FrameBuffer, in place",
    copies: false,
    checksum: false,
    ends: Ends::Processes { writer: |place| writer(place, false, false), reader: |place| reader(place, false, false) },
    ..COPY_SPINNING
};

pub(super) const IN_PLACE_SOCKET: Transport = Transport {
    id: "framebuffer-in-place-socket",
    name: "FrameBuffer, in place, told by socket",
    waiting: Waiting::Block,
    ends: Ends::Processes { writer: |place| writer(place, false, true), reader: |place| reader(place, false, true) },
    ..IN_PLACE_SPINNING
};

/// Creates the ring, in the folder of all groups.
///
/// # Errors
///
/// If there is not enough shared memory for it.
pub(crate) fn create(run: &Path, size: u64) -> Result<FrameBufferServer> {
    let key = Key::new(KEY).context("the key is not one")?;
    let options = FrameBufferServer::options(size).key(key).dir(run).prefault(Prefault::Wait);
    options.start().with_context(|| format!("failed to create a ring of {} MiB", size >> 20))
}

/// Opens the ring.
pub(super) fn open(place: &Place) -> Result<FrameBufferClient> {
    let run = place.dir.parent().context("the group's folder is in none")?;
    let key = Key::new(KEY).context("the key is not one")?;
    FrameBufferClient::options(key).dir(run).prefault(Prefault::Wait).open().context("failed to open the ring")
}

/// How the writer tells the readers of a frame.
enum Told {
    Word,
    Socket(Streams),
}

struct Writer {
    ring: FrameBufferClient,
    copies: bool,
    whole: bool,
    told: Told,
}

fn writer(place: &Place, copies: bool, socket: bool) -> Result<Box<dyn Sender>> {
    let told = if socket { Told::Socket(Streams::listen(place)?) } else { Told::Word };
    Ok(Box::new(Writer { ring: open(place)?, copies, whole: false, told }))
}

impl Sender for Writer {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        match &mut self.told {
            Told::Word => Ok(()),
            Told::Socket(streams) => streams.accept(),
        }
    }

    fn send(&mut self, control: &Control, number: u64, payload: &[u8]) -> Result<()> {
        let frame = if self.copies {
            self.ring.publish(payload)
        } else {
            let mut loan = self.ring.loan(payload.len() as u64)?;
            if self.whole {
                loan.copy_from_slice(payload);
            }
            loan.commit_unhashed()
        }?;
        match &mut self.told {
            Told::Word => control.post(number, &frame),
            Told::Socket(streams) => streams.each(|stream| stream.write_all(&encode(&frame)))?,
        }
        Ok(())
    }
}

struct Reader {
    ring: FrameBufferClient,
    copies: bool,
    whole: bool,
    processes: usize,
    socket: Option<UnixStream>,
}

fn reader(place: &Place, copies: bool, socket: bool) -> Result<Box<dyn Receiver>> {
    let socket = socket.then(|| connect(place)).transpose()?;
    Ok(Box::new(Reader { ring: open(place)?, copies, whole: false, processes: place.readers + 1, socket }))
}

impl Reader {
    fn told(&mut self, control: &Control, number: u64) -> Result<Frame> {
        if let Some(socket) = &mut self.socket {
            let mut message = [0; 24];
            socket.read_exact(&mut message).context("failed to receive a frame's description")?;
            return Ok(decode(&message));
        }
        let mut patience = Patience::new(Waiting::Spin, self.processes);
        loop {
            if let Some(frame) = control.posted(number) {
                return Ok(frame);
            }
            patience.pass(|| format!("for frame {number}"))?;
        }
    }
}

impl Receiver for Reader {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        Ok(())
    }

    fn receive(&mut self, control: &Control, number: u64, buffer: &mut [u8]) -> Result<Received> {
        let frame = self.told(control, number)?;
        if self.copies {
            self.ring.read_into(&frame, buffer)?;
            return Ok(Received { len: buffer.len(), at: clock::now() });
        }
        let view = self.ring.view(&frame)?;
        let received = Received { len: view.len(), at: clock::now() };
        if self.whole {
            buffer.copy_from_slice(&view);
        }
        Ok(received)
    }

    fn copies(&self) -> bool {
        self.copies
    }
}

fn encode(frame: &Frame) -> [u8; 24] {
    let mut message = [0; 24];
    message[..8].copy_from_slice(&frame.offset.to_le_bytes());
    message[8..16].copy_from_slice(&frame.size.to_le_bytes());
    message[16..].copy_from_slice(&frame.checksum.to_bytes());
    message
}

fn decode(message: &[u8; 24]) -> Frame {
    let word = |at: usize| std::array::from_fn(|index| message[at + index]);
    Frame::new(u64::from_le_bytes(word(0)), u64::from_le_bytes(word(8)), Checksum::from_bytes(word(16)))
}
