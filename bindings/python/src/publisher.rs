//! `Publisher`: sends frames over a channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framebuffer::{ChannelError, Error, FrameBufferClient, Publisher as RustPublisher, Sent as RustSent};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arguments::{self, number};
use crate::detached::{LOOK, moving};
use crate::errors;
use crate::exclusive::{Exclusive, Turn};
use crate::frame::Frame;
use crate::owned::Owned;
use crate::payload::{Payload, Told};
use crate::sending_loan::SendingLoan;

pub(crate) type Open = Box<Owned<RustPublisher<'static>>>;

/// Sends frames over a channel. From `FrameBufferClient.publisher`.
///
/// Sending never waits for a subscriber, unless one has asked for it (`lossless`). The last `keep` frames of a
/// publisher are not overwritten until it is closed: by `close()`, the end of a `with` block, or the garbage collector.
///
/// Threads may share a publisher; they take turns. After a fork, parent and child may both go on using it.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Publisher {
    channel: String,
    open: Exclusive<Open>,
}

/// A frame that was sent.
#[pyclass(frozen, module = "framebuffer")]
pub(crate) struct Sent(RustSent);

impl Publisher {
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
        Ok(Self { channel: channel.to_owned(), open: Exclusive::new("publisher", Box::new(open)) })
    }

    /// Takes the publisher out, for a thread that uses it alone.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Turn<'_, Open>> {
        self.open.take(py)
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
}

/// Waits for room, as [`patiently`](Publisher::patiently) asks for it.
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

#[pymethods]
impl Publisher {
    /// Copies `data` into the ring and sends it.
    ///
    /// The type and the shape of an array, a memoryview or a tensor (DLPack, in the CPU's memory) travel with it.
    /// `data` may be anything with a contiguous buffer.
    ///
    /// Args:
    ///     data: What to send.
    ///     time: When it is from, in nanoseconds: `time.time_ns()`, or the camera's clock. Default: when it is sent.
    ///     shape: Its shape, if the data does not tell: up to 4 dimensions, outermost first.
    ///     dtype: The type of its elements, by name (`"uint8"`, `"bfloat16"`) or as a dtype, if the data does not tell.
    ///     row_stride: Bytes from one row to the next, if there are gaps between them.
    ///     fourcc: Four characters that name a pixel format, `"NV12"` say.
    ///     user: A word of 64 bits of your own.
    ///     timeout: How long to wait for lossless subscribers, in seconds; `None` for ever. Ctrl-C ends the wait.
    ///
    /// Raises: FrameBufferBacklog: If a lossless subscriber has yet to receive a frame that would no longer be kept.
    /// Nothing is sent then. ValueError: If the data has not the size that its shape says, has more than 4 dimensions,
    /// is larger than the ring, or is big-endian; and if the publisher is closed. FrameBufferExhausted: If samples,
    /// views and loans leave no room. FrameBufferRetired: If the ring was given up.
    #[pyo3(signature = (data, *, time = None, shape = None, dtype = None, row_stride = None, fourcc = None, user = None,
                        timeout = 0.0))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn send<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        time: Option<&Bound<'py, PyAny>>,
        shape: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
        row_stride: Option<&Bound<'py, PyAny>>,
        fourcc: Option<&str>,
        user: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Sent> {
        let Payload { source, descriptor } =
            Payload::get(data, &Told { time, shape, dtype, row_stride, fourcc, user })?;
        let len = source.len();
        let send = |publisher: &mut Open| {
            let from = source.address();
            // SAFETY: `source` keeps these bytes in place until the end of the function.
            moving(py, len, move || unsafe { publisher.send_raw(from.into_inner(), len, &descriptor, Duration::ZERO) })
        };
        let sent = self.patiently(py, arguments::timeout(timeout)?, send, ready)?;
        Ok(sent.into())
    }

    /// Lends a frame in the ring itself, to fill in place and send without a copy: of `size` bytes, or of a shape and a
    /// type, for `SendingLoan.array()`.
    ///
    /// At first it contains the bytes of older frames. Raises as `FrameBufferClient.loan`.
    #[pyo3(signature = (size = None, *, shape = None, dtype = None))]
    fn loan<'py>(
        slf: Bound<'py, Self>,
        py: Python<'py>,
        size: Option<&Bound<'py, PyAny>>,
        shape: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<SendingLoan> {
        let told = Told { shape, dtype, ..Told::default() };
        let descriptor = told.describe(framebuffer::Element::default(), &[])?;
        let size = match size {
            Some(size) => number(size, "size")?,
            None => descriptor.size().ok_or_else(|| {
                PyTypeError::new_err("loan() takes a size in bytes, or a shape (and a dtype, uint8 without)")
            })?,
        };
        descriptor.check(size).map_err(|error| errors::of_frame(error.into()))?;
        let loan = {
            let mut turn = slf.get().take(py)?;
            let loan = turn.loan_raw(size).map_err(errors::of_frame)?;
            // SAFETY: it is lent by this publisher.
            unsafe { turn.with(loan) }
        };
        Ok(SendingLoan::new(slf.unbind(), loan, descriptor))
    }

    /// Waits until no lossless subscriber is in the way of the next frame, for at most `timeout` seconds (`None` for
    /// ever). If this is the channel's only publisher, the next `send` does not have to wait then.
    ///
    /// Raises:
    ///     FrameBufferBacklog: After that time.
    #[pyo3(signature = (timeout = None))]
    fn ready(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.patiently(py, arguments::timeout(timeout)?, |publisher| publisher.ready(Duration::ZERO), ready)
    }

    /// Waits until all lossless subscribers have received all frames of the channel, for at most `timeout` seconds
    /// (`None` for ever): what to do before `close()`, since the frames are no longer kept then.
    ///
    /// Raises:
    ///     FrameBufferBacklog: After that time.
    #[pyo3(signature = (timeout = None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let attempt = |publisher: &mut Open| publisher.flush(Duration::ZERO);
        self.patiently(py, arguments::timeout(timeout)?, attempt, |publisher, timeout| publisher.flush(timeout))
    }

    /// The channel's name.
    #[getter]
    fn channel(&self) -> &str {
        &self.channel
    }

    /// Whether the publisher is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.open.is_closed()
    }

    /// Ends the publisher: its frames are no longer kept. Does nothing if it is closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.open.close(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let closed = if self.closed() { ", closed" } else { "" };
        format!("<Publisher of {:?}{closed}>", self.channel)
    }
}
