//! `Frame`: what a writer tells a reader.

use framebuffer::Frame as RustFrame;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arguments;

/// The description of a committed frame: all that a reader needs besides the ring's key.
///
/// Args:
///     offset: Stream offset of the first byte, an int or its decimal text.
///     size: Length in bytes, likewise.
///     checksum: 8 bytes, or 16 hexadecimal digits.
#[pyclass(frozen, eq, hash, module = "framebuffer")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Frame(pub(crate) RustFrame);

#[pymethods]
impl Frame {
    #[new]
    fn new(offset: &Bound<'_, PyAny>, size: &Bound<'_, PyAny>, checksum: &Bound<'_, PyAny>) -> PyResult<Self> {
        arguments::promised(Some(offset), Some(size), Some(checksum), None).map(Self)
    }

    /// The frame with the fields `offset`, `size` and `checksum`; others are ignored.
    #[staticmethod]
    fn from_dict(fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        arguments::frame(fields).map(Self)
    }

    /// The fields as JSON has them: the checksum as 16 hexadecimal digits.
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

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> (u64, u64, Bound<'py, PyBytes>) {
        (self.0.offset, self.0.size, self.checksum(py))
    }
}
