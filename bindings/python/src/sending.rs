//! [`Sending`]: a publisher as its object and its loans share it, and `Sent`, what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framebuffer::{ChannelError, Error, FrameBufferClient, Publisher as RustPublisher, Sent as RustSent};
use pyo3::prelude::*;

use crate::detached::LOOK;
use crate::errors;
use crate::exclusive::{Exclusive, Turn};
use crate::frame::Frame;
use crate::owned::Owned;

/// An open publisher.
pub(crate) type Open = Box<Owned<RustPublisher<'static>>>;

/// A publisher, which one thread at a time uses.
pub(crate) struct Sending(Exclusive<Open>);

/// A frame that was sent.
#[pyclass(frozen, module = "framebuffer")]
pub(crate) struct Sent(RustSent);

impl Sending {
    /// Opens a publisher.
    pub(crate) fn open(
        client: Arc<FrameBufferClient>,
        channel: &str,
        keep: usize,
        content_type: Option<&str>,
    ) -> Result<Self, Error> {
        // SAFETY: the publisher stays where it is; what is lent of it is kept with the same client.
        let open = unsafe {
            Owned::new(client, |client| {
                client.publisher_options(channel).keep(keep).content_type(content_type.unwrap_or_default()).open()
            })
        }?;
        Ok(Self(Exclusive::new("publisher", Box::new(open))))
    }

    /// Takes the publisher out, for a thread that uses it alone.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Turn<'_, Open>> {
        self.0.take(py)
    }

    /// Calls `attempt` until it succeeds, or lossless subscribers have been in the way for `timeout`. In between,
    /// `wait` waits for them, detached, for at most the time it is given. A signal (Ctrl-C) ends the wait.
    pub(crate) fn patiently<R>(
        &self,
        py: Python<'_>,
        timeout: Duration,
        mut attempt: impl FnMut(&mut Open) -> Result<R, Error>,
        wait: impl Fn(&mut Open, Duration) -> Result<(), Error> + Sync,
    ) -> PyResult<R> {
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        loop {
            let left = deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
            let mut turn = self.take(py)?;
            match attempt(&mut turn) {
                Err(Error::Channel(ChannelError::Backlog { .. })) if !left.is_zero() => {
                    let (publisher, wait) = (&mut *turn, &wait);
                    // Whatever comes of it, the next attempt finds out.
                    py.detach(move || _ = wait(publisher, left.min(LOOK)));
                }
                done => return done.map_err(errors::of_frame),
            }
            drop(turn);
            py.check_signals()?;
        }
    }

    /// Ends the publisher.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.close(py)
    }

    /// Whether the publisher has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Waits for room, as [`patiently`](Sending::patiently) asks for it.
pub(crate) fn ready(publisher: &mut Open, timeout: Duration) -> Result<(), Error> {
    publisher.ready(timeout)
}

impl From<RustSent> for Sent {
    fn from(sent: RustSent) -> Self {
        Self(sent)
    }
}

#[pymethods]
impl Sent {
    /// Its sequence number in the channel, from 0 on.
    #[getter]
    fn number(&self) -> u64 {
        self.0.number
    }

    /// Its description, with which any client of the ring can read it.
    #[getter]
    fn frame(&self) -> Frame {
        Frame(self.0.frame)
    }

    fn __repr__(&self) -> String {
        format!("Sent(number={}, size={})", self.0.number, self.0.frame.size)
    }
}
