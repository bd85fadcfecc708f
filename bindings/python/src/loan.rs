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

/// `None` once it is committed.
type MaybeLoan<'c> = Option<RustLoan<'c>>;

self_cell!(
    /// A loan, and the client that it borrows from.
    struct Lent {
        owner: Arc<FrameBufferClient>,

        #[covariant]
        dependent: MaybeLoan,
    }
);

/// A frame of the ring lent for writing: a writable buffer, for `memoryview`, `numpy.frombuffer` and the like, aligned to 64
/// bytes. Nobody else sees its bytes before `commit`.
///
/// Given back as never written by `release()`, at the end of a `with` block, or when it is collected.
// Invariant: while `exports` is not zero, `lent` is there. So nobody but the holders of its buffers touches the bytes, and
// when the frame is committed there are none.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Loan {
    state: Mutex<State>,
}

struct State {
    /// `None` once committed or given back.
    lent: Option<Lent>,
    /// The bytes' address. Taken once: a reference to them may not come between the buffers.
    address: AtomicPtr<u8>,
    len: usize,
    /// Buffers that show the bytes now.
    exports: usize,
    /// To be given back with the last of them.
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

    /// Ends the loan by making its bytes readable.
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

    /// Refuses while buffers show the bytes.
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

    /// Whether it has ended.
    #[getter]
    fn released(&self) -> bool {
        self.state().lent().is_err()
    }

    /// Shortens the frame to its first `size` bytes, for data whose size is known only when it is there.
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
    ///     BufferError: If memoryviews or arrays of it are in use: what is committed does not change any more.
    ///     FrameBufferError: In a forked child, if the loan is the parent's.
    fn commit(&self, py: Python<'_>) -> PyResult<Frame> {
        self.end(py, true)
    }

    /// As `commit`, but in a time that does not depend on the size: nobody will notice if a program scribbles on the frame.
    fn commit_unhashed(&self, py: Python<'_>) -> PyResult<Frame> {
        self.end(py, false)
    }

    /// Gives the frame back as never written. Does nothing if the loan has ended.
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

    /// Gives the frame back unless it was committed, now or with the last buffer.
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

    // # Safety: the interpreter calls it, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let mut state = this.state();
        state.lent().map_err(|_| PyBufferError::new_err("the loan has ended"))?;
        let bytes = (state.address.load(Ordering::Relaxed), state.len);
        // SAFETY: the interpreter asks. The bytes are ours to write for as long as `lent` is there, which is until the buffer
        // is released, by the invariant.
        unsafe { export(slf.as_any(), view, flags, bytes, false) }?;
        state.exports += 1;
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let mut state = self.state();
        state.exports -= 1;
        if state.exports == 0 && state.ending {
            state.lent = None;
        }
    }
}
