//! `Frame`: the description of a frame that a writer sends to a reader.

use framebuffer::Frame as RustFrame;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyType};

use crate::arguments::{checksum, number, ring};
use crate::errors::type_name;

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Args:
///     offset: Stream offset of the first byte, an int or its decimal text.
///     size: Length in bytes, an int or its decimal text.
///     checksum: 8 bytes, or 16 hexadecimal digits.
///     ring: The identity of the ring that the frame is in, 16 hexadecimal digits. `None` if it is not known; then a
///         frame of another ring is told only by its checksum.
#[pyclass(frozen, eq, hash, module = "framebuffer")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Frame(pub(crate) RustFrame);

/// The contents of a frame's pickle. Older ones have no ring.
type Pickled<'py> = (u64, u64, Bound<'py, PyBytes>, Option<String>);

#[pymethods]
impl Frame {
    #[new]
    #[pyo3(signature = (offset, size, checksum, ring = None))]
    fn new(
        offset: &Bound<'_, PyAny>,
        size: &Bound<'_, PyAny>,
        checksum: &Bound<'_, PyAny>,
        ring: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        parse(offset, size, checksum, ring).map(Self)
    }

    /// Makes a frame of a mapping with `offset`, `size`, `checksum` and perhaps `ring`; other fields are ignored.
    #[staticmethod]
    fn from_dict(fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        given(fields).map(Self)
    }

    /// Returns the fields for JSON: the checksum as 16 hexadecimal digits, and the ring if it is known.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("offset", self.0.offset)?;
        fields.set_item("size", self.0.size)?;
        fields.set_item("checksum", self.0.checksum.to_string())?;
        if let Some(ring) = self.ring() {
            fields.set_item("ring", ring)?;
        }
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

    /// The identity of the ring that the frame is in, 16 hexadecimal digits; `None` if it is not known.
    #[getter]
    fn ring(&self) -> Option<String> {
        self.0.ring.map(|ring| ring.to_string())
    }

    fn __repr__(&self) -> String {
        let RustFrame { offset, size, checksum, ring } = self.0;
        let ring = ring.map_or(String::new(), |ring| format!(", ring='{ring}'"));
        format!("Frame(offset={offset}, size={size}, checksum='{checksum}'{ring})")
    }

    /// For every protocol of pickle; the oldest two do not ask for `__getnewargs__`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, Pickled<'py>) {
        let frame = slf.get();
        (slf.get_type(), (frame.0.offset, frame.0.size, frame.checksum(slf.py()), frame.ring()))
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
    let ring = if mapping.contains("ring")? { Some(field("ring")?) } else { None };
    parse(&field("offset")?, &field("size")?, &field("checksum")?, ring.as_ref())
}

/// Looks up the class of mappings. As with [`errors::prepare`](crate::errors::prepare), not in the middle of something.
pub(crate) fn prepare(py: Python<'_>) {
    // Neither the class itself nor one of the built-in ones that are known without it.
    let _ = py.None().bind(py).cast::<PyMapping>();
}

/// The frame in the arguments of `read`: a whole one, or its fields.
pub(crate) fn promised(
    offset: Option<&Bound<'_, PyAny>>,
    size: Option<&Bound<'_, PyAny>>,
    checksum: Option<&Bound<'_, PyAny>>,
    ring: Option<&Bound<'_, PyAny>>,
    whole: Option<&Bound<'_, PyAny>>,
) -> PyResult<RustFrame> {
    match (offset, size, checksum, ring, whole) {
        (Some(whole), None, None, None, None) | (None, None, None, None, Some(whole)) => given(whole),
        (Some(offset), Some(size), Some(checksum), ring, None) => parse(offset, size, checksum, ring),
        _ => Err(PyTypeError::new_err("read() takes a frame, or offset, size and checksum")),
    }
}

/// A frame of fields in any form that messages give them.
fn parse(
    offset: &Bound<'_, PyAny>,
    size: &Bound<'_, PyAny>,
    sum: &Bound<'_, PyAny>,
    of_ring: Option<&Bound<'_, PyAny>>,
) -> PyResult<RustFrame> {
    Ok(RustFrame {
        offset: number(offset, "offset")?,
        size: number(size, "size")?,
        checksum: checksum(sum)?,
        ring: ring(of_ring)?,
    })
}
