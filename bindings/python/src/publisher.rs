//! `Publisher`: sends frames over a channel.

use std::sync::Arc;
use std::time::Duration;

use framebuffer::Descriptor;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arguments::{self, number};
use crate::detached::moving;
use crate::errors;
use crate::payload::{Payload, Told};
use crate::sending::{Open, Sending, Sent, ready};
use crate::sending_loan::SendingLoan;

/// Sends frames over a channel. From `FrameBufferClient.publisher`.
///
/// Sending never waits for a subscriber, unless one has asked for it (`lossless`). The last `keep` frames of a
/// publisher are not overwritten until it is closed: by `close()`, the end of a `with` block, or the garbage collector.
///
/// Threads may share a publisher; they take turns. After a fork, parent and child may both go on using it.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Publisher {
    channel: String,
    sending: Arc<Sending>,
}

impl Publisher {
    pub(crate) fn new(channel: &str, sending: Sending) -> Self {
        Self { channel: channel.to_owned(), sending: Arc::new(sending) }
    }
}

#[pymethods]
impl Publisher {
    /// Copies `data` into the ring and sends it.
    ///
    /// The type and the shape of an array, a memoryview or a tensor (DLPack, in the CPU's memory) travel with it.
    /// `data` may be anything with a contiguous buffer. Of a sample, all that was said of it is said again.
    ///
    /// Args:
    ///     data: What to send.
    ///     time: When it is from, in nanoseconds: `time.time_ns()`, or the camera's clock. Default: when it is sent.
    ///     shape: Its shape, if the data does not tell: up to 4 dimensions, outermost first.
    ///     dtype: The type of its elements, by name (`"uint8"`, `"bfloat16"`) or as a dtype, if the data does not tell.
    ///         Without a shape, the frame is a row of them.
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
        let sent = self.sending.patiently(py, arguments::timeout(timeout)?, send, ready)?;
        Ok(sent.into())
    }

    /// Lends a frame in the ring itself, to fill in place and send without a copy: of `size` bytes, or of a shape and a
    /// type, for `SendingLoan.array()`.
    ///
    /// At first it contains the bytes of older frames. Raises as `FrameBufferClient.loan`.
    #[pyo3(signature = (size = None, *, shape = None, dtype = None))]
    fn loan<'py>(
        &self,
        py: Python<'py>,
        size: Option<&Bound<'py, PyAny>>,
        shape: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<SendingLoan> {
        let told = Told { shape, dtype, ..Told::default() };
        let descriptor = told.describe(Descriptor::new())?;
        let size = match size {
            Some(size) => number(size, "size")?,
            None => descriptor.size().ok_or_else(|| {
                PyTypeError::new_err("loan() takes a size in bytes, or a shape (and a dtype, uint8 without)")
            })?,
        };
        descriptor.check(size).map_err(|error| errors::of_frame(error.into()))?;
        let loan = {
            let mut turn = self.sending.take(py)?;
            let loan = turn.loan_raw(size).map_err(errors::of_frame)?;
            // SAFETY: it is lent by this publisher.
            unsafe { turn.with(loan) }
        };
        Ok(SendingLoan::new(Arc::clone(&self.sending), loan, descriptor))
    }

    /// Waits until no lossless subscriber is in the way of the next frame, for at most `timeout` seconds (`None` for
    /// ever). If this is the channel's only publisher, the next `send` does not have to wait then.
    ///
    /// Raises:
    ///     FrameBufferBacklog: After that time.
    #[pyo3(signature = (timeout = None))]
    fn ready(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.sending.patiently(py, arguments::timeout(timeout)?, |publisher| publisher.ready(Duration::ZERO), ready)
    }

    /// Waits until all lossless subscribers have received all frames of the channel, for at most `timeout` seconds
    /// (`None` for ever): what to do before `close()`, since the frames are no longer kept then.
    ///
    /// Raises:
    ///     FrameBufferBacklog: After that time.
    #[pyo3(signature = (timeout = None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let mut last = None;
        let attempt = |publisher: &mut Open| {
            // Others may go on sending: only what was sent before is waited for.
            let last = match last {
                Some(last) => last,
                None => *last.insert(publisher.last()?),
            };
            publisher.flush_up_to(last, Duration::ZERO)
        };
        self.sending.patiently(py, arguments::timeout(timeout)?, attempt, |publisher, timeout| publisher.flush(timeout))
    }

    /// The channel's name.
    #[getter]
    fn channel(&self) -> &str {
        &self.channel
    }

    /// Whether the publisher is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.sending.is_closed()
    }

    /// Ends the publisher: its frames are no longer kept. Does nothing if it is closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.sending.close(py)
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
