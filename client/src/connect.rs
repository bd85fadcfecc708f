//! [`connect`]: asks a sidecar for its key over HTTP and opens its ring.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framebuffer_contract::{defaults, variables};
use serde::Deserialize;
use thiserror::Error;

use crate::client::FrameBufferClient;
use crate::error::segment::SegmentError;
use crate::http::{Endpoint, Response};
use crate::key::{InvalidKey, Key};
use crate::rings::Finder;
use crate::segment::default_dir;

/// How long a sidecar may take to start.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two attempts: a sidecar is ready within about 0.1 s.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The longest that an operation waits for a sidecar to name the next ring.
const RENEWAL: Duration = Duration::from_millis(250);

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

/// Opens the ring of the sidecar at `FRAMEBUFFER_URL`, which the operator sets in a pod's containers; by default at
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

/// Why a sidecar's ring could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither kind of URL.
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
        /// Error of the last attempt.
        source: io::Error,
    },
    /// Something answered, but not as a sidecar does.
    #[error("{url} answers, but not as a FrameBuffer sidecar: {problem}")]
    Answer {
        /// The URL.
        url: String,
        /// The fault.
        problem: String,
    },
    /// The sidecar's key is invalid.
    #[error("the sidecar at {url} answered with an invalid key")]
    Key {
        /// The URL.
        url: String,
        /// The reason.
        source: InvalidKey,
    },
    /// The key is known, but its ring cannot be opened.
    #[error(
        "the sidecar at {url} answered, but its ring cannot be opened in {dir}: is that the folder that the sidecar \
         uses (FRAMEBUFFER_DIR; in a pod, the same volume), and may this user open the segment (--mode)?"
    )]
    Segment {
        /// The URL.
        url: String,
        /// The folder looked in.
        dir: String,
        /// The error there.
        source: SegmentError,
    },
}

/// The answer to `GET /get_key`.
#[derive(Deserialize)]
struct KeyAnswer {
    key: String,
}

impl Connect {
    /// To the sidecar at `url`.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), deadline: DEFAULT_DEADLINE, dir: default_dir() }
    }

    /// To the sidecar at `FRAMEBUFFER_URL`; by default at `http://127.0.0.1:7570`.
    pub fn from_env() -> Self {
        let url = std::env::var(variables::URL).ok().filter(|url| !url.is_empty());
        Self::new(url.as_deref().unwrap_or(defaults::URL))
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
    /// [`ConnectError`] names the likely cause: the URL, a sidecar that does not run, the folder, the permissions. Only
    /// a sidecar that does not answer, or answers 503, is tried again.
    pub fn connect(self) -> Result<FrameBufferClient, ConnectError> {
        let key = self.ask_until_deadline()?;
        let asked = self.clone();
        let finder = Finder(Arc::new(move || asked.ask_once()));
        FrameBufferClient::options(key).dir(&self.dir).finder(finder).open().map_err(|source| ConnectError::Segment {
            url: self.url,
            dir: self.dir.display().to_string(),
            source,
        })
    }

    /// Asks for the key of the ring that has taken the place of the first one.
    fn ask_once(&self) -> Result<Key, String> {
        let endpoint: Endpoint = self.url.parse().map_err(|_| format!("{:?} is no URL", self.url))?;
        let answer = endpoint.get("/get_key", RENEWAL).map_err(|error| error.to_string())?;
        self.key_of(&answer).map_err(|error| error.to_string())
    }

    fn ask_until_deadline(&self) -> Result<Key, ConnectError> {
        let endpoint: Endpoint = self.url.parse().map_err(|_| ConnectError::Url { url: self.url.clone() })?;
        let deadline = Instant::now() + self.deadline;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let problem = match endpoint.get("/get_key", left.clamp(PAUSE, ATTEMPT)) {
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

    fn key_of(&self, answer: &Response) -> Result<Key, ConnectError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_that_is_not_there_is_an_error_that_says_what_to_check() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("unix:{}", dir.path().join("none.sock").display());
        let error = Connect::new(&url).deadline(Duration::from_millis(120)).connect().unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        assert!(error.to_string().contains("is framebuffer-sidecar running"), "{error}");
    }
}
