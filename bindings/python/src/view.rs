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

/// A frame in the ring itself: a read-only buffer, for `memoryview`, `numpy.frombuffer` and the like, aligned to 64 bytes.
///
/// The bytes do not change until the view is released: by `release()`, at the end of a `with` block (or of the last array of
/// it, if one outlives the block), or when it is collected. Until then allocations go around it, and the ring is smaller by
/// that much. A view that a forked child inherits is protected only for as long as its parent keeps it.
// Invariant: while `exports` is not zero, `pinned` is there. So the bytes that a buffer shows stay pinned.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct View {
    frame: RustFrame,
    is_hashed: bool,
    state: Mutex<State>,
}

struct State {
    /// `None` once released. Shared with `verify` while that runs.
    pinned: Option<Arc<Pinned>>,
    /// Buffers that show the bytes now.
    exports: usize,
    /// To be released with the last of them.
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
}

#[pymethods]
impl View {
    /// The frame's description.
    #[getter]
    fn frame(&self) -> Frame {
        Frame(self.frame)
    }

    /// Whether the writer has hashed the frame: not so after `Loan.commit_unhashed`.
    #[getter]
    fn is_hashed(&self) -> bool {
        self.is_hashed
    }

    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.frame.size
    }

    /// Whether it is released.
    #[getter]
    fn released(&self) -> bool {
        self.state().pinned().is_err()
    }

    /// Hashes the bytes and compares them with the checksum. Nothing is compared of a frame that was not hashed.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If they differ: somebody has written to the ring past this library.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        let pinned = Arc::clone(self.state().pinned()?);
        let verify = move || pinned.borrow_dependent().verify();
        moving(py, self.frame.size as usize, verify).map_err(|timeout| errors::of_frame(timeout.into()))
    }

    /// Lets the frame go: writers may overwrite it. Does nothing if it is released.
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

    /// Releases now, or with the last buffer: an array made inside of the block often outlives it by a line.
    ///
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

    // # Safety: the interpreter calls it, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let mut state = this.state();
        let bytes = state.pinned().map_err(|_| PyBufferError::new_err("the view is released"))?.borrow_dependent();
        let bytes = (bytes.as_ptr().cast_mut(), bytes.len());
        // SAFETY: the interpreter asks. The bytes stay valid for as long as `pinned` is there, which is until the buffer is
        // released, by the invariant; they are shown read-only.
        unsafe { export(slf.as_any(), view, flags, bytes, true) }?;
        state.exports += 1;
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let mut state = self.state();
        state.exports -= 1;
        if state.exports == 0 && state.ending {
            state.pinned = None;
        }
    }
}
