//! `FrameBufferServer`: the owner of a ring.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framebuffer::{Error, FrameBufferServer, Key, SegmentError};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::arguments::{self, number};
use crate::detached::interruptible;
use crate::{errors, stats};

/// Owns a ring. Programs use the subclass in `framebuffer.server`.
#[pyclass(frozen, weakref, subclass, name = "FrameBufferServer", module = "framebuffer._native")]
pub(crate) struct Server {
    key: Key,
    size: u64,
    dir: Option<PathBuf>,
    mode: u32,
    keep: bool,
    running: Mutex<Option<Arc<FrameBufferServer>>>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, Option<Arc<FrameBufferServer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> PyResult<Arc<FrameBufferServer>> {
        self.state().clone().ok_or_else(|| errors::of_frame(Error::Stopped))
    }
}

/// Whether the server still owns its ring, as far as it can be told. What else may be wrong is another matter.
fn owns(running: &FrameBufferServer) -> bool {
    !matches!(running.check(), Err(Error::OwnershipLost))
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (key = None, size = None, *, dir = None, mode = 0o600, keep = false))]
    fn new(
        key: Option<&Bound<'_, PyAny>>,
        size: Option<&Bound<'_, PyAny>>,
        dir: Option<PathBuf>,
        mode: u32,
        keep: bool,
    ) -> PyResult<Self> {
        let (key, size) = match (key, size) {
            (Some(size), None) if !size.is_instance_of::<PyString>() => (None, size),
            (key, Some(size)) => (key, size),
            _ => return Err(PyTypeError::new_err("FrameBufferServer() takes a size, or a key and a size")),
        };
        let size = number(size, "size")?;
        let key = match key {
            Some(key) => Key::new(key.extract::<&str>()?).map_err(|error| PyValueError::new_err(error.to_string()))?,
            None => Key::random().map_err(|error| errors::other(format!("no random bytes for a key: {error}")))?,
        };
        let mode = arguments::mode(mode)?;
        Ok(Self { key, size, dir, mode, keep, running: Mutex::new(None) })
    }

    /// Creates or adopts the ring. Does nothing if the server is started.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(running) = self.state().clone() {
            return if owns(&running) { Ok(()) } else { Err(errors::of_frame(Error::OwnershipLost)) };
        }
        let mut options = FrameBufferServer::options(self.size).key(self.key.clone()).mode(self.mode).keep(self.keep);
        if let Some(dir) = &self.dir {
            options = options.dir(dir);
        }
        let started: Result<_, SegmentError> = interruptible(py, || options.start())?;
        let started = started.map_err(errors::of_segment)?;
        // No other thread can have started it meanwhile: a key has one owner.
        *self.state() = Some(Arc::new(started));
        Ok(())
    }

    /// Gives up the ring, and removes it unless `keep` is set. Then its clients raise `FrameBufferRetired` from their
    /// next operation on; views and loans that they have stay valid.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        // A thread in the middle of an allocation has the other reference: it stops the server when it is done.
        let Some(server) = self.state().take().and_then(Arc::into_inner) else { return Ok(()) };
        let mut server = server;
        py.detach(|| server.stop()).map_err(errors::of_segment)
    }

    /// Whether the server is started, and still owns its ring: it may lose it if the program closes files of this
    /// library.
    #[getter]
    fn started(&self) -> bool {
        self.state().clone().is_some_and(|running| owns(&running))
    }

    /// The ring's key: a client needs it to open the ring. Treat it as a secret.
    fn get_key(&self) -> &str {
        self.key.as_str()
    }

    /// The ring's identity, 16 hexadecimal digits, which its frames carry.
    ///
    /// Raises:
    ///     FrameBufferError: If the server is not started.
    #[getter]
    fn ring_id(&self) -> PyResult<String> {
        self.running()?.ring_id().map(|ring| ring.to_string()).map_err(errors::of_frame)
    }

    /// Size of the ring, and of its largest frame, in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    /// Whether the ring is one that an earlier server kept.
    #[getter]
    fn adopted(&self) -> bool {
        self.state().as_ref().is_some_and(|server| server.adopted())
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for `FrameBufferClient.write`. Never waits.
    ///
    /// Raises:
    ///     ValueError: If the frame is larger than the ring.
    ///     FrameBufferExhausted: If views and loans leave no room.
    ///     FrameBufferError: If the server is not started.
    fn allocate(&self, size: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.running()?.allocate(number(size, "size")?).map_err(errors::of_frame)
    }

    /// The ring's statistics; `created` is in seconds since 1970.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.running()?.stats().map_err(errors::of_frame)?;
        stats::to_dict(py, &found)
    }

    /// Clears the slots of participants that have died, and returns their number. An allocation clears those in its
    /// way.
    fn reap(&self) -> PyResult<usize> {
        self.running()?.reap().map_err(errors::of_frame)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.call_method0("start")?;
        Ok(slf)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method0("stop").map(drop)
    }

    fn __repr__(&self) -> String {
        let state = if self.started() { "started" } else { "stopped" };
        format!("<FrameBufferServer of {} bytes, {state}>", self.size)
    }
}
