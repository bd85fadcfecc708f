//! The types of elements, as buffers, numpy and programs call them.

use std::ffi::CStr;

use framebuffer::Element;
use pyo3::exceptions::{PyImportError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The type of a buffer's elements: its format in the notation of the module `struct`, with what numpy adds to it, and
/// the bytes of an element.
pub(crate) fn of_format(format: &CStr, itemsize: usize) -> PyResult<Element> {
    let format = format.to_bytes();
    let (order, format) = match format {
        [order @ (b'@' | b'=' | b'<' | b'>' | b'!'), rest @ ..] => (*order, rest),
        format => (b'@', format),
    };
    let code = match format {
        b"b" | b"h" | b"i" | b"l" | b"q" | b"n" => 0,
        b"c" | b"B" | b"H" | b"I" | b"L" | b"Q" | b"N" => 1,
        b"e" | b"f" | b"d" | b"g" => 2,
        b"Zf" | b"Zd" => 5,
        b"?" => 6,
        // Records, texts, and what is larger than a descriptor has room for.
        _ => return opaque(itemsize),
    };
    if itemsize > 1 && matches!(order, b'>' | b'!') {
        return Err(big_endian());
    }
    u8::try_from(itemsize * 8).map_or_else(|_| opaque(itemsize), |bits| Ok(Element::new(code, bits)))
}

/// The type of elements that numpy, or an extension of it, describes by this `dtype`.
pub(crate) fn of_dtype(dtype: &Bound<'_, PyAny>) -> PyResult<Element> {
    let py = dtype.py();
    let text = |name| -> PyResult<String> { dtype.getattr(name)?.extract() };
    if text(intern!(py, "byteorder"))? == ">" {
        return Err(big_endian());
    }
    match text(intern!(py, "name"))?.parse() {
        Ok(element) => Ok(element),
        Err(_) => opaque(dtype.getattr(intern!(py, "itemsize"))?.extract()?),
    }
}

/// The type of elements in an argument: a name, a `dtype` of numpy or torch, or one of numpy's classes.
pub(crate) fn given(value: &Bound<'_, PyAny>) -> PyResult<Element> {
    let py = value.py();
    if !value.is_instance_of::<PyString>() && value.hasattr(intern!(py, "byteorder"))? {
        return of_dtype(value);
    }
    let text = match value.getattr_opt(intern!(py, "__name__"))? {
        Some(name) => name.extract::<String>()?,
        None => value.str()?.extract::<String>()?,
    };
    let name = text.strip_prefix("torch.").unwrap_or(&text);
    name.parse().map_err(|error: framebuffer::InvalidElement| PyValueError::new_err(format!("dtype: {error}")))
}

/// How numpy calls the type: something to make a `dtype` of, the bytes of an element, and numbers in it.
pub(crate) fn to_numpy(py: Python<'_>, element: Element) -> PyResult<(Bound<'_, PyAny>, usize, usize)> {
    let Element { code, bits, lanes } = element;
    let (bytes, lanes) = (usize::from(bits / 8), usize::from(lanes));
    let named = |name: &str| PyString::new(py, name).into_any();
    if element.is_unknown() {
        return Ok((named("uint8"), 1, 1));
    }
    let name = Element { lanes: 1, ..element }.to_string();
    if bits % 8 != 0 || lanes == 0 || name.starts_with("code") {
        return Err(PyTypeError::new_err(format!("numpy has no elements of the type {element}")));
    }
    match code {
        3 => Ok((named(&format!("V{}", bytes * lanes)), bytes * lanes, 1)),
        4 | 7..=17 => Ok((extension(py, &name)?, bytes, lanes)),
        _ => Ok((named(&name), bytes, lanes)),
    }
}

/// A type that numpy has only with the package ml_dtypes.
fn extension<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    match py.import("ml_dtypes") {
        Ok(package) => package.getattr(name),
        Err(error) if error.is_instance_of::<PyImportError>(py) => Err(PyImportError::new_err(format!(
            "numpy has elements of the type {name} with the package ml_dtypes only: install it, or use DLPack \
             (torch.from_dlpack)"
        ))),
        Err(error) => Err(error),
    }
}

fn opaque(bytes: usize) -> PyResult<Element> {
    u16::try_from(bytes).map(Element::opaque).map_err(|_| {
        PyValueError::new_err(format!(
            "elements of {bytes} bytes: {} are the most that can be described; send the bytes",
            u16::MAX
        ))
    })
}

fn big_endian() -> PyErr {
    PyValueError::new_err(
        "the elements are big-endian, and readers take them for little-endian ones; of a numpy array, \
         array.astype(array.dtype.newbyteorder('=')) makes one that is",
    )
}
