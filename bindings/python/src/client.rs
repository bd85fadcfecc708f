//! `FrameBufferClient`: a program's access to a ring.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framebuffer::{Error, FrameBufferClient, Key};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::arguments::number;
use crate::buffer::{Source, Target, new_bytes};
use crate::detached::moving;
use crate::frame::{self, Frame};
use crate::loan::Loan;
use crate::view::View;
use crate::{errors, stats};

/// Writes frames into a ring and reads them out of it.
///
/// A frame is written once and immutable from then on. The ring keeps the last `size` bytes of frames; reading an older one is
/// a `FrameBufferTimeout`, never wrong bytes. Nothing here waits for another process. The ring is opened by `start()` or a
/// `with` block, and closed by `stop()` or its end.
///
/// Args:
///     key: The ring's key; may be set later, by `set_key`.
///     dir: The folder of the ring's file. Default: `FRAMEBUFFER_DIR`, or `/dev/shm`.
///
/// All methods may be called from many threads at once; others run while bytes move. After a fork, parent and child may both
/// go on using the client, and a pickled one opens the same ring where it is loaded.
#[pyclass(frozen, weakref, subclass, name = "FrameBufferClient", module = "framebuffer.client")]
pub(crate) struct Client {
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    key: Option<Key>,
    /// Shared with views and loans, which may outlive `stop`.
    open: Option<Arc<FrameBufferClient>>,
}

/// What a pickle of a client keeps.
type Pickled = (Option<String>, Option<PathBuf>, bool);

impl Client {
    /// A client that is open.
    pub(crate) fn of(client: FrameBufferClient, dir: Option<PathBuf>) -> PyResult<Self> {
        let key = Some(parse(client.get_key())?);
        Ok(Self { dir, state: Mutex::new(State { key, open: Some(Arc::new(client)) }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> PyResult<Arc<FrameBufferClient>> {
        self.state().open.clone().ok_or_else(|| errors::of_frame(Error::Stopped))
    }
}

fn parse(key: &str) -> PyResult<Key> {
    Key::new(key).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (key = None, *, dir = None))]
    fn new(key: Option<&str>, dir: Option<PathBuf>) -> PyResult<Self> {
        let key = key.map(parse).transpose()?;
        Ok(Self { dir, state: Mutex::new(State { key, open: None }) })
    }

    /// Names the ring to open, before `start`.
    ///
    /// Raises:
    ///     ValueError: If it cannot be a key.
    ///     FrameBufferError: If another ring is open.
    fn set_key(&self, key: &str) -> PyResult<()> {
        let key = parse(key)?;
        let mut state = self.state();
        if state.open.is_some() && state.key.as_ref() != Some(&key) {
            return Err(errors::other("the client has another ring open: call stop() first"));
        }
        state.key = Some(key);
        Ok(())
    }

    /// The ring's key, a secret; `None` if none was set.
    fn get_key(&self) -> Option<String> {
        self.state().key.as_ref().map(|key| key.as_str().to_owned())
    }

    /// Opens the ring. Does nothing if it is open.
    ///
    /// Raises:
    ///     FrameBufferNotFound: If no ring has this key.
    ///     FrameBufferError: If it cannot be opened.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let key = match &*self.state() {
            State { open: Some(_), .. } => return Ok(()),
            State { key: Some(key), .. } => key.clone(),
            State { key: None, .. } => return Err(errors::other("the client has no key: call set_key(key) first")),
        };
        let mut options = FrameBufferClient::options(key);
        if let Some(dir) = &self.dir {
            options = options.dir(dir);
        }
        let opened = py.detach(|| options.open()).map_err(errors::of_segment)?;
        let mut state = self.state();
        // Another thread may have been faster, or have set another key.
        if state.open.is_none() && state.key.as_ref().is_some_and(|key| key.as_str() == opened.get_key()) {
            state.open = Some(Arc::new(opened));
        }
        Ok(())
    }

    /// Closes the ring. Views and loans that are still held keep it open until they end.
    fn stop(&self, py: Python<'_>) {
        let open = self.state().open.take();
        py.detach(|| drop(open));
    }

    /// Whether the ring is open.
    #[getter]
    fn started(&self) -> bool {
        self.state().open.is_some()
    }

    /// Size of the ring, and of its largest frame, in bytes.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.open()?.size().map_err(errors::of_frame)
    }

    /// What the ring says about itself.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.open()?.stats().map_err(errors::of_frame)?;
        stats::to_dict(py, &found)
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for `write`. Never waits.
    ///
    /// Raises:
    ///     ValueError: If `size` is more than the ring holds.
    ///     FrameBufferExhausted: If views and loans leave no room.
    fn allocate(&self, size: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.open()?.allocate(number(size, "size")?).map_err(errors::of_frame)
    }

    /// Writes `data` into the frame that was allocated at `offset`, by whichever process, and returns its checksum, 8 bytes.
    ///
    /// `data` is anything with a contiguous buffer. It should not change meanwhile: the frame is what was copied, and so is the
    /// checksum.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If the ring has moved past the frame.
    ///     FrameBufferError: If the frame is already written.
    ///     ValueError: If `data` is longer than the frame, or the offset was never allocated.
    fn write<'py>(
        &self,
        py: Python<'py>,
        offset: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let offset = number(offset, "offset")?;
        let source = Source::get(data)?;
        let (client, len, from) = (self.open()?, source.len(), source.address());
        // SAFETY: `source` holds these bytes in place until the end of the function.
        let written = moving(py, len, || unsafe { client.write_raw(offset, from.into_inner(), len) });
        let checksum = written.map_err(errors::of_frame)?;
        Ok(PyBytes::new(py, &checksum.to_bytes()))
    }

    /// Allocates a frame, writes `data` into it and returns its description. As `allocate` and `write`.
    fn publish(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Frame> {
        let source = Source::get(data)?;
        let (client, len, from) = (self.open()?, source.len(), source.address());
        // SAFETY: `source` holds these bytes in place until the end of the function.
        let published = moving(py, len, || unsafe { client.publish_raw(from.into_inner(), len) });
        published.map(Frame).map_err(errors::of_frame)
    }

    /// Lends a frame of `size` bytes in the ring itself, to be filled in place. As `allocate`.
    ///
    /// Its bytes are those of older frames until they are overwritten.
    fn loan(&self, size: &Bound<'_, PyAny>) -> PyResult<Loan> {
        Loan::open(self.open()?, number(size, "size")?).map_err(errors::of_frame)
    }

    /// Reads a frame: `read(frame)`, or `read(offset, size, checksum)`.
    ///
    /// A frame is a `Frame` or a mapping with its fields; the checksum is 8 bytes or 16 hexadecimal digits, a number may be its
    /// decimal text.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If these are not the bytes that were promised: overwritten meanwhile, not written yet, of another
    ///         size or checksum.
    ///     ValueError: If they cannot have been.
    #[pyo3(signature = (offset = None, size = None, checksum = None, *, frame = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        offset: Option<&Bound<'py, PyAny>>,
        size: Option<&Bound<'py, PyAny>>,
        checksum: Option<&Bound<'py, PyAny>>,
        frame: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let frame = frame::promised(offset, size, checksum, frame)?;
        let client = self.open()?;
        if frame.size > client.size().map_err(errors::of_frame)? {
            // No frame: nothing is allocated for it, and the error says the limit.
            client.view(&frame).map_err(errors::of_frame)?;
        }
        let len = frame.size as usize;
        new_bytes(py, len, |to| {
            // SAFETY: the new bytes are as many as the frame has.
            moving(py, len, || unsafe { client.read_raw(&frame, to.into_inner()) }).map_err(errors::of_frame)
        })
    }

    /// Reads a frame into `buffer`, which is as long. After an error the buffer's contents are arbitrary. As `read`.
    fn read_into(&self, py: Python<'_>, frame: &Bound<'_, PyAny>, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let frame = frame::given(frame)?;
        let target = Target::get(buffer)?;
        let (client, len, to) = (self.open()?, target.len(), target.address());
        if len as u64 != frame.size {
            return Err(errors::of_frame(Error::BufferLength { len: len as u64, size: frame.size }));
        }
        // SAFETY: the target is as long as the frame, and holds its bytes in place until the end of the function.
        moving(py, len, || unsafe { client.read_raw(&frame, to.into_inner()) }).map_err(errors::of_frame)
    }

    /// A view of a frame in the ring itself, without a copy. As `read`.
    ///
    /// The promised checksum is compared with the one that the writer stored; `View.verify` hashes the bytes.
    fn view(&self, frame: &Bound<'_, PyAny>) -> PyResult<View> {
        View::open(self.open()?, &frame::given(frame)?).map_err(errors::of_frame)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.call_method0("start")?;
        Ok(slf)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        slf.call_method0("stop").map(drop)
    }

    /// The key and folder, and whether it is open: the ring is opened anew where the pickle is loaded.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Pickled)> {
        let this = slf.get();
        let restore = slf.py().import("framebuffer.client")?.getattr("_restore")?;
        Ok((restore, (this.get_key(), this.dir.clone(), this.started())))
    }

    fn __repr__(&self) -> &'static str {
        if self.started() { "<FrameBufferClient, started>" } else { "<FrameBufferClient, stopped>" }
    }
}
