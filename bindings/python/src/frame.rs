//! `Frame`: the description of a frame that a writer sends to a reader.

use framebuffer::Frame as RustFrame;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyType};

use crate::arguments::{checksum, number};
use crate::errors::type_name;

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Args:
///     offset: Stream offset of the first byte, an int or its decimal text.
///     size: Length in bytes, an int or its decimal text.
///     checksum: 8 bytes, or 16 hexadecimal digits.
#[pyclass(frozen, eq, hash, module = "framebuffer")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Frame(pub(crate) RustFrame);

#[pymethods]
impl Frame {
    #[new]
    fn new(offset: &Bound<'_, PyAny>, size: &Bound<'_, PyAny>, checksum: &Bound<'_, PyAny>) -> PyResult<Self> {
        parse(offset, size, checksum).map(Self)
    }

    /// Makes a frame of a mapping with `offset`, `size` and `checksum`; other fields are ignored.
    #[staticmethod]
    fn from_dict(fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        given(fields).map(Self)
    }

    /// Returns the fields for JSON: the checksum as 16 hexadecimal digits.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("offset", self.0.offset)?;
        fields.set_item("size", self.0.size)?;
        fields.set_item("checksum", self.0.checksum.to_string())?;
        Ok(fields)
    }

    /// Stream offset of the first byte.
    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }

    /// Length in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    /// The checksum, 8 bytes: XXH3-64, as `xxhash.xxh3_64_digest`.
    #[getter]
    fn checksum<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.checksum.to_bytes())
    }

    fn __repr__(&self) -> String {
        let RustFrame { offset, size, checksum } = self.0;
        format!("Frame(offset={offset}, size={size}, checksum='{checksum}')")
    }

    /// For every protocol of pickle; the oldest two do not ask for `__getnewargs__`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (u64, u64, Bound<'py, PyBytes>)) {
        let frame = slf.get();
        (slf.get_type(), (frame.0.offset, frame.0.size, frame.checksum(slf.py())))
    }
}

/// The frame in an argument: a `Frame`, or a mapping with its fields.
pub(crate) fn given(value: &Bound<'_, PyAny>) -> PyResult<RustFrame> {
    if let Ok(frame) = value.cast::<Frame>() {
        return Ok(frame.get().0);
    }
    let Ok(mapping) = value.cast::<PyMapping>() else {
        let name = type_name(value);
        return Err(PyTypeError::new_err(format!("a frame is a Frame or a mapping with its fields, not {name}")));
    };
    let field = |name: &str| {
        mapping.get_item(name).map_err(|error| {
            let is_missing = error.is_instance_of::<PyKeyError>(value.py());
            if is_missing { PyValueError::new_err(format!("a frame needs the field {name:?}")) } else { error }
        })
    };
    parse(&field("offset")?, &field("size")?, &field("checksum")?)
}

/// The frame in the arguments of `read`: a whole one, or its fields.
pub(crate) fn promised(
    offset: Option<&Bound<'_, PyAny>>,
    size: Option<&Bound<'_, PyAny>>,
    checksum: Option<&Bound<'_, PyAny>>,
    whole: Option<&Bound<'_, PyAny>>,
) -> PyResult<RustFrame> {
    match (offset, size, checksum, whole) {
        (Some(whole), None, None, None) | (None, None, None, Some(whole)) => given(whole),
        (Some(offset), Some(size), Some(checksum), None) => parse(offset, size, checksum),
        _ => Err(PyTypeError::new_err("read() takes a frame, or offset, size and checksum")),
    }
}

/// A frame of fields in any form that messages give them.
fn parse(offset: &Bound<'_, PyAny>, size: &Bound<'_, PyAny>, sum: &Bound<'_, PyAny>) -> PyResult<RustFrame> {
    Ok(RustFrame { offset: number(offset, "offset")?, size: number(size, "size")?, checksum: checksum(sum)? })
}
