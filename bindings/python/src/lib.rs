//! `framebuffer._native`: the client crate as Python classes.
//!
//! - [`client`], [`server`], [`connect`]: the classes and functions that programs call;
//! - [`publisher`], [`sending`], [`sending_loan`], [`subscriber`], [`sample`], [`channels`]: channels;
//! - [`frame`], [`view`], [`loan`], [`stats`]: arguments and results of the rest;
//! - [`lender`], [`owned`], [`exclusive`]: bytes that are lent to buffers, what borrows from a client, what one thread
//!   at a time uses;
//! - [`arguments`], [`buffer`], [`payload`], [`elements`], [`array`], [`dlpack`]: conversions from and to Python's
//!   types;
//! - [`detached`], [`errors`]: letting other threads and signals in, and exceptions.
//!
//! Code that is simpler in Python is in the folder `python/framebuffer`, as are the types of this module:
//! `_native.pyi`.
//!
//! A new method needs three changes: the method with its documentation here, its types in `_native.pyi` (stubtest fails
//! without them), and a test.
//!
//! # Threads and forks
//!
//! Objects keep their mutable state in a `Mutex`. It is locked for a few instructions, never across a call into Python,
//! and only while attached to the interpreter: so no thread has it locked while another forks the process.
//!
//! Nearly every call into Python may run a signal handler or, by a garbage collection, a `__del__`, and both may use
//! the same objects: whoever has something locked then waits for itself. Making a Python object is such a call, setting
//! an exception too; `PyErr::new_err` is not, since PyO3 makes the exception later.
#![allow(clippy::doc_markdown, reason = "the documentation of these items is shown by Python's `help`")]

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

mod arguments;
mod array;
mod buffer;
mod channels;
mod client;
mod connect;
mod detached;
mod dlpack;
mod elements;
mod errors;
mod exclusive;
mod frame;
mod lender;
mod loan;
mod owned;
mod payload;
mod publisher;
mod sample;
mod sending;
mod sending_loan;
mod server;
mod stats;
mod subscriber;
mod view;

// Untested without the GIL: a free-threaded interpreter turns the GIL on when it imports the module.
#[pymodule(gil_used = true)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::connect::connect;
    #[pymodule_export]
    use super::frame::Frame;
    #[pymodule_export]
    use super::loan::Loan;
    #[pymodule_export]
    use super::publisher::Publisher;
    #[pymodule_export]
    use super::sample::Sample;
    #[pymodule_export]
    use super::sending::Sent;
    #[pymodule_export]
    use super::sending_loan::SendingLoan;
    #[pymodule_export]
    use super::server::Server;
    #[pymodule_export]
    use super::subscriber::Subscriber;
    #[pymodule_export]
    use super::view::View;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::ensure_main_interpreter(module.py())?;
        super::errors::prepare(module.py())?;
        super::frame::prepare(module.py());
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Refuses a sub-interpreter: the classes and the exceptions that they raise would be those of another interpreter.
fn ensure_main_interpreter(py: Python<'_>) -> PyResult<()> {
    // SAFETY: we are attached, so there is an interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: as above.
    match unsafe { ffi::PyInterpreterState_GetID(interpreter) } {
        0 => Ok(()),
        -1 => Err(PyErr::fetch(py)),
        _ => Err(PyImportError::new_err(
            "framebuffer works in the main interpreter only: in a sub-interpreter, start a process instead",
        )),
    }
}
