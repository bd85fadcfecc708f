//! [`Source`] and [`Target`]: the bytes of a Python object, kept in place while they are copied.
//!
//! A buffer keeps its object from being resized (`bytearray`) and freed. It does not keep other threads from writing to
//! the object, so its bytes are only touched by address, never through a slice.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicPtr;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{ffi, intern};

use crate::dlpack::{self, Borrowed};
use crate::errors::{not_contiguous, type_name};

/// Bytes to copy from.
pub(crate) enum Source<'py> {
    /// Immutable.
    Bytes(Bound<'py, PyBytes>),
    Buffer(Buffer),
    Tensor(Borrowed),
}

impl<'py> Source<'py> {
    /// The bytes of a `bytes`, of anything with a contiguous buffer, of a tensor without one (by DLPack), or of the
    /// attribute `data` of an object without one (`xmlrpc.client.Binary`).
    pub(crate) fn get(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        // SAFETY: we are attached.
        if unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) } != 0 {
            return match contiguous(value) {
                Ok(buffer) => Ok(Self::Buffer(buffer)),
                // jax lends no buffer of bfloat16, for one.
                Err(error) if error.is_instance_of::<PyBufferError>(value.py()) && dlpack::is_tensor(value)? => {
                    Borrowed::get(value).map(Self::Tensor)
                }
                Err(error) => Err(error),
            };
        }
        if dlpack::is_tensor(value)? {
            return Borrowed::get(value).map(Self::Tensor);
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
            Self::Buffer(buffer) => buffer.len(),
            Self::Tensor(tensor) => tensor.len(),
        }
    }

    /// Their address: valid for reads of [`len`](Self::len) bytes while this lives. Atomic, so that it can go where the
    /// thread is detached from the interpreter.
    pub(crate) fn address(&self) -> AtomicPtr<u8> {
        AtomicPtr::new(match self {
            Self::Bytes(bytes) => bytes.as_bytes().as_ptr().cast_mut(),
            Self::Buffer(buffer) => buffer.address(),
            Self::Tensor(tensor) => tensor.address(),
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
pub(crate) struct Target(Buffer);

impl Target {
    /// The bytes of anything with a contiguous, writable buffer.
    pub(crate) fn get(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = contiguous(value)?;
        if buffer.is_read_only() {
            return Err(PyBufferError::new_err(format!("the buffer of this {} is read-only", type_name(value))));
        }
        Ok(Self(buffer))
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their address: valid for writes of [`len`](Self::len) bytes while this lives.
    pub(crate) fn address(&self) -> AtomicPtr<u8> {
        AtomicPtr::new(self.0.address())
    }
}

/// A buffer that a Python object has lent, until this is dropped.
///
/// Code of our own, because PyO3's buffer refuses those without shape and strides, which ctypes and zero-dimensional
/// arrays of numpy lend. Boxed: a lender may keep the address of the request.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

impl Buffer {
    /// Asks for the buffer of `value` with these flags.
    fn request(value: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: we are attached, and the request is ours to be filled.
        let answer = unsafe { ffi::PyObject_GetBuffer(value.as_ptr(), view.as_mut_ptr(), flags) };
        if answer != 0 {
            return Err(PyErr::fetch(value.py()));
        }
        // SAFETY: filled, as there was no error.
        Ok(Self(unsafe { view.assume_init() }))
    }

    fn len(&self) -> usize {
        // Never negative, but it comes from outside.
        usize::try_from(self.0.len).unwrap_or(0)
    }

    fn address(&self) -> *mut u8 {
        self.0.buf.cast()
    }

    fn is_read_only(&self) -> bool {
        self.0.readonly != 0
    }

    /// Bytes of one of its elements.
    pub(crate) fn itemsize(&self) -> usize {
        usize::try_from(self.0.itemsize).unwrap_or(0)
    }

    /// Its shape, if the lender has given one.
    pub(crate) fn shape(&self) -> Option<Vec<usize>> {
        let rank = usize::try_from(self.0.ndim).unwrap_or(0);
        if self.0.shape.is_null() {
            return (rank == 0).then(Vec::new);
        }
        // SAFETY: the lender has filled in `ndim` numbers, which live as long as the buffer.
        let shape = unsafe { std::slice::from_raw_parts(self.0.shape, rank) };
        shape.iter().map(|of| usize::try_from(*of).ok()).collect()
    }

    /// The format of its elements in the notation of the module `struct`, if the lender has given one.
    pub(crate) fn format(&self) -> Option<&CStr> {
        // SAFETY: null, or a string that lives as long as the buffer.
        (!self.0.format.is_null()).then(|| unsafe { CStr::from_ptr(self.0.format) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        Python::attach(|_| {
            // SAFETY: we are attached, and the buffer is released only here.
            unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
        });
    }
}

/// The contiguous buffer of `value`: what `file.write` takes, but for references to Python objects, whose addresses
/// mean nothing to a reader.
fn contiguous(value: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    // Without PyBUF_STRIDES the lender has to refuse if its bytes are not contiguous.
    let buffer = match Buffer::request(value, ffi::PyBUF_ND | ffi::PyBUF_FORMAT) {
        Ok(buffer) => buffer,
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => return Err(error),
        Err(error) => without_format(value, error)?,
    };
    if buffer.format().is_some_and(|format| has_objects(format.to_bytes())) {
        return Err(has_no_bytes(value));
    }
    Ok(buffer)
}

/// The buffer of a lender that has refused to give a format: numpy has none for datetime64, and its extensions have
/// none for bfloat16. `error` is its refusal.
fn without_format(value: &Bound<'_, PyAny>, error: PyErr) -> PyResult<Buffer> {
    let Ok(buffer) = Buffer::request(value, ffi::PyBUF_SIMPLE) else {
        let has_gaps = Buffer::request(value, ffi::PyBUF_STRIDES).is_ok();
        return Err(if has_gaps { not_contiguous() } else { error });
    };
    let dtype = value.getattr_opt(intern!(value.py(), "dtype"))?;
    let has_objects = dtype.map(|dtype| dtype.getattr_opt(intern!(value.py(), "hasobject"))).transpose()?.flatten();
    match has_objects {
        Some(has_objects) if has_objects.is_truthy()? => Err(has_no_bytes(value)),
        _ => Ok(buffer),
    }
}

fn has_no_bytes(value: &Bound<'_, PyAny>) -> PyErr {
    let name = type_name(value);
    PyTypeError::new_err(format!("the elements of this {name} are Python objects, which have no bytes of their own"))
}

/// Whether a format has an element that is a reference to a Python object: an `O` outside of the `:names:` of fields.
fn has_objects(format: &[u8]) -> bool {
    format.split(|&byte| byte == b':').step_by(2).any(|types| types.contains(&b'O'))
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
