//! A minimal HTTP client for the tools: one GET over loopback TCP or a Unix socket, with a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use thiserror::Error;

/// The longest response in bytes, head and body. A sidecar's longest has about 10 KiB.
const MAX_RESPONSE: u64 = 256 * 1024;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// A response: its status and its body.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A URL that is not one of ours.
    #[error("`{0}` is neither http://HOST:PORT nor unix:/PATH")]
    Url(String),
    /// Nobody there, or nobody who answers in time.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else answers.
    #[error("the answer is not HTTP")]
    NotHttp,
}

impl FromStr for Endpoint {
    type Err = HttpError;

    fn from_str(url: &str) -> Result<Self, HttpError> {
        if let Some(path) = url.strip_prefix("unix:").map(|path| path.strip_prefix("//").unwrap_or(path))
            && path.starts_with('/')
        {
            return Ok(Self::Unix(path.into()));
        }
        let authority = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        match authority {
            Some(authority) if authority.contains(':') && !authority.contains(['/', '?', '#', '@']) => {
                Ok(Self::Tcp(authority.to_owned()))
            }
            _ => Err(HttpError::Url(url.to_owned())),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr.to_string())
    }
}

/// A connection whose reads and writes end at a deadline.
trait Stream: Read + Write {
    fn limit(&self, left: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Stream for UnixStream {
    fn limit(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Endpoint {
    /// `GET path`, all of it within `limit`.
    ///
    /// # Errors
    ///
    /// If nobody answers in time, or with something that is not HTTP. Any status is a response.
    pub fn get(&self, path: &str, limit: Duration) -> Result<Response, HttpError> {
        let deadline = Instant::now() + limit;
        let io = |action| move |source| HttpError::Io { action, source };
        let mut stream = self.connect(deadline).map_err(io("connect"))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(io("send the request"))?;
        let response = read_to_end(stream.as_mut(), deadline).map_err(io("read the response"))?;
        parse(&response).ok_or(HttpError::NotHttp)
    }

    fn connect(&self, deadline: Instant) -> io::Result<Box<dyn Stream>> {
        let stream: Box<dyn Stream> = match self {
            Self::Tcp(authority) => Box::new(connect_tcp(authority, deadline)?),
            Self::Unix(path) => Box::new(UnixStream::connect(path)?),
        };
        stream.limit(left(deadline)?)?;
        Ok(stream)
    }
}

/// Tries each address that the name has.
fn connect_tcp(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_to_end(stream: &mut dyn Stream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    while response.len() as u64 <= MAX_RESPONSE {
        stream.limit(left(deadline)?)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(response),
            Ok(len) => response.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("it is longer than the limit of {MAX_RESPONSE} bytes")))
}

/// `None` if it is not a complete response. The server closes the connection behind it, so the body is all the rest.
fn parse(response: &[u8]) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = head.parse(response).ok()? else { return None };
    let body = response[len..].to_vec();
    let expected = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let complete = expected.is_none_or(|header| header.value == body.len().to_string().as_bytes());
    let status = head.code?;
    complete.then_some(Response { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_url_are_understood_and_others_refused() {
        let parse = |url: &str| url.parse::<Endpoint>();
        assert_eq!(parse("http://127.0.0.1:7570").unwrap(), Endpoint::Tcp("127.0.0.1:7570".into()));
        assert_eq!(parse("http://[::1]:7570/").unwrap(), Endpoint::Tcp("[::1]:7570".into()));
        assert_eq!(parse("unix:/run/fb.sock").unwrap(), Endpoint::Unix("/run/fb.sock".into()));
        assert_eq!(parse("unix:///run/fb.sock").unwrap(), Endpoint::Unix("/run/fb.sock".into()));
        for url in ["", "127.0.0.1:7570", "https://127.0.0.1:1", "http://a:1/b", "unix:relative", "http://u@h:1"] {
            assert!(matches!(parse(url), Err(HttpError::Url(_))), "{url}");
        }
    }

    #[test]
    fn a_response_that_is_cut_off_is_not_one() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbody";
        let response = parse(whole).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (503, b"body".as_slice()));
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_at_the_deadline() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::from(listener.local_addr().unwrap());
        let started = Instant::now();
        let error = endpoint.get("/readyz", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, HttpError::Io { action: "read the response", .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
