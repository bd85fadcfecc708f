//! TCP over loopback, without delay: 8 bytes of length, then the payload.
//!
//! The kernel sizes the buffers of a TCP socket by itself; setting them would only turn that off.

use std::fs;
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};

use super::unix_socket::send;
use super::{Ends, Place, Receiver, Sender, Transport, built_in};
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{PATIENCE, Waiting};

/// Where the writer says on which address it listens.
const ADDRESS: &str = "address";

pub(super) const LOOPBACK: Transport = Transport {
    id: "tcp",
    name: "TCP loopback",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Block,
    ends: Ends::Processes { writer, reader },
    server: None,
    available: built_in,
};

struct Writer {
    listener: TcpListener,
    readers: usize,
    streams: Vec<TcpStream>,
}

fn writer(place: &Place) -> Result<Box<dyn Sender>> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to listen on loopback")?;
    let address = listener.local_addr().context("failed to learn the own address")?;
    fs::write(place.file(ADDRESS), address.to_string()).context("failed to say the own address")?;
    Ok(Box::new(Writer { listener, readers: place.readers, streams: Vec::new() }))
}

fn reader(place: &Place) -> Result<Box<dyn Receiver>> {
    let address = fs::read_to_string(place.file(ADDRESS)).context("failed to learn the writer's address")?;
    let stream = TcpStream::connect(&address).with_context(|| format!("failed to connect to {address}"))?;
    tune(&stream)?;
    Ok(Box::new(stream))
}

fn tune(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
    stream.set_read_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")?;
    stream.set_write_timeout(Some(PATIENCE)).context("failed to set a socket's timeout")
}

impl Sender for Writer {
    fn prepare(&mut self, _: &Frames) -> Result<()> {
        while self.streams.len() < self.readers {
            let (stream, _) = self.listener.accept().context("failed to accept a reader")?;
            tune(&stream)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        self.streams.iter_mut().try_for_each(|stream| send(stream, payload)).context("failed to send to a reader")
    }
}
