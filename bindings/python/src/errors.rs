//! The crate's errors as the exceptions of `framebuffer.errors`: a wrong argument is a `ValueError`, everything else
//! derives from `FrameBufferError`, also what is wrong with the description of a frame: it may be of a ring that is no
//! more. And the words that several messages share.

use std::error::Error as StdError;

use framebuffer::{ChannelError, ConnectError, Error, SegmentError};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

mod python {
    use pyo3::import_exception;

    import_exception!(framebuffer.errors, FrameBufferError);
    import_exception!(framebuffer.errors, FrameBufferBacklog);
    import_exception!(framebuffer.errors, FrameBufferConnectError);
    import_exception!(framebuffer.errors, FrameBufferExhausted);
    import_exception!(framebuffer.errors, FrameBufferNotFound);
    import_exception!(framebuffer.errors, FrameBufferOtherRing);
    import_exception!(framebuffer.errors, FrameBufferRetired);
    import_exception!(framebuffer.errors, FrameBufferTimeout);
}

/// Imports the exceptions. An import runs code of Python's, which may raise one of them; PyO3 has a cell locked
/// meanwhile, and would wait for itself.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    // Fails here if it fails, where it does not panic.
    py.import("framebuffer.errors")?;
    python::FrameBufferError::type_object(py);
    python::FrameBufferBacklog::type_object(py);
    python::FrameBufferConnectError::type_object(py);
    python::FrameBufferExhausted::type_object(py);
    python::FrameBufferNotFound::type_object(py);
    python::FrameBufferOtherRing::type_object(py);
    python::FrameBufferRetired::type_object(py);
    python::FrameBufferTimeout::type_object(py);
    Ok(())
}

/// The exception for an error about frames.
pub(crate) fn of_frame(error: Error) -> PyErr {
    match error {
        Error::Timeout(timeout) => {
            python::FrameBufferTimeout::new_err((timeout.to_string(), timeout.offset, timeout.reason.label()))
        }
        Error::LargerThanRing { .. } | Error::TooLarge { .. } | Error::BufferLength { .. } => {
            PyValueError::new_err(chain(&error))
        }
        Error::Exhausted { size, largest_free, .. } => {
            python::FrameBufferExhausted::new_err((chain(&error), size, largest_free))
        }
        Error::Channel(error) => of_channel(error),
        Error::Retired => python::FrameBufferRetired::new_err(chain(&error)),
        Error::OtherRing { .. } => python::FrameBufferOtherRing::new_err(chain(&error)),
        Error::Join(error) => of_segment(error),
        other => python::FrameBufferError::new_err(chain(&other)),
    }
}

/// The exception for an error of reading a promised frame: what is wrong with it may come from its ring's having been
/// replaced, and is no wrong argument.
pub(crate) fn of_promise(error: Error) -> PyErr {
    match error {
        Error::LargerThanRing { .. } => {
            let hint = "if its description is right, this ring has replaced the one that it was in";
            python::FrameBufferError::new_err(format!("{}; {hint}", chain(&error)))
        }
        other => of_frame(other),
    }
}

/// The exception for an error about segments.
pub(crate) fn of_segment(error: SegmentError) -> PyErr {
    match error {
        SegmentError::Key(_) | SegmentError::ZeroSize | SegmentError::SizeLimit { .. } => {
            PyValueError::new_err(chain(&error))
        }
        SegmentError::PinsFull { .. } => python::FrameBufferExhausted::new_err(chain(&error)),
        SegmentError::NotFound { .. } => python::FrameBufferNotFound::new_err(chain(&error)),
        other => python::FrameBufferError::new_err(chain(&other)),
    }
}

/// The exception for an error about channels: what a program has asked wrongly, or what stands in its way.
fn of_channel(error: ChannelError) -> PyErr {
    match error {
        ChannelError::Backlog { ref channel, number, unread, participant, keep: _ } => {
            let fields = (error.to_string(), channel.clone(), number, unread, participant);
            python::FrameBufferBacklog::new_err(fields)
        }
        ChannelError::TooManyChannels { .. }
        | ChannelError::ContentTypeDiffers { .. }
        | ChannelError::TooManyLossless { .. }
        | ChannelError::KeepsNone { .. } => python::FrameBufferError::new_err(error.to_string()),
        wrong => PyValueError::new_err(wrong.to_string()),
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
        "the buffer is not C-contiguous; numpy.ascontiguousarray or a tensor's contiguous() makes one that is",
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
