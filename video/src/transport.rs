//! Lines of text over TCP or a Unix socket, with waits that end when the program is asked to stop.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::shutdown::{Stop, TICK};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 4096;

/// Where the reader listens: `tcp:127.0.0.1:7600` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

/// A text that is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an address: expected tcp:HOST:PORT, like tcp:127.0.0.1:7600, or unix:/path")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match text.split_once(':') {
            Some(("tcp", rest)) if rest.contains(':') => Ok(Self::Tcp(rest.to_owned())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(InvalidAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => write!(f, "tcp:{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The reader's end before a writer comes. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens. A socket file that a dead reader left is replaced, one that somebody serves is not.
    ///
    /// # Errors
    ///
    /// If the address is in use or cannot be bound.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let listener = match address {
            Address::Tcp(host) => Self::Tcp(TcpListener::bind(host)?),
            Address::Unix(path) => Self::Unix(bind_unix(path)?, path.clone()),
        };
        match &listener {
            Self::Tcp(tcp) => tcp.set_nonblocking(true)?,
            Self::Unix(unix, _) => unix.set_nonblocking(true)?,
        }
        Ok(listener)
    }

    /// Waits for a writer. `None`: asked to stop.
    ///
    /// # Errors
    ///
    /// Errors of `accept`, except for connections that are gone before they are accepted.
    pub fn accept(&self, stop: &Stop) -> io::Result<Option<Connection>> {
        while stop.wait_readable(self.as_fd())? {
            let accepted = match self {
                Self::Tcp(tcp) => tcp.accept().map(|(stream, _)| Stream::Tcp(stream)),
                Self::Unix(unix, _) => unix.accept().map(|(stream, _)| Stream::Unix(stream)),
            };
            match accepted {
                Ok(stream) => return Connection::new(stream, stop.clone()).map(Some),
                Err(error) if again(&error) || error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The address as bound: with the port that the system chose for port 0.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().map_or_else(|_| "tcp".to_owned(), |address| format!("tcp:{address}")),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix, _) => unix.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nothing to do if it is gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            let refused = UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            if !(socket && refused) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Result of [`Connection::receive`].
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A line, without its newline.
    Line(&'a str),
    /// Nothing for a tenth of a second: time to look at something else.
    Nothing,
    /// The other end has closed, with this many bytes of an incomplete line.
    Closed(usize),
}

/// Lines to and from the other program.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    stop: Stop,
    buffer: Box<[u8]>,
    /// The part of the buffer that is received and not yet returned.
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects to a reader.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn connect(address: &Address, stop: &Stop) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(host) => Stream::Tcp(TcpStream::connect(host)?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        Self::new(stream, stop.clone())
    }

    fn new(stream: Stream, stop: Stop) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(tcp) => {
                tcp.set_nonblocking(false)?;
                // A descriptor is small and urgent: never wait for more to send with it.
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(TICK))?;
                tcp.set_write_timeout(Some(TICK))?;
            }
            Stream::Unix(unix) => {
                unix.set_nonblocking(false)?;
                unix.set_read_timeout(Some(TICK))?;
                unix.set_write_timeout(Some(TICK))?;
            }
        }
        Ok(Self { stream, stop, buffer: vec![0; 4 * MAX_LINE].into(), start: 0, end: 0 })
    }

    /// Sends `line`, waiting as long as the other end's buffer is full.
    ///
    /// # Errors
    ///
    /// If the other end is gone; [`ErrorKind::Interrupted`] if the program is asked to stop while it waits.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let sent = match &mut self.stream {
                Stream::Tcp(tcp) => tcp.write(rest),
                Stream::Unix(unix) => unix.write(rest),
            };
            match sent {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => rest = &rest[sent..],
                Err(error) if again(&error) && self.stop.is_set() => return Err(ErrorKind::Interrupted.into()),
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next line, or the reason why there is none.
    ///
    /// # Errors
    ///
    /// If the connection breaks; [`ErrorKind::InvalidData`] for a line longer than [`MAX_LINE`] or not in UTF-8.
    pub fn receive(&mut self) -> io::Result<Received<'_>> {
        let mut searched = self.start;
        loop {
            if let Some(at) = self.buffer[searched..self.end].iter().position(|byte| *byte == b'\n') {
                let line = self.start..searched + at;
                self.start = line.end + 1;
                let line = std::str::from_utf8(&self.buffer[line]);
                return line.map(Received::Line).map_err(|_| invalid("a line that is not UTF-8".to_owned()));
            }
            if self.end - self.start > MAX_LINE {
                return Err(invalid(format!("a line longer than the limit of {MAX_LINE} bytes")));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            searched = self.end;
            let space = &mut self.buffer[self.end..];
            let read = match &mut self.stream {
                Stream::Tcp(tcp) => tcp.read(space),
                Stream::Unix(unix) => unix.read(space),
            };
            match read {
                Ok(0) => return Ok(Received::Closed(self.end)),
                Ok(read) => self.end += read,
                Err(error) if again(&error) => return Ok(Received::Nothing),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends sending; lines of the other end can still be received.
    ///
    /// # Errors
    ///
    /// If the connection is gone already.
    pub fn finish_sending(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
        }
    }
}

/// Errors that only mean: not now.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (Listener, Connection, Connection) {
        let (stop, address) = (Stop::default(), address.parse().unwrap());
        let listener = Listener::bind(&address).unwrap();
        let bound = listener.address().parse().unwrap();
        let writer = Connection::connect(&bound, &stop).unwrap();
        let reader = listener.accept(&stop).unwrap().unwrap();
        (listener, writer, reader)
    }

    #[test]
    fn lines_pass_over_tcp_and_over_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", folder.path().join("socket").display());
        for address in ["tcp:127.0.0.1:0", &socket] {
            let (_listener, mut writer, mut reader) = pair(address);
            writer.send("one\ntwo\nthr").unwrap();
            assert_eq!(reader.receive().unwrap(), Received::Line("one"));
            assert_eq!(reader.receive().unwrap(), Received::Line("two"));
            assert_eq!(reader.receive().unwrap(), Received::Nothing);
            writer.send("ee\nfo").unwrap();
            assert_eq!(reader.receive().unwrap(), Received::Line("three"));
            writer.finish_sending().unwrap();
            assert_eq!(reader.receive().unwrap(), Received::Closed(2));
            reader.send("bye\n").unwrap();
            assert_eq!(writer.receive().unwrap(), Received::Line("bye"));
        }
    }

    #[test]
    fn many_lines_in_pieces_of_any_size_arrive_whole() {
        let (_listener, mut writer, mut reader) = pair("tcp:127.0.0.1:0");
        let lines: Vec<String> = (0..5000).map(|n| format!("{n} {}", "x".repeat(n % 977))).collect();
        let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for piece in text.as_bytes().chunks(1013) {
                    writer.send(std::str::from_utf8(piece).unwrap()).unwrap();
                }
            });
            for line in &lines {
                assert_eq!(reader.receive().unwrap(), Received::Line(line));
            }
        });
    }

    #[test]
    fn a_line_too_long_is_an_error_with_the_limit() {
        let (_listener, mut writer, mut reader) = pair("tcp:127.0.0.1:0");
        writer.send(&"x".repeat(MAX_LINE + 1)).unwrap();
        let error = loop {
            match reader.receive() {
                Ok(received) => assert_eq!(received, Received::Nothing),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("limit of 4096 bytes"), "{error}");
    }

    #[test]
    fn a_dead_readers_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // The file of a plain listener stays behind, as after SIGKILL.
        drop(UnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let living = Listener::bind(&address).unwrap();
        assert_eq!(Listener::bind(&address).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(living);
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        assert!(Listener::bind(&address).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"no socket");
    }

    #[test]
    fn a_wrong_address_is_refused() {
        for bad in ["", "127.0.0.1:7600", "tcp:7600", "unix:", "http://x:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
