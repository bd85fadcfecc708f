//! The crate's errors as the exceptions of `framebuffer.errors`: a wrong argument is a `ValueError`, everything else
//! derives from `FrameBufferError`. And the words that several messages share.

use std::error::Error as StdError;

use framebuffer::{ConnectError, Error, SegmentError};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

mod python {
    use pyo3::import_exception;

    import_exception!(framebuffer.errors, FrameBufferError);
    import_exception!(framebuffer.errors, FrameBufferConnectError);
    import_exception!(framebuffer.errors, FrameBufferExhausted);
    import_exception!(framebuffer.errors, FrameBufferNotFound);
    import_exception!(framebuffer.errors, FrameBufferTimeout);
}

/// The exception for an error about frames.
pub(crate) fn of_frame(error: Error) -> PyErr {
    match error {
        Error::Timeout(timeout) => {
            python::FrameBufferTimeout::new_err((timeout.to_string(), timeout.offset, timeout.reason.label()))
        }
        Error::LargerThanRing { .. }
        | Error::NeverAllocated { .. }
        | Error::TooLarge { .. }
        | Error::BufferLength { .. } => PyValueError::new_err(chain(&error)),
        Error::Exhausted { .. } => python::FrameBufferExhausted::new_err(chain(&error)),
        Error::Join(error) => of_segment(error),
        other => python::FrameBufferError::new_err(chain(&other)),
    }
}

/// The exception for an error about segments.
pub(crate) fn of_segment(error: SegmentError) -> PyErr {
    match error {
        SegmentError::Key(_) | SegmentError::ZeroSize | SegmentError::SizeLimit { .. } => {
            PyValueError::new_err(chain(&error))
        }
        SegmentError::NotFound { .. } => python::FrameBufferNotFound::new_err(chain(&error)),
        other => python::FrameBufferError::new_err(chain(&other)),
    }
}

/// The exception for a failure to reach a sidecar.
pub(crate) fn of_connect(error: ConnectError) -> PyErr {
    match error {
        ConnectError::Url { .. } => PyValueError::new_err(chain(&error)),
        other => python::FrameBufferConnectError::new_err(chain(&other)),
    }
}

/// A `FrameBufferError` with this message.
pub(crate) fn other(message: impl Into<String>) -> PyErr {
    python::FrameBufferError::new_err(message.into())
}

/// The exception for a buffer with gaps between its bytes.
pub(crate) fn not_contiguous() -> PyErr {
    PyBufferError::new_err(
        "the buffer is not C-contiguous; of a numpy array, numpy.ascontiguousarray makes one that is",
    )
}

/// The type of a value, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// An error and its causes in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    text
}
