//! `Loan`: a frame written in place, as a writable buffer.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framebuffer::{Error, FrameBufferClient, Loan as RustLoan};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use self_cell::self_cell;

use crate::arguments::number;
use crate::buffer::export;
use crate::detached::moving;
use crate::errors;
use crate::frame::Frame;

/// `None` once committed.
type MaybeLoan<'c> = Option<RustLoan<'c>>;

self_cell!(
    /// A loan, and the client that it borrows from.
    struct Lent {
        owner: Arc<FrameBufferClient>,

        #[covariant]
        dependent: MaybeLoan,
    }
);

/// A frame of the ring, lent for writing: a writable buffer for `memoryview`, `numpy.frombuffer` and the like, aligned
/// to 64 bytes. No one else sees its bytes before `commit`.
///
/// `release()`, the end of a `with` block or the garbage collector gives back an uncommitted loan; its frame counts as
/// never written.
// Invariant: while `exports` is not zero, `lent` is `Some`. So only users of its buffers touch the bytes, and when the
// frame is committed there are none.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Loan {
    state: Mutex<State>,
}

struct State {
    /// `None` once committed or given back.
    lent: Option<Lent>,
    /// The bytes' address. Taken once: taking it again would need a reference to bytes that buffers alias.
    address: AtomicPtr<u8>,
    len: usize,
    /// Buffers that expose the bytes now.
    exports: usize,
    /// Whether to give the frame back with the last of them.
    ending: bool,
}

impl Loan {
    pub(crate) fn open(client: Arc<FrameBufferClient>, size: u64) -> Result<Self, Error> {
        let mut lent = Lent::try_new(client, |client| client.loan(size).map(Some))?;
        let address = lent.with_dependent_mut(|_, loan| loan.as_mut().map_or(null_mut(), |loan| loan.as_mut_ptr()));
        let address = AtomicPtr::new(address);
        let state = State { lent: Some(lent), address, len: size as usize, exports: 0, ending: false };
        Ok(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the frame, which ends the loan.
    fn end(&self, py: Python<'_>, hashed: bool) -> PyResult<Frame> {
        let (mut lent, len) = {
            let mut state = self.state();
            state.idle()?;
            (state.lent.take().ok_or_else(ended)?, state.len)
        };
        let commit = |loan: RustLoan<'_>| if hashed { loan.commit() } else { loan.commit_unhashed() };
        let commit = move || lent.with_dependent_mut(|_, loan| loan.take().map(commit));
        let frame = moving(py, if hashed { len } else { 0 }, commit).ok_or_else(ended)?;
        frame.map(Frame).map_err(errors::of_frame)
    }
}

impl State {
    fn lent(&mut self) -> PyResult<&mut Lent> {
        match &mut self.lent {
            Some(lent) if !self.ending => Ok(lent),
            _ => Err(ended()),
        }
    }

    /// Counts one more buffer, which exposes the bytes: their address and number.
    fn begin_export(&mut self) -> PyResult<(*mut u8, usize)> {
        self.lent().map_err(|_| PyBufferError::new_err("the loan has ended"))?;
        self.exports += 1;
        Ok((self.address.load(Ordering::Relaxed), self.len))
    }

    fn end_export(&mut self) {
        self.exports -= 1;
        if self.exports == 0 && self.ending {
            self.lent = None;
        }
    }

    /// Fails while buffers expose the bytes.
    fn idle(&mut self) -> PyResult<()> {
        self.lent()?;
        match self.exports {
            0 => Ok(()),
            exports => Err(PyBufferError::new_err(format!(
                "{exports} memoryviews or arrays of the loan are still in use: release or delete them first"
            ))),
        }
    }
}

fn ended() -> PyErr {
    PyValueError::new_err("the loan has ended: it was committed or released")
}

#[pymethods]
impl Loan {
    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.state().len
    }

    /// Whether the loan has ended.
    #[getter]
    fn released(&self) -> bool {
        self.state().lent().is_err()
    }

    /// Shortens the frame to its first `size` bytes, for data whose size was not known before.
    ///
    /// Raises:
    ///     BufferError: If memoryviews or arrays of it are in use.
    fn truncate(&self, size: &Bound<'_, PyAny>) -> PyResult<()> {
        let size = number(size, "size")?;
        let mut state = self.state();
        state.idle()?;
        state.lent()?.with_dependent_mut(|_, loan| loan.iter_mut().for_each(|loan| loan.truncate(size)));
        state.len = state.len.min(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(())
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
        let mut state = self.state();
        if state.lent().is_ok() {
            state.idle()?;
            state.lent = None;
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.nbytes()
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().state().lent()?;
        Ok(slf)
    }

    /// Gives an uncommitted frame back, now or with the last buffer.
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        let mut state = self.state();
        state.ending = true;
        if state.exports == 0 {
            state.lent = None;
        }
    }

    fn __repr__(&self) -> String {
        let ended = if self.released() { ", ended" } else { "" };
        format!("<Loan of {} bytes{ended}>", self.nbytes())
    }

    // # Safety: called by the interpreter, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let bytes = this.state().begin_export()?;
        // SAFETY: the request is the interpreter's. The bytes are ours to write while `lent` is `Some`: by the
        // invariant, until the buffer is released.
        unsafe { export(slf.as_any(), view, flags, bytes, false) }.inspect_err(|_| this.state().end_export())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.state().end_export();
    }
}
