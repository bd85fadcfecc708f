//! [`Source`] and [`Target`]: the bytes of a Python object, kept in place while they are copied.
//!
//! A buffer keeps its object from being resized (`bytearray`) and freed. It does not keep other threads from writing to
//! the object, so its bytes are only touched by address, never through a slice.

use std::ffi::c_int;
use std::sync::atomic::AtomicPtr;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{ffi, intern};

use crate::errors::{not_contiguous, type_name};

/// Bytes to copy from.
pub(crate) enum Source<'py> {
    /// Immutable.
    Bytes(Bound<'py, PyBytes>),
    Buffer(PyUntypedBuffer),
}

impl<'py> Source<'py> {
    /// The bytes of a `bytes`, of anything with a contiguous buffer, or of the attribute `data` of an object without
    /// one (`xmlrpc.client.Binary`).
    pub(crate) fn get(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let error = match contiguous(value) {
            Ok(buffer) => return Ok(Self::Buffer(buffer)),
            Err(error) => error,
        };
        if !error.is_instance_of::<PyTypeError>(value.py()) {
            return Err(error);
        }
        match value.getattr_opt(intern!(value.py(), "data"))? {
            Some(data) if data.is_instance_of::<PyBytes>() => Ok(Self::Bytes(data.cast_into()?)),
            _ => Err(PyTypeError::new_err(format!("bytes or another buffer is needed, not {}", type_name(value)))),
        }
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes().len(),
            Self::Buffer(buffer) => buffer.len_bytes(),
        }
    }

    /// Their address: valid for reads of [`len`](Self::len) bytes while this lives. Atomic, so that it can go where the
    /// thread is detached from the interpreter.
    pub(crate) fn address(&self) -> AtomicPtr<u8> {
        AtomicPtr::new(match self {
            Self::Bytes(bytes) => bytes.as_bytes().as_ptr().cast_mut(),
            Self::Buffer(buffer) => buffer.buf_ptr().cast(),
        })
    }

    /// The bytes, if there are `N` of them.
    pub(crate) fn copy_to_array<const N: usize>(&self) -> Option<[u8; N]> {
        if self.len() != N {
            return None;
        }
        let mut array = [0; N];
        // SAFETY: the source is valid for reads of N bytes while `self` lives, the array is our own.
        unsafe { std::ptr::copy_nonoverlapping(self.address().into_inner(), array.as_mut_ptr(), N) };
        Some(array)
    }
}

/// Bytes to copy to.
pub(crate) struct Target(PyUntypedBuffer);

impl Target {
    /// The bytes of anything with a contiguous, writable buffer.
    pub(crate) fn get(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = contiguous(value)?;
        if buffer.readonly() {
            return Err(PyBufferError::new_err(format!("the buffer of this {} is read-only", type_name(value))));
        }
        Ok(Self(buffer))
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len_bytes()
    }

    /// Their address: valid for writes of [`len`](Self::len) bytes while this lives.
    pub(crate) fn address(&self) -> AtomicPtr<u8> {
        AtomicPtr::new(self.0.buf_ptr().cast())
    }
}

fn contiguous(value: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let buffer = PyUntypedBuffer::get(value)?;
    if buffer.is_c_contiguous() { Ok(buffer) } else { Err(not_contiguous()) }
}

/// Makes a `bytes` of this length that `fill` writes, given its address. Unlike `PyBytes::new_with`, it does not clear
/// the bytes first.
pub(crate) fn new_bytes(
    py: Python<'_>,
    len: usize,
    fill: impl FnOnce(AtomicPtr<u8>) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    let signed = isize::try_from(len).map_err(|_| pyo3::exceptions::PyMemoryError::new_err(()))?;
    // SAFETY: we are attached; a null pointer asks for uninitialised bytes.
    let new = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), signed) };
    // SAFETY: a new reference, or null with the exception set.
    let new = unsafe { Bound::from_owned_ptr_or_err(py, new) }?;
    // SAFETY: it is a bytes object.
    let bytes = unsafe { new.cast_into_unchecked::<PyBytes>() };
    // SAFETY: it is a bytes object.
    let address = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) };
    // Nobody else has seen them yet. The empty `bytes` is shared, but nothing is written to it.
    fill(AtomicPtr::new(address.cast()))?;
    Ok(bytes)
}

/// Answers a request for the buffer of `owner`: `len` bytes at `address`, in one dimension. The buffer keeps a
/// reference to the owner.
///
/// # Safety
///
/// `view` and `flags` come from the interpreter's request. The bytes stay valid (for writes, too, unless `readonly`)
/// until the buffer is released.
pub(crate) unsafe fn export(
    owner: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
    (address, len): (*mut u8, usize),
    readonly: bool,
) -> PyResult<()> {
    let len = isize::try_from(len).map_err(|_| PyBufferError::new_err("too long for a buffer"))?;
    // SAFETY: the caller vouches for the request and the bytes.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), address.cast(), len, c_int::from(readonly), flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}
