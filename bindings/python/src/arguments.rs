//! Arguments as messages make them: numbers as decimal text, checksums as hexadecimal text, bytes as `xmlrpc.client.Binary`.

use std::borrow::Cow;

use framebuffer::{Checksum, Frame as RustFrame};
use pyo3::exceptions::{PyBufferError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMapping, PyString};

use crate::buffer::Source;
use crate::frame::Frame;

/// An offset or size: a whole number, or its decimal text.
pub(crate) fn number(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_cow().unwrap_or(Cow::Borrowed("?"));
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        return number.ok_or_else(|| out_of_range(what, &format!("{:?}", beginning(&text))));
    }
    value.extract::<u64>().map_err(|error| {
        let py = value.py();
        if error.is_instance_of::<PyOverflowError>(py) || error.is_instance_of::<PyValueError>(py) {
            out_of_range(what, &beginning(&value.str().map_or_else(|_| "?".to_owned(), |text| text.to_string())))
        } else if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("{what} must be an int or its decimal text, not {}", type_name(value)))
        } else {
            error
        }
    })
}

fn out_of_range(what: &str, value: &str) -> PyErr {
    PyValueError::new_err(format!("{what} must be a whole number from 0 to 2**64 - 1, not {value}"))
}

/// A checksum: 8 bytes, or 16 hexadecimal digits.
pub(crate) fn checksum(value: &Bound<'_, PyAny>) -> PyResult<Checksum> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_cow().unwrap_or(Cow::Borrowed("?"));
        return text.parse().map_err(|error: framebuffer::InvalidChecksum| PyValueError::new_err(error.to_string()));
    }
    let source = Source::get(value).map_err(|error| {
        if !error.is_instance_of::<PyTypeError>(value.py()) {
            return error;
        }
        PyTypeError::new_err(format!("a checksum is 8 bytes or 16 hexadecimal digits, not {}", type_name(value)))
    })?;
    source.copy_to_array().map(Checksum::from_bytes).ok_or_else(|| {
        PyValueError::new_err(format!("a checksum is 8 bytes or 16 hexadecimal digits, not {} bytes", source.len()))
    })
}

/// A frame: a `Frame`, or a mapping with its fields.
pub(crate) fn frame(value: &Bound<'_, PyAny>) -> PyResult<RustFrame> {
    if let Ok(frame) = value.cast::<Frame>() {
        return Ok(frame.get().0);
    }
    let Ok(mapping) = value.cast::<PyMapping>() else {
        let name = type_name(value);
        return Err(PyTypeError::new_err(format!("a frame is a Frame or a mapping with its fields, not {name}")));
    };
    let field = |name: &str| {
        mapping.get_item(name).map_err(|error| {
            let is_missing = error.is_instance_of::<pyo3::exceptions::PyKeyError>(value.py());
            if is_missing { PyValueError::new_err(format!("a frame needs the field {name:?}")) } else { error }
        })
    };
    Ok(RustFrame {
        offset: number(&field("offset")?, "offset")?,
        size: number(&field("size")?, "size")?,
        checksum: checksum(&field("checksum")?)?,
    })
}

/// What `read` is given: a frame, or its three numbers.
pub(crate) fn promised(
    offset: Option<&Bound<'_, PyAny>>,
    size: Option<&Bound<'_, PyAny>>,
    sum: Option<&Bound<'_, PyAny>>,
    whole: Option<&Bound<'_, PyAny>>,
) -> PyResult<RustFrame> {
    match (offset, size, sum, whole) {
        (Some(whole), None, None, None) | (None, None, None, Some(whole)) => frame(whole),
        (Some(offset), Some(size), Some(sum), None) => {
            Ok(RustFrame { offset: number(offset, "offset")?, size: number(size, "size")?, checksum: checksum(sum)? })
        }
        _ => Err(PyTypeError::new_err("read() takes a frame, or offset, size and checksum")),
    }
}

/// The type of a value, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// At most 40 characters: what is wrong may be of any length.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The error for a buffer whose bytes are not one after the other.
pub(crate) fn not_contiguous() -> PyErr {
    PyBufferError::new_err(
        "the buffer is not C-contiguous; of a numpy array, numpy.ascontiguousarray makes one that is",
    )
}
