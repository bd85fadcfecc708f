//! [`Lender`]: bytes of the ring that a Python object lends to buffers.

use std::ffi::c_int;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::buffer::export;

/// The bytes of a view, sample or loan, and what keeps them in the ring. They are lent to any number of buffers; what
/// keeps them is let go of once it is released and none of these is left.
// Invariant: while `exports` is not zero, `keeper` is `Some`. So the bytes that a buffer exposes stay where they are,
// and when a loan is committed nobody can write to it.
pub(crate) struct Lender<K> {
    words: Words,
    state: Mutex<State<K>>,
}

/// How messages speak of it.
pub(crate) struct Words {
    pub(crate) noun: &'static str,
    pub(crate) released: &'static str,
}

struct State<K> {
    /// `None` once released.
    keeper: Option<K>,
    /// The bytes' address. Taken once: taking it again would need a reference to bytes that buffers alias.
    address: AtomicPtr<u8>,
    len: usize,
    /// Buffers that expose the bytes now.
    exports: usize,
    /// Whether to let go with the last of them.
    ending: bool,
}

impl<K> Lender<K> {
    /// Lends `len` bytes at `address`, which `keeper` keeps there.
    pub(crate) fn new(words: Words, keeper: K, address: *mut u8, len: usize) -> Self {
        let address = AtomicPtr::new(address);
        Self { words, state: Mutex::new(State { keeper: Some(keeper), address, len, exports: 0, ending: false }) }
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.state().len
    }

    /// Whether it is released.
    pub(crate) fn is_released(&self) -> bool {
        self.state().keeper().is_none()
    }

    /// Calls `look` with what keeps the bytes.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&K) -> R) -> PyResult<R> {
        self.state().keeper().map(|keeper| look(keeper)).ok_or_else(|| self.released())
    }

    /// Shortens it to its first `len` bytes.
    pub(crate) fn truncate(&self, len: usize, truncate: impl FnOnce(&mut K)) -> PyResult<()> {
        let mut state = self.idle()?;
        state.len = state.len.min(len);
        state.keeper().map(truncate).ok_or_else(|| self.released())
    }

    /// Takes what keeps the bytes, and their number, out: they are not lent any more.
    pub(crate) fn take(&self) -> PyResult<(K, usize)> {
        let mut state = self.idle()?;
        let len = state.len;
        state.keeper.take().map(|keeper| (keeper, len)).ok_or_else(|| self.released())
    }

    /// Lets go now. Does nothing if it is released.
    pub(crate) fn release(&self) -> PyResult<()> {
        if !self.is_released() {
            self.idle()?.keeper = None;
        }
        Ok(())
    }

    /// Lets go, now or with the last buffer.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        state.let_go_if_ended();
    }

    /// Fails if it is released.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.look(|_| ())
    }

    /// Counts one more buffer, which exposes the bytes: their address and number.
    pub(crate) fn begin_export(&self) -> PyResult<(*mut u8, usize)> {
        let mut state = self.state();
        if state.keeper().is_none() {
            return Err(PyBufferError::new_err(self.words.released));
        }
        state.exports += 1;
        Ok((state.address.load(Ordering::Relaxed), state.len))
    }

    /// A buffer is released.
    pub(crate) fn end_export(&self) {
        let mut state = self.state();
        state.exports -= 1;
        state.let_go_if_ended();
    }

    /// Answers a request for the buffer of `owner`, the object that this is in.
    ///
    /// # Safety
    ///
    /// `view` and `flags` come from the interpreter's request. The bytes may be written to, unless `readonly`.
    pub(crate) unsafe fn lend(
        &self,
        owner: &Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        readonly: bool,
    ) -> PyResult<()> {
        let bytes = self.begin_export()?;
        // SAFETY: the caller vouches for the request. By the invariant, the bytes are kept until the buffer is
        // released.
        unsafe { export(owner, view, flags, bytes, readonly) }.inspect_err(|_| self.end_export())
    }

    /// Fails while buffers expose the bytes.
    fn idle(&self) -> PyResult<MutexGuard<'_, State<K>>> {
        let mut state = self.state();
        if state.keeper().is_none() {
            return Err(self.released());
        }
        match state.exports {
            0 => Ok(state),
            exports => Err(PyBufferError::new_err(format!(
                "{exports} memoryviews or arrays of the {} are still in use: release or delete them first",
                self.words.noun
            ))),
        }
    }

    fn released(&self) -> PyErr {
        PyValueError::new_err(self.words.released)
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> State<K> {
    fn keeper(&mut self) -> Option<&mut K> {
        self.keeper.as_mut().filter(|_| !self.ending)
    }

    fn let_go_if_ended(&mut self) {
        if self.exports == 0 && self.ending {
            self.keeper = None;
        }
    }
}
