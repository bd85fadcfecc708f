//! `Sample`: a frame that was received, as a read-only buffer, array or tensor.

use std::ffi::c_int;

use framebuffer::{Descriptor, Frame as RustFrame, Sample as RustSample};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::array;
use crate::dlpack::{self, Lends, Request};
use crate::frame::Frame;
use crate::lender::{Lender, Words};
use crate::owned::Owned;
use crate::view::{Pinned, lend, verify};

const WORDS: Words = Words { noun: "sample", released: "the sample is released" };

/// A frame that was received: `array()`, or a read-only buffer of its bytes for `memoryview` and the like, and what was
/// said of it.
///
/// The bytes are in the ring itself and do not change until the sample is released: by `release()`, by the end of a
/// `with` block (or of its last array, if one outlives the block), or by the garbage collector. Until then allocations
/// skip the frame, and the ring is smaller by that much. Copy what you keep for long.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Sample {
    frame: RustFrame,
    is_hashed: bool,
    number: u64,
    time: u64,
    committed: u64,
    descriptor: Descriptor,
    lender: Lender<Pinned>,
}

impl Sample {
    pub(crate) fn new(sample: Owned<RustSample<'static>>) -> Self {
        let (number, time, committed) = (sample.number(), sample.time(), sample.committed());
        let (frame, descriptor) = (*sample.frame(), *sample.descriptor());
        let is_hashed = sample.view().is_hashed();
        let lender = lend(WORDS, sample.map(RustSample::into_view));
        Self { frame, is_hashed, number, time, committed, descriptor, lender }
    }
}

impl Lends for Sample {
    fn begin_export(&self) -> PyResult<(*mut u8, usize)> {
        self.lender.begin_export()
    }

    fn end_export(&self) {
        self.lender.end_export();
    }
}

#[pymethods]
impl Sample {
    /// The frame as an array of numpy in the ring itself, read-only, of the type and shape that the publisher has said;
    /// without them, one of bytes. As long as the array lives, the frame is not overwritten.
    ///
    /// Raises:
    ///     ValueError: If the sample is released, or its bytes are no whole number of elements.
    ///     TypeError: If numpy has no such elements.
    ///     ImportError: If numpy, or ml_dtypes for bfloat16 and smaller, is not installed.
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        this.lender.check()?;
        array::of(slf.as_any(), &this.descriptor, this.lender.len())
    }

    /// The frame as a tensor, by DLPack: `torch.from_dlpack(sample)`, say. Who does not know of read-only tensors gets
    /// one that must not be written to.
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
        dlpack::lend(slf, Request { max_version, device: dl_device, copy }, &slf.get().descriptor, true)
    }

    /// `(1, 0)`: the CPU.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::device()
    }

    /// Its sequence number in the channel, from 0 on.
    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// When its content is from, in nanoseconds, as the publisher says; when it was sent, if it says nothing.
    #[getter]
    fn time(&self) -> u64 {
        self.time
    }

    /// When it was sent, in nanoseconds since 1970.
    #[getter]
    fn committed(&self) -> u64 {
        self.committed
    }

    /// The number of elements in each dimension; `None` if the publisher has not said.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match self.descriptor.dimensions() {
            [] => Ok(None),
            dimensions => PyTuple::new(py, dimensions).map(Some),
        }
    }

    /// The name of the elements' type, `"uint8"` say; `None` if the publisher has not said.
    #[getter]
    fn dtype(&self) -> Option<String> {
        let element = self.descriptor.element_type();
        (!element.is_unknown()).then(|| element.to_string())
    }

    /// Bytes from one row to the next; 0 if the rows lie one behind the other.
    #[getter]
    fn row_stride(&self) -> u64 {
        self.descriptor.row_stride()
    }

    /// The pixel format, `"NV12"` say; `None` if the publisher has not said.
    #[getter]
    fn fourcc(&self) -> Option<String> {
        let fourcc = self.descriptor.pixel_format();
        (!fourcc.is_none()).then(|| fourcc.to_string())
    }

    /// The publisher's own word of 64 bits.
    #[getter]
    fn user(&self) -> u64 {
        self.descriptor.user_word()
    }

    /// The frame's description, with which any client of the ring can read it.
    #[getter]
    fn frame(&self) -> Frame {
        Frame(self.frame)
    }

    /// Whether the publisher has hashed the frame: false after `SendingLoan.send(hashed=False)`.
    #[getter]
    fn is_hashed(&self) -> bool {
        self.is_hashed
    }

    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.frame.size
    }

    /// Whether the sample is released.
    #[getter]
    fn released(&self) -> bool {
        self.lender.is_released()
    }

    /// Hashes the bytes and compares the result with the checksum. Does nothing if the frame was not hashed.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If they differ: a program has written to the ring without this library.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        verify(py, &self.lender)
    }

    /// Gives the frame back: writers may overwrite it. Does nothing if the sample is released.
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

    /// Releases the sample, now or with its last buffer.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        self.lender.end();
    }

    fn __repr__(&self) -> String {
        let shape = match self.descriptor.dimensions() {
            [] => String::new(),
            dimensions => format!(", {} {dimensions:?}", self.descriptor.element_type()),
        };
        let released = if self.released() { ", released" } else { "" };
        format!("<Sample {} of {} bytes{shape}{released}>", self.number, self.frame.size)
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
