//! A Unix stream socket: 8 bytes of length, then the payload. Both ends wait in the kernel, or both spin.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::{Ends, Place, Received, Receiver, Sender, Transport, built_in};
use crate::clock;
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{PATIENCE, Patience, Waiting};

const SOCKET: &str = "frames.sock";
/// The buffer to ask for in each direction. The kernel gives 208 KiB by default, and more to root only.
const BUFFER: usize = 1 << 20;

pub(super) const STREAM: Transport = Transport {
    id: "unix-socket",
    name: "Unix socket",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Block,
    ends: Ends::Processes {
        writer: |place| Ok(Box::new(Writer(Streams::listen(place)?))),
        reader: |place| Ok(Box::new(Reader(connect(place)?))),
    },
    server: None,
    available: built_in,
};

pub(super) const STREAM_SPINNING: Transport = Transport {
    id: "unix-socket-spinning",
    name: "Unix socket, spinning",
    waiting: Waiting::Spin,
    ends: Ends::Processes {
        writer: |place| Ok(Box::new(SpinningWriter { streams: Streams::listen(place)?, processes: place.readers + 1 })),
        reader: |place| {
            let stream = connect(place)?;
            stream.set_nonblocking(true).context("failed to stop a socket from blocking")?;
            Ok(Box::new(SpinningReader { stream, processes: place.readers + 1 }))
        },
    },
    ..STREAM
};

/// The writer's end of the connections to all readers.
pub(super) struct Streams {
    listener: UnixListener,
    readers: usize,
    connected: Vec<UnixStream>,
}

impl Streams {
    pub(super) fn listen(place: &Place) -> Result<Self> {
        let listener = UnixListener::bind(place.file(SOCKET)).context("failed to listen on a Unix socket")?;
        Ok(Self { listener, readers: place.readers, connected: Vec::new() })
    }

    /// Takes the readers' connections, which are waiting already.
    pub(super) fn accept(&mut self) -> Result<()> {
        while self.connected.len() < self.readers {
            let (stream, _) = self.listener.accept().context("failed to accept a reader")?;
            tune(&stream)?;
            self.connected.push(stream);
        }
        Ok(())
    }

    pub(super) fn each(&mut self, send: impl Fn(&mut UnixStream) -> std::io::Result<()>) -> Result<()> {
        self.connected.iter_mut().try_for_each(send).context("failed to send to a reader")
    }
}

pub(super) fn connect(place: &Place) -> Result<UnixStream> {
    let stream = UnixStream::connect(place.file(SOCKET)).context("failed to connect to the writer")?;
    tune(&stream)?;
    Ok(stream)
}

fn tune(stream: &UnixStream) -> Result<()> {
    // Only root may have more than net.core.wmem_max; others get as much as that.
    if setsockopt(stream, sockopt::SndBufForce, &BUFFER).is_err() {
        setsockopt(stream, sockopt::SndBuf, &BUFFER).context("failed to set a socket's buffer")?;
    }
    stream.set_read_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")?;
    stream.set_write_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")
}

/// Writes a length and as many bytes.
pub(super) fn send(stream: &mut impl Write, payload: &[u8]) -> std::io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut parts = [IoSlice::new(&length), IoSlice::new(payload)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        match stream.write_vectored(parts) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a length and as many bytes.
pub(super) fn receive(stream: &mut impl Read, buffer: &mut [u8]) -> Result<Received> {
    let mut length = [0; 8];
    stream.read_exact(&mut length).context("failed to receive a length")?;
    let len = u64::from_le_bytes(length);
    ensure!(len == buffer.len() as u64, "a frame of {len} bytes came instead of {}", buffer.len());
    stream.read_exact(buffer).context("failed to receive a frame")?;
    Ok(Received { len: buffer.len(), at: clock::now() })
}

struct Writer(Streams);

impl Sender for Writer {
    fn prepare(&mut self, _: &Frames) -> Result<()> {
        self.0.accept()
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        self.0.each(|stream| send(stream, payload))
    }
}

struct Reader(UnixStream);

impl Receiver for Reader {
    fn receive(&mut self, _: &Control, _: u64, buffer: &mut [u8]) -> Result<Received> {
        receive(&mut self.0, buffer)
    }
}

/// A socket that does not block, made to look as if it did.
struct Spinning<'s> {
    stream: &'s mut UnixStream,
    patience: Patience,
}

impl Spinning<'_> {
    fn until_ready<T>(&mut self, mut attempt: impl FnMut(&mut UnixStream) -> std::io::Result<T>) -> std::io::Result<T> {
        loop {
            match attempt(self.stream) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let passed = self.patience.pass(|| "for a socket".to_owned());
                    passed.map_err(|error| std::io::Error::other(error.to_string()))?;
                }
                done => return done,
            }
        }
    }
}

impl Read for Spinning<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.until_ready(|stream| stream.read(buffer))
    }
}

impl Write for Spinning<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.until_ready(|stream| stream.write(buffer))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> std::io::Result<usize> {
        self.until_ready(|stream| stream.write_vectored(buffers))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct SpinningWriter {
    streams: Streams,
    processes: usize,
}

impl Sender for SpinningWriter {
    fn prepare(&mut self, _: &Frames) -> Result<()> {
        self.streams.accept()?;
        self.streams.each(|stream| stream.set_nonblocking(true))
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        let processes = self.processes;
        self.streams.each(|stream| {
            let patience = Patience::new(Waiting::Spin, processes);
            send(&mut Spinning { stream, patience }, payload)
        })
    }
}

struct SpinningReader {
    stream: UnixStream,
    processes: usize,
}

impl Receiver for SpinningReader {
    fn receive(&mut self, _: &Control, _: u64, buffer: &mut [u8]) -> Result<Received> {
        let patience = Patience::new(Waiting::Spin, self.processes);
        receive(&mut Spinning { stream: &mut self.stream, patience }, buffer)
    }
}

/// The reader's end of a TCP connection works the same.
impl Receiver for TcpStream {
    fn receive(&mut self, _: &Control, _: u64, buffer: &mut [u8]) -> Result<Received> {
        receive(self, buffer)
    }
}
