//! `connect`: opens a sidecar's ring.

use std::path::PathBuf;

use framebuffer::{Connect, ConnectError, FrameBufferClient};
use pyo3::prelude::*;

use crate::arguments;
use crate::client::Client;
use crate::detached::interruptible;
use crate::errors;

/// Opens a sidecar's ring, and waits for a sidecar that is still starting. Ctrl-C ends the wait.
///
/// Args:
///     url: `http://127.0.0.1:7570`, say, or `unix:/path/to.sock`. Default: `FRAMEBUFFER_URL`, which the operator sets
///         in a pod's containers; without it, `http://127.0.0.1:7570`.
///     timeout: How long to try, in seconds. Default: 30.
///     dir: The folder of the ring's file. Default: `FRAMEBUFFER_DIR`, or `/dev/shm`.
///
/// Raises:
///     FrameBufferConnectError: If no sidecar answers in time, or its ring cannot be opened. The message says what to
///         check.
///     ValueError: If the URL is of neither kind.
#[pyfunction]
#[pyo3(signature = (url = None, *, timeout = None, dir = None))]
pub(crate) fn connect(
    py: Python<'_>,
    url: Option<&str>,
    timeout: Option<f64>,
    dir: Option<PathBuf>,
) -> PyResult<Client> {
    let mut connect = url.map_or_else(Connect::from_env, Connect::new);
    if timeout.is_some() {
        connect = connect.deadline(arguments::timeout(timeout)?);
    }
    if let Some(dir) = &dir {
        connect = connect.dir(dir);
    }
    let connected: Result<FrameBufferClient, ConnectError> = interruptible(py, || connect.connect())?;
    connected.map_err(errors::of_connect).and_then(|client| Client::of(client, dir))
}
