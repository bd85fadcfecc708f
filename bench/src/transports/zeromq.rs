//! ZeroMQ over `ipc://`: libzmq, as the crate `zmq` compiles it, one publisher.
//!
//! A publisher and not a pusher, since one message then serves all readers. No high-water mark: the writer paces
//! itself, so that nothing is dropped. Readers receive into a buffer that is used again.

use anyhow::{Context as _, Result};
use zmq::{Context, Socket, SocketType};

use super::{Ends, Place, Received, Receiver, Sender, Transport};
use crate::clock;
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{PATIENCE, Waiting};

pub(super) const IPC: Transport = Transport {
    id: "zeromq",
    name: "ZeroMQ, ipc",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Block,
    ends: Ends::Processes { writer, reader },
    server: None,
    available: || {
        let (major, minor, patch) = zmq::version();
        Ok(format!("libzmq {major}.{minor}.{patch}"))
    },
};

fn socket(kind: SocketType) -> Result<Socket> {
    let socket = Context::new().socket(kind)?;
    let patience = PATIENCE.as_millis() as i32;
    socket.set_linger(0)?;
    socket.set_sndhwm(0)?;
    socket.set_rcvhwm(0)?;
    socket.set_sndbuf(1 << 20)?;
    socket.set_rcvbuf(1 << 20)?;
    socket.set_sndtimeo(patience)?;
    socket.set_rcvtimeo(patience)?;
    Ok(socket)
}

fn endpoint(place: &Place) -> String {
    format!("ipc://{}", place.file("zeromq.sock").display())
}

struct Writer {
    socket: Socket,
    missing: usize,
}

fn writer(place: &Place) -> Result<Box<dyn Sender>> {
    let socket = socket(SocketType::XPUB)?;
    // Every subscription is told, not only the first of each kind.
    socket.set_xpub_verbose(true)?;
    socket.bind(&endpoint(place)).context("failed to bind a ZeroMQ socket")?;
    Ok(Box::new(Writer { socket, missing: place.readers }))
}

impl Sender for Writer {
    fn prepare(&mut self, _: &Frames) -> Result<()> {
        while self.missing > 0 {
            self.socket.recv_bytes(0).context("a reader has not subscribed")?;
            self.missing -= 1;
        }
        Ok(())
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        self.socket.send(payload, 0).context("failed to send with ZeroMQ")
    }
}

struct Reader(Socket);

fn reader(place: &Place) -> Result<Box<dyn Receiver>> {
    let socket = socket(SocketType::SUB)?;
    socket.set_subscribe(b"")?;
    socket.connect(&endpoint(place)).context("failed to connect a ZeroMQ socket")?;
    Ok(Box::new(Reader(socket)))
}

impl Receiver for Reader {
    fn receive(&mut self, _: &Control, _: u64, buffer: &mut [u8]) -> Result<Received> {
        let len = self.0.recv_into(buffer, 0).context("failed to receive with ZeroMQ")?;
        Ok(Received { len, at: clock::now() })
    }
}
