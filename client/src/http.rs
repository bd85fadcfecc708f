//! [`Endpoint`]: the product's HTTP client, one GET to a sidecar over TCP or a Unix socket.
//!
//! `ureq` does the work: requests, answers, names with several addresses, and one deadline over the whole request,
//! which a server that drips bytes cannot extend. With TLS and gzip off it adds 8 crates to the 27 that this one has
//! without it. `UnixConnector` adds Unix sockets. That API of ureq may change in minor versions, so the workspace
//! pins one.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use thiserror::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Timeout};

/// The longest body in bytes. A sidecar's longest has about 10 KiB.
const MAX_BODY: u64 = 256 * 1024;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(Authority),
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

/// A URL that is not one of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is neither http://HOST:PORT nor unix:/PATH")]
pub struct InvalidUrl(pub String);

impl FromStr for Endpoint {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(url.to_owned());
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(invalid()) };
        }
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').parse::<Authority>());
        match authority {
            Some(Ok(authority)) if is_host_and_port(&authority) => Ok(Self::Tcp(authority)),
            _ => Err(invalid()),
        }
    }
}

fn is_host_and_port(authority: &Authority) -> bool {
    !authority.host().is_empty() && authority.port_u16().is_some() && !authority.as_str().contains('@')
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr.to_string().parse().expect("a socket address is a host and a port"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// `GET path`, all of it within `limit`: looking the name up, trying its addresses, sending, receiving. Only
    /// connecting to a Unix socket whose server accepts nobody may take longer.
    ///
    /// # Errors
    ///
    /// Nobody answers in time, or not with HTTP, or with more than 256 KiB. Any status is a response.
    pub fn get(&self, path: &str, limit: Duration) -> io::Result<Response> {
        let config = config(limit);
        let response = match self {
            Self::Tcp(host) => get(config, TcpConnector::default(), Lookup, &format!("http://{host}{path}")),
            Self::Unix(socket) => {
                get(config, UnixConnector(socket.clone()), NoLookup, &format!("http://localhost{path}"))
            }
        };
        response.map_err(|error| match error {
            ureq::Error::Timeout(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no complete answer within {:.1} s", limit.as_secs_f32()),
            ),
            error => error.into_io(),
        })
    }
}

fn config(limit: Duration) -> Config {
    Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        // A sidecar is on this machine, whatever HTTP_PROXY says.
        .proxy(None)
        .user_agent(concat!("framebuffer/", env!("CARGO_PKG_VERSION")))
        .build()
}

fn get(config: Config, connector: impl Connector, resolver: impl Resolver, url: &str) -> Result<Response, ureq::Error> {
    let mut response = Agent::with_parts(config, connector, resolver).get(url).call()?;
    let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec()?;
    Ok(Response { status: response.status().as_u16(), body })
}

/// Looks names up as ureq does, in a thread that the deadline leaves behind. An address needs no thread.
#[derive(Debug)]
struct Lookup;

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        match uri.authority().and_then(|authority| authority.as_str().parse().ok()) {
            Some(address) => {
                let mut addresses = self.empty();
                addresses.push(address);
                Ok(addresses)
            }
            None => DefaultResolver::default().resolve(uri, config, timeout),
        }
    }
}

/// For Unix sockets. ureq wants an address of every host: it gets one that nobody uses.
#[derive(Debug)]
struct NoLookup;

impl Resolver for NoLookup {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(addresses)
    }
}

/// Connects to the Unix socket at a path, whatever the host.
#[derive(Debug)]
struct UnixConnector(PathBuf);

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<UnixTransport>, ureq::Error> {
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(UnixTransport { stream: UnixStream::connect(&self.0)?, buffers }))
    }
}

#[derive(Debug)]
struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|left| *left))?;
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| timed_out(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let deadline = timeout.not_zero().map(|left| Instant::now() + *left);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(len) => {
                    self.buffers.input_appended(len);
                    return Ok(len > 0);
                }
                // The kernel restarts no read that has a timeout.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error, timeout.reason)),
            }
        }
    }

    /// Never used again: each request has an agent of its own.
    fn is_open(&mut self) -> bool {
        false
    }
}

/// The kernel calls a timeout of a socket `WouldBlock`.
fn timed_out(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
