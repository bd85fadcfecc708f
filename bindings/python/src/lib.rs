//! `framebuffer._native`: the client crate as Python classes.
//!
//! - [`client`], [`server`], [`connect`]: the classes and functions that programs call;
//! - [`frame`], [`view`], [`loan`]: what they deal in;
//! - [`arguments`], [`buffer`], [`errors`]: what comes in from Python, and what goes wrong;
//! - [`detached`]: letting other threads and signals have their turn.
//!
//! What is better said in Python is in the folder `python/framebuffer`, with the types of all this in `_native.pyi`.
//!
//! # Threads and forks
//!
//! Objects keep what changes in a `Mutex`, which is held for a few instructions, never across a call into Python, and
//! never without being attached to the interpreter: so no thread holds one while another forks the process.
#![allow(clippy::doc_markdown, reason = "the documentation of what Python sees is that of Python's `help`")]

use pyo3::prelude::*;

mod arguments;
mod buffer;
mod client;
mod connect;
mod detached;
mod errors;
mod frame;
mod loan;
mod server;
mod stats;
mod view;

// Without the GIL none of this has been tested: such an interpreter turns it on again when it imports the module.
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
    use super::server::Server;
    #[pymodule_export]
    use super::view::View;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
