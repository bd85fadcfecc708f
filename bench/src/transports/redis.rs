//! Redis over its Unix socket: a `redis-server` without persistence, frames carried by `PUBLISH`.
//!
//! `SET` and `GET` with a notification would add a round trip to the server. This file speaks the few words of the
//! protocol itself, in Redis's favour: client libraries return every payload in a new allocation.

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Ends, Place, Received, Receiver, Sender, Transport, version_of};
use crate::clock;
use crate::control::Control;
use crate::wait::{PATIENCE, Waiting};

const PROGRAM: &str = "redis-server";
const SOCKET: &str = "redis.sock";
/// Replies that the writer leaves in its socket before it reads one.
const UNREAD: usize = 32;

pub(super) const PUBLISH: Transport = Transport {
    id: "redis",
    name: "Redis, PUBLISH, Unix socket",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Block,
    ends: Ends::Processes { writer, reader },
    server: Some(server),
    available: || {
        let said = version_of(PROGRAM, "on Debian: apt-get install redis-server")?;
        Ok(said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or(&said).to_owned())
    },
};

fn server(dir: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--port").arg("0").arg("--unixsocket").arg(dir.join(SOCKET)).arg("--unixsocketperm").arg("600");
    command.arg("--dir").arg(dir).args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    // No limit on a slow reader's backlog: the writer paces itself.
    command.args(["--client-output-buffer-limit", "pubsub 0 0 0"]);
    command
}

/// Connects as soon as the server listens.
fn connect(place: &Place) -> Result<BufReader<UnixStream>> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(place.file(SOCKET)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error).context("failed to connect to redis-server"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")?;
    stream.set_write_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")?;
    Ok(BufReader::new(stream))
}

/// Reads a line that begins with `kind` and returns the number in it.
fn number(from: &mut impl BufRead, kind: u8) -> Result<usize> {
    let mut line = String::new();
    from.read_line(&mut line).context("failed to read from redis-server")?;
    match line.as_bytes().first() {
        Some(found) if *found == kind => {}
        _ => bail!("redis-server said {:?}", line.trim_end()),
    }
    line[1..].trim_end().parse().with_context(|| format!("redis-server said {:?}", line.trim_end()))
}

/// Skips a string of known length, with the line that announces it.
fn skip_string(from: &mut impl BufRead) -> Result<()> {
    let len = number(from, b'$')?;
    let mut text = vec![0; len + 2];
    from.read_exact(&mut text).context("failed to read from redis-server")
}

struct Writer {
    stream: BufReader<UnixStream>,
    readers: usize,
    unread: usize,
}

fn writer(place: &Place) -> Result<Box<dyn Sender>> {
    Ok(Box::new(Writer { stream: connect(place)?, readers: place.readers, unread: 0 }))
}

impl Sender for Writer {
    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        let head = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nf\r\n${}\r\n", payload.len());
        let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(payload), IoSlice::new(b"\r\n")];
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            let written = self.stream.get_mut().write_vectored(parts).context("failed to send to redis-server")?;
            IoSlice::advance_slices(&mut parts, written);
        }
        self.unread += 1;
        if self.unread > UNREAD {
            let receivers = number(&mut self.stream, b':')?;
            ensure!(receivers == self.readers, "redis-server had {receivers} readers instead of {}", self.readers);
            self.unread -= 1;
        }
        Ok(())
    }
}

struct Reader(BufReader<UnixStream>);

fn reader(place: &Place) -> Result<Box<dyn Receiver>> {
    let mut stream = connect(place)?;
    stream.get_mut().write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nf\r\n").context("failed to subscribe")?;
    ensure!(number(&mut stream, b'*')? == 3, "redis-server answered a subscription with something else");
    skip_string(&mut stream)?;
    skip_string(&mut stream)?;
    number(&mut stream, b':')?;
    Ok(Box::new(Reader(stream)))
}

impl Receiver for Reader {
    fn receive(&mut self, _: &Control, _: u64, buffer: &mut [u8]) -> Result<Received> {
        ensure!(number(&mut self.0, b'*')? == 3, "redis-server sent something else than a message");
        skip_string(&mut self.0)?;
        skip_string(&mut self.0)?;
        let len = number(&mut self.0, b'$')?;
        ensure!(len == buffer.len(), "a frame of {len} bytes came instead of {}", buffer.len());
        // Data longer than the reader's own buffer bypasses it.
        self.0.read_exact(buffer).context("failed to receive a frame")?;
        let at = clock::now();
        self.0.read_exact(&mut [0; 2]).context("failed to receive the end of a frame")?;
        Ok(Received { len, at })
    }
}
