//! `Loan`: a frame written in place, as a writable buffer.

use std::ffi::c_int;
use std::sync::Arc;

use framebuffer::{Error, FrameBufferClient, Loan as RustLoan};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::arguments::number;
use crate::detached::moving;
use crate::errors;
use crate::frame::Frame;
use crate::lender::{Lender, Words};
use crate::owned::Owned;

/// How messages speak of loans.
pub(crate) const WORDS: Words =
    Words { noun: "loan", released: "the loan has ended: it was committed, sent or released" };

/// A frame of the ring, lent for writing: a writable buffer for `memoryview`, `numpy.frombuffer` and the like, aligned
/// to 64 bytes. No one else sees its bytes before `commit`.
///
/// `release()`, the end of a `with` block or the garbage collector gives back an uncommitted loan; its frame counts as
/// never written.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Loan {
    lender: Lender<Owned<RustLoan<'static>>>,
}

impl Loan {
    pub(crate) fn open(client: Arc<FrameBufferClient>, size: u64) -> Result<Self, Error> {
        // SAFETY: the loan stays where it is, until it ends there.
        let mut loan = unsafe { Owned::new(client, |client| client.loan(size)) }?;
        let (address, len) = (loan.as_mut_ptr(), loan.len());
        Ok(Self { lender: Lender::new(WORDS, loan, address, len) })
    }

    /// Commits the frame, which ends the loan.
    fn end(&self, py: Python<'_>, hashed: bool) -> PyResult<Frame> {
        let (loan, len) = self.lender.take()?;
        let commit = |loan: RustLoan<'static>| if hashed { loan.commit() } else { loan.commit_unhashed() };
        let frame = moving(py, if hashed { len } else { 0 }, move || loan.end(commit));
        frame.map(Frame).map_err(errors::of_frame)
    }
}

#[pymethods]
impl Loan {
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
    ///     BufferError: If memoryviews or arrays of it are in use.
    fn truncate(&self, size: &Bound<'_, PyAny>) -> PyResult<()> {
        let size = number(size, "size")?;
        self.lender.truncate(usize::try_from(size).unwrap_or(usize::MAX), |loan| loan.truncate(size))
    }

    /// Hashes the bytes where they are, makes the frame readable and returns its description.
    ///
    /// Raises:
    ///     BufferError: If memoryviews or arrays of it are in use: a committed frame must not change.
    ///     FrameBufferError: In a forked child, if the loan is the parent's.
    fn commit(&self, py: Python<'_>) -> PyResult<Frame> {
        self.end(py, true)
    }

    /// Commits without hashing, in a time that does not depend on the size: readers cannot notice that a program has
    /// overwritten the frame's bytes. Raises as `commit`.
    fn commit_unhashed(&self, py: Python<'_>) -> PyResult<Frame> {
        self.end(py, false)
    }

    /// Gives the frame back; it counts as never written. Does nothing if the loan has ended.
    ///
    /// Raises:
    ///     BufferError: If memoryviews or arrays of it are in use.
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

    /// Gives an uncommitted frame back, now or with the last buffer.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        self.lender.end();
    }

    fn __repr__(&self) -> String {
        let ended = if self.released() { ", ended" } else { "" };
        format!("<Loan of {} bytes{ended}>", self.nbytes())
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
