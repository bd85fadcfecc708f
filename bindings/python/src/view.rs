//! `View`: a frame read in place, as a read-only buffer.

use std::ffi::c_int;
use std::sync::Arc;

use framebuffer::{Error, Frame as RustFrame, FrameBufferClient, View as RustView};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::detached::moving;
use crate::dlpack::Lends;
use crate::errors;
use crate::frame::Frame;
use crate::lender::{Lender, Words};
use crate::owned::Owned;

/// A frame that is pinned. Shared with a `verify` that is running.
type Pinned = Arc<Owned<RustView<'static>>>;

const WORDS: Words = Words { noun: "view", released: "the view is released" };

/// A frame in the ring itself: a read-only buffer for `memoryview`, `numpy.frombuffer` and the like, aligned to 64
/// bytes.
///
/// The bytes do not change until the view is released: by `release()`, by the end of a `with` block (or of its last
/// array, if one outlives the block), or by the garbage collector. Until then allocations skip the frame, and the ring
/// is smaller by that much. A view inherited by a forked child is protected only while its parent keeps it.
#[pyclass(frozen, weakref, subclass, module = "framebuffer")]
pub(crate) struct View {
    frame: RustFrame,
    is_hashed: bool,
    lender: Lender<Pinned>,
}

impl View {
    pub(crate) fn open(client: Arc<FrameBufferClient>, frame: &RustFrame) -> Result<Self, Error> {
        // SAFETY: the view stays where it is.
        let view = unsafe { Owned::new(client, |client| client.view(frame)) }?;
        Ok(Self::new(WORDS, view))
    }

    /// A view that messages call by these words.
    pub(crate) fn new(words: Words, view: Owned<RustView<'static>>) -> Self {
        let (frame, is_hashed) = (*view.frame(), view.is_hashed());
        let (address, len) = (view.as_ptr().cast_mut(), view.len());
        Self { frame, is_hashed, lender: Lender::new(words, Arc::new(view), address, len) }
    }

    /// Its size, if it is not released.
    pub(crate) fn size(&self) -> PyResult<usize> {
        self.lender.check()?;
        Ok(self.lender.len())
    }

    /// Whether it is released, as the texts of objects say it.
    pub(crate) fn released_or_not(&self) -> &'static str {
        if self.lender.is_released() { ", released" } else { "" }
    }
}

impl Lends for View {
    fn begin_export(&self) -> PyResult<(*mut u8, usize)> {
        self.lender.begin_export()
    }

    fn end_export(&self) {
        self.lender.end_export();
    }
}

#[pymethods]
impl View {
    /// The frame's description.
    #[getter]
    fn frame(&self) -> Frame {
        Frame(self.frame)
    }

    /// Whether the writer has hashed the frame: false after `Loan.commit_unhashed` and
    /// `SendingLoan.send(hashed=False)`.
    #[getter]
    fn is_hashed(&self) -> bool {
        self.is_hashed
    }

    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.frame.size
    }

    /// Whether the view is released.
    #[getter]
    fn released(&self) -> bool {
        self.lender.is_released()
    }

    /// Hashes the bytes and compares the result with the checksum. Does nothing if the frame was not hashed.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If they differ: a program has written to the ring without this library.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        let pinned = self.lender.look(Arc::clone)?;
        let verified = moving(py, pinned.len(), move || pinned.verify());
        verified.map_err(|timeout| errors::of_frame(timeout.into()))
    }

    /// Gives the frame back: writers may overwrite it. Does nothing if the view is released.
    ///
    /// Raises:
    ///     BufferError: If memoryviews, arrays or tensors of it are in use.
    fn release(&self) -> PyResult<()> {
        self.lender.release()
    }

    fn __len__(&self) -> usize {
        self.frame.size as usize
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().lender.check()?;
        Ok(slf)
    }

    /// Releases the view, now or with its last buffer: an array made in the block often outlives it by a line.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        self.lender.end();
    }

    fn __repr__(&self) -> String {
        let RustFrame { offset, size, .. } = self.frame;
        format!("<View of {size} bytes at offset {offset}{}>", self.released_or_not())
    }

    // # Safety: called by the interpreter, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the request is the interpreter's, and for bytes to read.
        unsafe { slf.get().lender.lend(slf.as_any(), view, flags, true) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.lender.end_export();
    }
}
