//! `SendingLoan`: a frame that is filled in place and sent over a channel.

use std::ffi::c_int;
use std::sync::Arc;
use std::time::Duration;

use framebuffer::{Descriptor, UnsentFrame};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::arguments::{self, number};
use crate::array;
use crate::detached::moving;
use crate::dlpack::{self, Lends, Request};
use crate::errors;
use crate::lender::Lender;
use crate::loan::WORDS;
use crate::owned::Owned;
use crate::payload::Told;
use crate::sending::{Open, Sending, Sent, ready};

/// A frame of the ring, lent for writing and sending: `array()`, or a writable buffer for `memoryview`, aligned to 64
/// bytes. No one else sees its bytes before `send`.
///
/// `release()`, the end of a `with` block or the garbage collector gives back a loan that was not sent; its frame
/// counts as never written.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct SendingLoan {
    sending: Arc<Sending>,
    descriptor: Descriptor,
    lender: Lender<Owned<UnsentFrame<'static>>>,
}

impl SendingLoan {
    pub(crate) fn new(sending: Arc<Sending>, mut frame: Owned<UnsentFrame<'static>>, descriptor: Descriptor) -> Self {
        let (address, len) = (frame.as_mut_ptr(), frame.len());
        Self { sending, descriptor, lender: Lender::new(WORDS, frame, address, len) }
    }
}

impl Lends for SendingLoan {
    fn begin_export(&self) -> PyResult<(*mut u8, usize)> {
        self.lender.begin_export()
    }

    fn end_export(&self) {
        self.lender.end_export();
    }
}

#[pymethods]
impl SendingLoan {
    /// The frame as a writable array of numpy in the ring itself, of the loan's shape and type; without them, one of
    /// bytes. Delete it before you send the loan.
    ///
    /// Raises:
    ///     ValueError: If the loan has ended, or its bytes are no whole number of elements.
    ///     TypeError: If numpy has no such elements.
    ///     ImportError: If numpy, or ml_dtypes for bfloat16 and smaller, is not installed.
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        this.lender.check()?;
        array::of(slf.as_any(), &this.descriptor, this.lender.len())
    }

    /// The frame as a tensor to write to, by DLPack: `torch.from_dlpack(loan)`, say.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The CPU has none.
        let _ = stream;
        dlpack::lend(slf, Request { max_version, device: dl_device, copy }, &slf.get().descriptor, false)
    }

    /// `(1, 0)`: the CPU.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::device()
    }

    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.lender.len()
    }

    /// Whether the loan has ended.
    #[getter]
    fn released(&self) -> bool {
        self.lender.is_released()
    }

    /// Shortens the frame to its first `size` bytes, for data whose size was not known before.
    ///
    /// Raises:
    ///     BufferError: If memoryviews, arrays or tensors of it are in use.
    fn truncate(&self, size: &Bound<'_, PyAny>) -> PyResult<()> {
        let size = number(size, "size")?;
        self.lender.truncate(usize::try_from(size).unwrap_or(usize::MAX), |loan| loan.truncate(size))
    }

    /// Sends the frame, which ends the loan. Arguments as those of `Publisher.send`; without a shape or dtype, those
    /// that the loan was asked for.
    ///
    /// Args:
    ///     hashed: Whether to hash the bytes first. Without, sending takes a time that does not depend on the size, but
    ///         readers cannot notice that a program has overwritten the frame's bytes.
    ///
    /// Raises:
    ///     BufferError: If memoryviews, arrays or tensors of it are in use: a frame that is sent must not change.
    ///     FrameBufferBacklog: If a lossless subscriber has yet to receive a frame that would no longer be kept. The
    ///         loan goes on, unless another publisher of the channel came in between: then its frame is lost.
    ///     FrameBufferRetired: If the ring was given up since the frame was lent.
    ///     ValueError, FrameBufferError: As `Publisher.send`.
    #[pyo3(signature = (*, time = None, shape = None, dtype = None, row_stride = None, fourcc = None, user = None,
                        hashed = true, timeout = 0.0))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn send<'py>(
        &self,
        py: Python<'py>,
        time: Option<&Bound<'py, PyAny>>,
        shape: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
        row_stride: Option<&Bound<'py, PyAny>>,
        fourcc: Option<&str>,
        user: Option<&Bound<'py, PyAny>>,
        hashed: bool,
        timeout: Option<f64>,
    ) -> PyResult<Sent> {
        let told = Told { time, shape, dtype, row_stride, fourcc, user };
        let descriptor = told.describe(self.descriptor)?;
        descriptor.check(self.lender.len() as u64).map_err(|error| errors::of_frame(error.into()))?;
        let attempt = |publisher: &mut Open| publisher.ready(Duration::ZERO);
        self.sending.patiently(py, arguments::timeout(timeout)?, attempt, ready)?;
        let mut turn = self.sending.take(py)?;
        let (loan, len) = self.lender.take()?;
        let publisher = &mut *turn;
        let send = move || loan.end(|frame| publisher.send_loan(frame, &descriptor, hashed, Duration::ZERO));
        let sent = moving(py, if hashed { len } else { 0 }, send);
        sent.map(Sent::from).map_err(errors::of_frame)
    }

    /// Gives the frame back; it counts as never written. Does nothing if the loan has ended.
    ///
    /// Raises:
    ///     BufferError: If memoryviews, arrays or tensors of it are in use.
    fn release(&self) -> PyResult<()> {
        self.lender.release()
    }

    fn __len__(&self) -> usize {
        self.nbytes()
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().lender.check()?;
        Ok(slf)
    }

    /// Gives a frame that was not sent back, now or with the last buffer.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        self.lender.end();
    }

    fn __repr__(&self) -> String {
        let ended = if self.released() { ", ended" } else { "" };
        format!("<SendingLoan of {} bytes{ended}>", self.nbytes())
    }

    // # Safety: called by the interpreter, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the request is the interpreter's. The bytes are ours to write while the loan lasts.
        unsafe { slf.get().lender.lend(slf.as_any(), view, flags, false) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.lender.end_export();
    }
}
