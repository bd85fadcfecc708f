//! [`Borrowed`]: a tensor of another library.

use std::ffi::c_void;
use std::ptr::NonNull;

use framebuffer::Element;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use super::abi::{self, CPU, CPU_PINNED, DataType, Managed, Old, Tensor, VERSION, Versioned, content};
use crate::errors::not_contiguous;

/// A tensor of another library, in the CPU's memory and without gaps, until this is dropped.
pub(crate) struct Borrowed {
    _taken: Taken,
    /// Others may write there.
    address: *mut u8,
    len: usize,
    element: Element,
    shape: Vec<usize>,
}

/// A tensor that was taken out of its capsule: whoever has it ends its use.
struct Taken {
    managed: NonNull<c_void>,
    /// SAFETY: it may be called once, with `managed`, which is used no more then: by drop.
    end: unsafe fn(NonNull<c_void>),
}

/// Whether `value` takes part in the protocol.
pub(crate) fn is_tensor(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.hasattr(intern!(value.py(), "__dlpack__"))
}

impl Borrowed {
    /// Borrows a tensor.
    pub(crate) fn get(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        let (kind, _): (i32, i32) = value.call_method0(intern!(py, "__dlpack_device__"))?.extract()?;
        if kind != CPU && !CPU_PINNED.contains(&kind) {
            return Err(PyBufferError::new_err(format!(
                "the tensor is in the memory of a device (DLPack's type {kind}): copy it to the CPU's first"
            )));
        }
        let name = intern!(py, "__dlpack__");
        let arguments = PyDict::new(py);
        arguments.set_item(intern!(py, "max_version"), (VERSION.major, VERSION.minor))?;
        let capsule = match value.call_method(name, (), Some(&arguments)) {
            // It does not know of versions.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => value.call_method0(name)?,
            made => made?,
        };
        if let Some(old) = Taken::out_of::<Old>(&capsule)? {
            // SAFETY: it is valid until its use ends.
            return Self::of(old.1, unsafe { old.0.as_ref() }.tensor());
        }
        let versioned = Taken::out_of::<Versioned>(&capsule)?;
        let (managed, taken) =
            versioned.ok_or_else(|| PyTypeError::new_err("__dlpack__ made no capsule with a tensor"))?;
        // SAFETY: as above; a version is what it begins with, whatever the version is.
        let abi::Version { major, minor } = unsafe { managed.cast::<abi::Version>().read() };
        if major != VERSION.major {
            return Err(PyBufferError::new_err(format!(
                "the tensor is of version {major}.{minor} of DLPack; this library reads {}",
                VERSION.major
            )));
        }
        // SAFETY: as above.
        Self::of(taken, unsafe { managed.as_ref() }.tensor())
    }

    fn of(taken: Taken, tensor: &Tensor) -> PyResult<Self> {
        let rank = usize::try_from(tensor.rank).unwrap_or(0);
        let dimensions = |from: *const i64| {
            // SAFETY: the protocol promises `rank` numbers there.
            (rank > 0 && !from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from, rank) })
        };
        let DataType { code, bits, lanes } = tensor.element;
        let element = Element { code, bits, lanes };
        let shape: Option<Vec<usize>> =
            dimensions(tensor.shape).unwrap_or_default().iter().map(|of| usize::try_from(*of).ok()).collect();
        let sized = shape.and_then(|shape| Some((size(&shape, element)?, shape)));
        let (len, shape) = sized.ok_or_else(|| PyBufferError::new_err("the tensor's shape is out of bounds"))?;
        if dimensions(tensor.strides).is_some_and(|strides| !is_contiguous(&shape, strides)) {
            return Err(not_contiguous());
        }
        let address = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
        Ok(Self { _taken: taken, address, len, element, shape })
    }

    /// The address of its first byte.
    pub(crate) fn address(&self) -> *mut u8 {
        self.address
    }

    /// The number of its bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The type of its elements, and its shape.
    pub(crate) fn describe(&self) -> (Element, &[usize]) {
        (self.element, &self.shape)
    }
}

impl Taken {
    /// Takes the tensor out of a capsule, if it has one of this version.
    fn out_of<M: Managed>(capsule: &Bound<'_, PyAny>) -> PyResult<Option<(NonNull<M>, Self)>> {
        // SAFETY: we are attached, and it is an object.
        let Some(managed) = (unsafe { content::<M>(capsule.as_ptr()) }) else { return Ok(None) };
        // SAFETY: as above, and a capsule.
        if unsafe { ffi::PyCapsule_SetName(capsule.as_ptr(), M::USED.as_ptr()) } != 0 {
            return Err(PyErr::fetch(capsule.py()));
        }
        // SAFETY: the caller vouches for the tensor.
        let end = |managed: NonNull<c_void>| unsafe { abi::end(managed.cast::<M>()) };
        Ok(Some((managed, Self { managed: managed.cast(), end })))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the tensor was taken out, and is used no more. We are attached, as whoever made it may expect.
        Python::attach(|_| unsafe { (self.end)(self.managed) });
    }
}

/// Bytes of a tensor without gaps.
fn size(shape: &[usize], element: Element) -> Option<usize> {
    let elements = shape.iter().try_fold(1_usize, |product, of| product.checked_mul(*of))?;
    Some(elements.checked_mul(usize::try_from(element.total_bits()).ok()?)?.div_ceil(8))
}

fn is_contiguous(shape: &[usize], strides: &[i64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(of, stride)| {
        let fits = *of == 1 || *stride == expected;
        expected = expected.saturating_mul(i64::try_from(*of).unwrap_or(i64::MAX));
        fits
    })
}
