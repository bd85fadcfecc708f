//! `View`: a frame read in place, as a read-only buffer.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framebuffer::{Error, Frame as RustFrame, FrameBufferClient, View as RustView};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use self_cell::self_cell;

use crate::buffer::export;
use crate::detached::moving;
use crate::errors;
use crate::frame::Frame;

self_cell!(
    /// A view, and the client that it borrows from.
    struct Pinned {
        owner: Arc<FrameBufferClient>,

        #[covariant]
        dependent: RustView,
    }
);

/// A frame in the ring itself: a read-only buffer for `memoryview`, `numpy.frombuffer` and the like, aligned to 64
/// bytes.
///
/// The bytes do not change until the view is released: by `release()`, by the end of a `with` block (or of its last
/// array, if one outlives the block), or by the garbage collector. Until then allocations skip the frame, and the ring
/// is smaller by that much. A view inherited by a forked child is protected only while its parent keeps it.
// Invariant: while `exports` is not zero, `pinned` is `Some`. So the bytes that a buffer exposes stay pinned.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct View {
    frame: RustFrame,
    is_hashed: bool,
    state: Mutex<State>,
}

struct State {
    /// `None` once released. Shared with a `verify` that is running.
    pinned: Option<Arc<Pinned>>,
    /// Buffers that expose the bytes now.
    exports: usize,
    /// Whether to release the view with the last of them.
    ending: bool,
}

impl View {
    pub(crate) fn open(client: Arc<FrameBufferClient>, frame: &RustFrame) -> Result<Self, Error> {
        let pinned = Pinned::try_new(client, |client| client.view(frame))?;
        let is_hashed = pinned.borrow_dependent().is_hashed();
        let state = State { pinned: Some(Arc::new(pinned)), exports: 0, ending: false };
        Ok(Self { frame: *frame, is_hashed, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pinned(&self) -> PyResult<&Arc<Pinned>> {
        match &self.pinned {
            Some(pinned) if !self.ending => Ok(pinned),
            _ => Err(PyValueError::new_err("the view is released")),
        }
    }

    /// Counts one more buffer, which exposes the bytes: their address and number.
    fn begin_export(&mut self) -> PyResult<(*mut u8, usize)> {
        let pinned = self.pinned().map_err(|_| PyBufferError::new_err("the view is released"))?;
        let bytes = pinned.borrow_dependent();
        let bytes = (bytes.as_ptr().cast_mut(), bytes.len());
        self.exports += 1;
        Ok(bytes)
    }

    fn end_export(&mut self) {
        self.exports -= 1;
        if self.exports == 0 && self.ending {
            self.pinned = None;
        }
    }
}

#[pymethods]
impl View {
    /// The frame's description.
    #[getter]
    fn frame(&self) -> Frame {
        Frame(self.frame)
    }

    /// Whether the writer has hashed the frame: false after `Loan.commit_unhashed`.
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
        self.state().pinned().is_err()
    }

    /// Hashes the bytes and compares the result with the checksum. Does nothing if the frame was not hashed.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If they differ: a program has written to the ring without this library.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        let pinned = Arc::clone(self.state().pinned()?);
        let verify = move || pinned.borrow_dependent().verify();
        moving(py, self.frame.size as usize, verify).map_err(|timeout| errors::of_frame(timeout.into()))
    }

    /// Gives the frame back: writers may overwrite it. Does nothing if the view is released.
    ///
    /// Raises:
    ///     BufferError: If memoryviews or arrays of it are in use.
    fn release(&self) -> PyResult<()> {
        let mut state = self.state();
        if state.exports > 0 && !state.ending {
            return Err(PyBufferError::new_err(format!(
                "{} memoryviews or arrays of the view are still in use",
                state.exports
            )));
        }
        if state.exports == 0 {
            state.pinned = None;
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.frame.size as usize
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().state().pinned()?;
        Ok(slf)
    }

    /// Releases the view, now or with its last buffer: an array made in the block often outlives it by a line.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        let mut state = self.state();
        state.ending = true;
        if state.exports == 0 {
            state.pinned = None;
        }
    }

    fn __repr__(&self) -> String {
        let RustFrame { offset, size, .. } = self.frame;
        let released = if self.released() { ", released" } else { "" };
        format!("<View of {size} bytes at offset {offset}{released}>")
    }

    // # Safety: called by the interpreter, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let bytes = this.state().begin_export()?;
        // SAFETY: the request is the interpreter's. The bytes stay valid while `pinned` is `Some`: by the invariant,
        // until the buffer is released. The buffer is read-only.
        unsafe { export(slf.as_any(), view, flags, bytes, true) }.inspect_err(|_| this.state().end_export())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.state().end_export();
    }
}
