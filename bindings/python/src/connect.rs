//! `connect`: opens a sidecar's ring.

use std::path::PathBuf;
use std::time::Duration;

use framebuffer::{Connect, ConnectError, FrameBufferClient};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::client::Client;
use crate::detached::interruptible;
use crate::errors;

/// The longest wait, in seconds: adding more to the current time might overflow.
const FOREVER: f64 = 1e9;

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
    if let Some(seconds) = timeout {
        let wrong = |_| PyValueError::new_err(format!("timeout must be a number of seconds from 0 on, not {seconds}"));
        // Not `min`: it would turn NaN into FOREVER.
        let seconds = if seconds > FOREVER { FOREVER } else { seconds };
        let timeout = Duration::try_from_secs_f64(seconds).map_err(wrong)?;
        connect = connect.deadline(timeout);
    }
    if let Some(dir) = &dir {
        connect = connect.dir(dir);
    }
    let connected: Result<FrameBufferClient, ConnectError> = interruptible(py, || connect.connect())?;
    connected.map_err(errors::of_connect).and_then(|client| Client::of(client, dir))
}
