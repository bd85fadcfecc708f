//! Arrays of numpy in the ring itself.

use framebuffer::Descriptor;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::{elements, errors};

/// `numpy.frombuffer` and `numpy.ndarray`.
static NUMPY: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// The bytes of `owner`, which lends a buffer of `len` bytes, as an array of the type and shape that the descriptor
/// says. It keeps the buffer.
pub(crate) fn of<'py>(owner: &Bound<'py, PyAny>, descriptor: &Descriptor, len: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let (from_buffer, new) = NUMPY.get_or_try_init(py, || {
        let numpy = py.import("numpy")?;
        PyResult::Ok((numpy.getattr("frombuffer")?.unbind(), numpy.getattr("ndarray")?.unbind()))
    })?;
    // Whoever has sent it without this library may have said anything.
    descriptor.check(len as u64).map_err(|error| errors::of_frame(error.into()))?;
    let (dtype, bytes, lanes) = elements::to_numpy(py, descriptor.element_type())?;
    let element = bytes * lanes;
    let mut shape: Vec<usize> = descriptor.dimensions().iter().map(|of| *of as usize).collect();
    if shape.is_empty() {
        if !len.is_multiple_of(element) {
            let name = descriptor.element_type();
            return Err(PyValueError::new_err(format!(
                "{len} bytes are no whole number of elements of the type {name}"
            )));
        }
        shape.push(len / element);
    } else if descriptor.element_type().is_unknown() {
        return Err(PyValueError::new_err(format!("the shape {shape:?} has elements of an unknown type")));
    }
    let rows = shape[0];
    if lanes != 1 {
        shape.push(lanes);
    }
    if len == 0 || shape.contains(&0) {
        // Not even an address is needed, and numpy makes no array of an empty buffer.
        return new.bind(py).call1((PyTuple::new(py, shape)?, dtype));
    }
    // Keeps the buffer, which an array that is made of the owner itself would not.
    let flat = from_buffer.bind(py).call1((owner, "u1"))?;
    let shape_of_array = PyTuple::new(py, &shape)?;
    if descriptor.row_stride() == 0 || rows < 2 {
        return new.bind(py).call1((shape_of_array, dtype, flat));
    }
    let mut strides = vec![bytes; shape.len()];
    for place in (1..shape.len()).rev() {
        strides[place - 1] = strides[place] * shape[place];
    }
    // Within the frame, as was checked.
    strides[0] = descriptor.row_stride() as usize;
    new.bind(py).call1((shape_of_array, dtype, flat, 0, PyTuple::new(py, strides)?))
}
