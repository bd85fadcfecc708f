//! The writer's end: tells a reader of each frame, and waits for the reader where there is none.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::now_ns;
use crate::descriptor::{self, Ack, Descriptor, StreamHeader, end_line, line};
use crate::say;
use crate::shutdown::Stop;
use crate::transport::{Address, Connection, Received};

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// How long the end of a stream waits for its last acknowledgements once the program is asked to stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why the writer cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// No reader in the given time.
    #[error(
        "no reader at {address} within {} s: start frame-reader --listen {address}, or check the address",
        deadline.as_secs()
    )]
    NoReader {
        /// Where it should be.
        address: Address,
        /// How long it was tried.
        deadline: Duration,
        /// The last failure.
        source: io::Error,
    },
    /// The reader is gone, and the writer was told to end then.
    #[error("the reader at {0} is gone")]
    Gone(Address),
    /// The reader sends something that is no acknowledgement.
    #[error("failed to understand the reader's answer")]
    Answer(#[from] descriptor::Error),
}

/// How a [`Link`] behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the reader listens.
    pub address: Address,
    /// How long to wait for the first connection; after that, a reader is waited for as long as it takes.
    pub deadline: Duration,
    /// End when the reader is gone, instead of waiting for the next one.
    pub once: bool,
}

/// A connection to a reader, made again when it breaks.
///
/// Its methods return `false` if they ended early because the program is asked to stop.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    stop: Stop,
    header: StreamHeader,
    connection: Option<Connection>,
    /// With a window: frames sent and not yet acknowledged, which go to the next reader again.
    unacknowledged: VecDeque<Descriptor>,
    reconnects: u64,
}

impl Link {
    /// Waits for the reader and sends it the stream's header.
    ///
    /// # Errors
    ///
    /// [`Error::NoReader`].
    pub fn connect(settings: Settings, header: StreamHeader, stop: &Stop) -> Result<Self, Error> {
        let mut link = Self {
            settings,
            stop: stop.clone(),
            header,
            connection: None,
            unacknowledged: VecDeque::new(),
            reconnects: 0,
        };
        let started = Instant::now();
        let mut told = false;
        while let Err(source) = link.try_connect() {
            let Settings { ref address, deadline, .. } = link.settings;
            if started.elapsed() >= deadline {
                return Err(Error::NoReader { address: address.clone(), deadline, source });
            }
            if stop.is_set() {
                break;
            }
            if !told {
                say!("frame-writer: waiting for a reader at {address}");
                told = true;
            }
            stop.sleep(RETRY);
        }
        Ok(link)
    }

    /// How often a reader was lost and another found.
    pub const fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Waits until the window has room for another frame.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] or [`Error::Answer`].
    pub fn wait_for_room(&mut self) -> Result<bool, Error> {
        let Some(window) = self.header.window else { return Ok(!self.stop.is_set()) };
        while self.unacknowledged.len() >= window as usize {
            if !self.receive_ack()? {
                return Ok(false);
            }
        }
        Ok(!self.stop.is_set())
    }

    /// Tells the reader of a frame.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn send(&mut self, mut descriptor: Descriptor) -> Result<bool, Error> {
        loop {
            descriptor.sent_ns = now_ns();
            let text = line(&descriptor);
            match self.connection.as_mut().map(|connection| connection.send(&text)) {
                Some(Ok(())) => break,
                _ if self.stop.is_set() => return Ok(false),
                // `reconnect` sends the unacknowledged frames, the next round then sends this one.
                _ if !self.reconnect()? => return Ok(false),
                _ => {}
            }
        }
        if self.header.window.is_some() {
            self.unacknowledged.push_back(descriptor);
        }
        Ok(true)
    }

    /// Ends the stream after `frames` frames, and waits until the reader has acknowledged them all.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] or [`Error::Answer`].
    pub fn finish(mut self, frames: u64) -> Result<bool, Error> {
        loop {
            let Some(connection) = &mut self.connection else { return Ok(false) };
            let sent = connection.send(&end_line(frames)).and_then(|()| connection.finish_sending());
            if sent.is_ok() && self.header.window.is_none() {
                return Ok(true);
            }
            let asked = Instant::now();
            while !self.unacknowledged.is_empty() && (!self.stop.is_set() || asked.elapsed() < FAREWELL) {
                match self.connection.as_mut().map(Connection::receive) {
                    Some(Ok(Received::Line(text))) => acknowledge(&mut self.unacknowledged, text)?,
                    Some(Ok(Received::Nothing)) => {}
                    _ => break,
                }
            }
            if self.stop.is_set() || (sent.is_ok() && self.unacknowledged.is_empty()) {
                return Ok(self.unacknowledged.is_empty());
            }
            if !self.reconnect()? {
                return Ok(false);
            }
        }
    }

    /// Takes one acknowledgement, from whichever reader there is.
    fn receive_ack(&mut self) -> Result<bool, Error> {
        match self.connection.as_mut().map(Connection::receive) {
            Some(Ok(Received::Line(text))) => acknowledge(&mut self.unacknowledged, text)?,
            Some(Ok(Received::Nothing)) => {}
            _ => return self.reconnect(),
        }
        Ok(!self.stop.is_set())
    }

    /// Connects, sends the header and the frames that the previous reader did not acknowledge.
    fn try_connect(&mut self) -> io::Result<()> {
        let mut connection = Connection::connect(&self.settings.address, &self.stop)?;
        connection.send(&line(&self.header))?;
        for descriptor in &mut self.unacknowledged {
            descriptor.sent_ns = now_ns();
            connection.send(&line(descriptor))?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Waits for the next reader.
    fn reconnect(&mut self) -> Result<bool, Error> {
        let address = self.settings.address.clone();
        self.connection = None;
        if self.settings.once {
            return Err(Error::Gone(address));
        }
        say!("frame-writer: the reader is gone, waiting for the next one at {address}");
        while !self.stop.is_set() {
            if self.try_connect().is_ok() {
                self.reconnects += 1;
                say!("frame-writer: a reader is back at {address}, going on");
                return Ok(true);
            }
            self.stop.sleep(RETRY);
        }
        Ok(false)
    }
}

/// Removes the acknowledged frame. The order is the sending's, but nothing depends on it.
fn acknowledge(unacknowledged: &mut VecDeque<Descriptor>, text: &str) -> Result<(), Error> {
    let ack = Ack::parse(text)?;
    unacknowledged.retain(|descriptor| descriptor.sequence != ack.sequence);
    Ok(())
}

#[cfg(test)]
mod tests {
    use framebuffer::Checksum;

    use super::*;
    use crate::descriptor::{Format, Line};
    use crate::transport::Listener;

    fn header(window: Option<u32>) -> StreamHeader {
        StreamHeader::new(Format::Raw("1x1:gray8".parse().unwrap()), window)
    }

    fn descriptor(sequence: u64) -> Descriptor {
        let checksum = Checksum::of(b"x");
        Descriptor { offset: 64, size: 1, checksum, ring: None, sequence, sent_ns: 0, parameters: String::new() }
    }

    fn settings(listener: &Listener) -> Settings {
        Settings { address: listener.address().parse().unwrap(), deadline: Duration::from_secs(10), once: false }
    }

    /// The next line, or `None` if there is none for a tenth of a second.
    fn try_next(reader: &mut Connection) -> Option<Line> {
        match reader.receive().unwrap() {
            Received::Line(text) => Some(Line::parse(text, 1).unwrap()),
            Received::Nothing => None,
            Received::Closed(_) => panic!("closed without an end"),
        }
    }

    /// The next frame's number, `None` at the end of the stream.
    fn next(reader: &mut Connection) -> Option<u64> {
        let line = (0..100).find_map(|_| try_next(reader)).expect("a line within ten seconds");
        if let Line::Frame(descriptor) = line { Some(descriptor.sequence) } else { None }
    }

    /// Accepts the writer and reads its header.
    fn accept(listener: &Listener) -> Connection {
        let stop = Stop::default();
        let mut reader = listener.accept(&stop).unwrap().unwrap();
        for _ in 0..100 {
            match reader.receive().unwrap() {
                Received::Line(text) => {
                    StreamHeader::parse(text).unwrap();
                    return reader;
                }
                Received::Nothing => {}
                Received::Closed(_) => panic!("closed without a header"),
            }
        }
        panic!("no header within ten seconds");
    }

    fn acknowledge(reader: &mut Connection, sequence: u64) {
        reader.send(&line(&Ack { sequence, timeout: None })).unwrap();
    }

    /// A writer that sends `frames` frames, and says whether all of them were acknowledged.
    fn writer(settings: Settings, window: u32, frames: u64) -> std::thread::JoinHandle<bool> {
        std::thread::spawn(move || {
            let mut link = Link::connect(settings, header(Some(window)), &Stop::default()).unwrap();
            for sequence in 0..frames {
                assert!(link.wait_for_room().unwrap());
                assert!(link.send(descriptor(sequence)).unwrap());
            }
            link.finish(frames).unwrap()
        })
    }

    #[test]
    fn what_the_lost_reader_did_not_acknowledge_goes_to_the_next_one() {
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let writer = writer(settings(&listener), 3, 8);
        let mut first = accept(&listener);
        assert_eq!(next(&mut first), Some(0));
        assert_eq!(next(&mut first), Some(1));
        acknowledge(&mut first, 0);
        assert_eq!(next(&mut first), Some(2));
        assert_eq!(next(&mut first), Some(3));
        drop(first);
        let mut second = accept(&listener);
        let mut sequences = Vec::new();
        while let Some(sequence) = next(&mut second) {
            sequences.push(sequence);
            acknowledge(&mut second, sequence);
        }
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7]);
        assert!(writer.join().unwrap());
    }

    #[test]
    fn a_window_holds_the_writer_back_until_a_frame_is_acknowledged() {
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let writer = writer(settings(&listener), 2, 4);
        let mut reader = accept(&listener);
        assert_eq!((next(&mut reader), next(&mut reader)), (Some(0), Some(1)));
        assert_eq!(try_next(&mut reader), None, "a third frame would be one too many");
        acknowledge(&mut reader, 0);
        assert_eq!(next(&mut reader), Some(2));
        assert_eq!(try_next(&mut reader), None, "one place, one frame");
        acknowledge(&mut reader, 1);
        assert_eq!((next(&mut reader), next(&mut reader)), (Some(3), None));
        (2..4).for_each(|sequence| acknowledge(&mut reader, sequence));
        assert!(writer.join().unwrap());
    }

    #[test]
    fn without_a_reader_the_deadline_ends_the_wait_with_advice() {
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let settings = Settings { deadline: Duration::ZERO, ..settings(&listener) };
        drop(listener);
        let error = Link::connect(settings, header(None), &Stop::default()).unwrap_err().to_string();
        assert!(error.contains("start frame-reader --listen tcp:127.0.0.1:"), "{error}");
    }

    #[test]
    fn told_to_end_with_its_reader_the_writer_does_not_wait_for_another() {
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let settings = Settings { once: true, ..settings(&listener) };
        let mut link = Link::connect(settings, header(Some(1)), &Stop::default()).unwrap();
        drop(accept(&listener));
        assert!(
            link.send(descriptor(0))
                .and_then(|_| link.wait_for_room())
                .is_err_and(|error| matches!(error, Error::Gone(_)))
        );
    }
}
