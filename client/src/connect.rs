//! [`connect`]: opens the ring of a sidecar, which is asked for the key over HTTP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use thiserror::Error;

use crate::client::FrameBufferClient;
use crate::error::segment::SegmentError;
use crate::key::{InvalidKey, Key};
use crate::segment::default_dir;

/// Where a sidecar listens unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7570";
/// How long a sidecar may take to start.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two attempts: a sidecar is ready within about 0.1 s.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// Opens the ring of the sidecar at `url`: `http://127.0.0.1:7570`, or `unix:/path/to.sock`.
///
/// Tries again while the sidecar starts, for at most 30 seconds; [`Connect`] has other deadlines and folders.
///
/// # Errors
///
/// As [`Connect::connect`].
pub fn connect(url: &str) -> Result<FrameBufferClient, ConnectError> {
    Connect::new(url).connect()
}

/// Opens the ring of the sidecar at `FRAMEBUFFER_URL`, which the operator sets in the containers of a pod; without it, at
/// `http://127.0.0.1:7570`.
///
/// # Errors
///
/// As [`Connect::connect`].
pub fn connect_env() -> Result<FrameBufferClient, ConnectError> {
    Connect::from_env().connect()
}

/// How to connect to a sidecar.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before connect"]
pub struct Connect {
    url: String,
    deadline: Duration,
    dir: PathBuf,
}

/// Why no ring could be opened by a sidecar's help.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is of no kind known here.
    #[error("{url:?} is not http://HOST:PORT or unix:/PATH")]
    Url {
        /// The URL.
        url: String,
    },
    /// No sidecar answered in time.
    #[error(
        "no sidecar answered at {url} within {} s: is framebuffer-sidecar running there, and is FRAMEBUFFER_URL right?",
        waited.as_secs_f32()
    )]
    Unreachable {
        /// The URL.
        url: String,
        /// The deadline.
        waited: Duration,
        /// What the last attempt met.
        source: io::Error,
    },
    /// Something answered, but not as a sidecar does.
    #[error("{url} answers, but not as a FrameBuffer sidecar: {problem}")]
    Answer {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The sidecar's key is none.
    #[error("the sidecar at {url} answered with an invalid key")]
    Key {
        /// The URL.
        url: String,
        /// Why it is none.
        source: InvalidKey,
    },
    /// The key is there, but not its ring.
    #[error(
        "the sidecar at {url} answered, but its ring cannot be opened in {dir}: is that the folder that the sidecar uses \
         (FRAMEBUFFER_DIR; in a pod, the same volume), and may this user open the segment (--mode)?"
    )]
    Segment {
        /// The URL.
        url: String,
        /// The folder looked in.
        dir: String,
        /// What happened there.
        source: SegmentError,
    },
}

/// What `GET /get_key` answers.
#[derive(Deserialize)]
struct KeyAnswer {
    key: String,
}

/// Where a sidecar listens.
#[derive(Debug, PartialEq, Eq)]
enum Address<'u> {
    Tcp(&'u str),
    Unix(&'u str),
}

impl Connect {
    /// To the sidecar at `url`.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), deadline: DEFAULT_DEADLINE, dir: default_dir() }
    }

    /// To the sidecar at `FRAMEBUFFER_URL`; without it, at `http://127.0.0.1:7570`.
    pub fn from_env() -> Self {
        let url = std::env::var("FRAMEBUFFER_URL").ok().filter(|url| !url.is_empty());
        Self::new(url.as_deref().unwrap_or(DEFAULT_URL))
    }

    /// How long to try. Default: 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The folder that the segment is in, as this process sees it. Default: [`default_dir`].
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Asks for the key and opens the ring. Blocks until that is done or the deadline has passed.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what to check: the URL, whether the sidecar runs, the folder, the permissions. Only a sidecar
    /// that does not answer, or answers 503, is tried again.
    pub fn connect(self) -> Result<FrameBufferClient, ConnectError> {
        let key = self.ask_until_deadline()?;
        FrameBufferClient::options(key).dir(&self.dir).open().map_err(|source| ConnectError::Segment {
            url: self.url,
            dir: self.dir.display().to_string(),
            source,
        })
    }

    fn ask_until_deadline(&self) -> Result<Key, ConnectError> {
        let address = Address::parse(&self.url).ok_or_else(|| ConnectError::Url { url: self.url.clone() })?;
        let deadline = Instant::now() + self.deadline;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let problem = match address.get("/get_key", left.clamp(PAUSE, ATTEMPT)) {
                Ok(answer) => match answer.status {
                    503 => io::Error::other("the sidecar answers 503, it is not ready"),
                    _ => return self.key_of(&answer),
                },
                Err(error) => error,
            };
            if deadline.saturating_duration_since(Instant::now()) < PAUSE {
                return Err(ConnectError::Unreachable {
                    url: self.url.clone(),
                    waited: self.deadline,
                    source: problem,
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn key_of(&self, answer: &Answer) -> Result<Key, ConnectError> {
        let wrong = |problem| ConnectError::Answer { url: self.url.clone(), problem };
        if answer.status != 200 {
            return Err(wrong(format!("GET /get_key gives status {}", answer.status)));
        }
        // The body may contain the key: the message says only where it stops being JSON.
        let body: KeyAnswer = serde_json::from_slice(&answer.body).map_err(|error| {
            wrong(format!("GET /get_key gives no key (line {}, column {})", error.line(), error.column()))
        })?;
        Key::new(body.key).map_err(|source| ConnectError::Key { url: self.url.clone(), source })
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl<'u> Address<'u> {
    fn parse(url: &'u str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return path.starts_with('/').then_some(Self::Unix(path));
        }
        let authority = url.strip_prefix("http://")?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok() && !authority.contains('/')).then_some(Self::Tcp(authority))
    }

    /// Sends a GET request and reads the whole answer. HTTP/1.0, so that the answer ends with the connection.
    fn get(&self, path: &str, timeout: Duration) -> io::Result<Answer> {
        let deadline = Some(timeout);
        match *self {
            Self::Tcp(authority) => {
                let address = authority.to_socket_addrs()?.next();
                let address = address.ok_or_else(|| io::Error::other("the host has no address"))?;
                let stream = TcpStream::connect_timeout(&address, timeout)?;
                stream.set_read_timeout(deadline)?;
                stream.set_write_timeout(deadline)?;
                exchange(stream, authority, path)
            }
            Self::Unix(socket) => {
                let stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(deadline)?;
                stream.set_write_timeout(deadline)?;
                exchange(stream, "localhost", path)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<Answer> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")?;
    let mut raw = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut raw)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&raw).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match (parsed, response.code) {
        (httparse::Status::Complete(head), Some(status)) => Ok(Answer { status, body: raw.split_off(head) }),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends in its header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_both_kinds_are_understood_and_others_refused() {
        assert_eq!(Address::parse("http://127.0.0.1:7570"), Some(Address::Tcp("127.0.0.1:7570")));
        assert_eq!(Address::parse("http://localhost:1/"), Some(Address::Tcp("localhost:1")));
        assert_eq!(Address::parse("http://[::1]:7570"), Some(Address::Tcp("[::1]:7570")));
        assert_eq!(Address::parse("unix:/run/fb.sock"), Some(Address::Unix("/run/fb.sock")));
        assert_eq!(Address::parse("unix:///run/fb.sock"), Some(Address::Unix("/run/fb.sock")));
        for bad in ["", "https://127.0.0.1:1", "http://127.0.0.1", "http://x:99999", "unix:relative", "127.0.0.1:7570"]
        {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sidecar_that_is_not_there_is_an_error_that_says_what_to_check() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("unix:{}", dir.path().join("none.sock").display());
        let error = Connect::new(&url).deadline(Duration::from_millis(120)).connect().unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        assert!(error.to_string().contains("is framebuffer-sidecar running"), "{error}");
    }
}
