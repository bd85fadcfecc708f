//! Arguments in every form that messages give them: numbers also as decimal text, checksums also as hexadecimal text or
//! `xmlrpc.client.Binary`.

use std::borrow::Cow;
use std::time::Duration;

use framebuffer::{Checksum, RingId};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::Source;
use crate::errors::type_name;

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

/// The longest wait, in seconds: adding more to the current time might overflow.
const FOREVER: f64 = 1e9;

/// A time to wait, in seconds; `None` for ever.
pub(crate) fn timeout(seconds: Option<f64>) -> PyResult<Duration> {
    self::seconds("timeout", seconds.unwrap_or(FOREVER))
}

/// A time in seconds.
pub(crate) fn seconds(what: &str, seconds: f64) -> PyResult<Duration> {
    let wrong = |_| PyValueError::new_err(format!("{what} must be a number of seconds from 0 on, not {seconds}"));
    // Not `min`: it would turn NaN into FOREVER.
    Duration::try_from_secs_f64(if seconds > FOREVER { FOREVER } else { seconds }).map_err(wrong)
}

/// Permission bits, as `os.chmod` takes them. Decimal digits by mistake (`666`) are refused.
pub(crate) fn mode(value: u32) -> PyResult<u32> {
    const LIMIT: u32 = 0o777;
    if value <= LIMIT {
        return Ok(value);
    }
    let hint = match u32::from_str_radix(&value.to_string(), 8) {
        Ok(octal) if octal <= LIMIT => format!(": did you mean 0o{value}?"),
        _ => String::new(),
    };
    Err(PyValueError::new_err(format!("mode must be permission bits from 0 to 0o777, not {value} ({value:#o}){hint}")))
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

/// The identity of a frame's ring: 16 hexadecimal digits, `None` if it is not known.
pub(crate) fn ring(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<RingId>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    let Ok(text) = value.cast::<PyString>() else {
        let name = type_name(value);
        return Err(PyTypeError::new_err(format!("a ring's identity is a str of 16 hexadecimal digits, not {name}")));
    };
    let text = text.to_cow().unwrap_or(Cow::Borrowed("?"));
    text.parse().map(Some).map_err(|error: framebuffer::InvalidRingId| PyValueError::new_err(error.to_string()))
}

/// At most 40 characters: a wrong argument may be of any length.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}
