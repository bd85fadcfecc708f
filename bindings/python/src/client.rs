//! `FrameBufferClient`: a program's access to a ring.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framebuffer::{Error, FrameBufferClient, Key};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::arguments::{self, number};
use crate::buffer::{Source, Target, new_bytes};
use crate::detached::moving;
use crate::frame::{self, Frame};
use crate::loan::Loan;
use crate::publisher::Publisher;
use crate::sending::Sending;
use crate::subscriber::{Options, Subscriber};
use crate::view::View;
use crate::{channels, errors, stats};

/// Writes frames to a ring and reads them from it.
///
/// A frame is written once and immutable from then on. The ring keeps the last frames; reading an older one raises
/// `FrameBufferTimeout`, never returns wrong bytes. No method waits for another process; subscribers do. `start()` or a
/// `with` block opens the ring; `stop()` or the end of the block closes it.
///
/// Args:
///     key: The ring's key. May be set later, with `set_key`.
///     dir: The folder of the ring's file. Default: `FRAMEBUFFER_DIR`, or `/dev/shm`.
///
/// Any number of threads may call the methods at once, and other threads run while bytes are copied. After a fork,
/// parent and child may both go on using the client. A pickled client opens the same ring where it is unpickled.
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

/// The contents of a client's pickle: key, folder, and whether it is started.
type Pickled = (Option<String>, Option<PathBuf>, bool);

impl Client {
    /// A started client.
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

    /// Sets the key of the ring to open. Call it before `start`.
    ///
    /// Raises:
    ///     ValueError: If it is not a valid key.
    ///     FrameBufferError: If a ring with another key is open.
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

    /// Opens the ring. Does nothing if it is already open.
    ///
    /// Raises:
    ///     FrameBufferNotFound: If no ring has this key.
    ///     FrameBufferError: If the ring cannot be opened.
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

    /// Closes the ring. Views and loans that still exist keep it mapped until they end.
    fn stop(&self, py: Python<'_>) {
        let open = self.state().open.take();
        py.detach(|| drop(open));
    }

    /// Whether the ring is open.
    #[getter]
    fn started(&self) -> bool {
        self.state().open.is_some()
    }

    /// The ring's identity, 16 hexadecimal digits, which its frames carry: the `ring` of a `Frame` made by hand of what
    /// `allocate` and `write` return.
    #[getter]
    fn ring_id(&self) -> PyResult<String> {
        self.open()?.ring_id().map(|ring| ring.to_string()).map_err(errors::of_frame)
    }

    /// Size of the ring, and of its largest frame, in bytes.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.open()?.size().map_err(errors::of_frame)
    }

    /// The ring's statistics; `created` is in seconds since 1970.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.open()?.stats().map_err(errors::of_frame)?;
        stats::to_dict(py, &found)
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for `write`. Never waits.
    ///
    /// Raises:
    ///     ValueError: If the frame is larger than the ring.
    ///     FrameBufferExhausted: If views and loans leave no room.
    ///     FrameBufferRetired: If the ring was given up.
    fn allocate(&self, size: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.open()?.allocate(number(size, "size")?).map_err(errors::of_frame)
    }

    /// Writes `data` to the frame that any process has allocated at `offset`, and returns its checksum, 8 bytes.
    ///
    /// `data` is anything with a contiguous buffer. If it changes during the call, the frame and its checksum are those
    /// of the bytes that were copied.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If the ring has moved past the frame.
    ///     FrameBufferError: If the frame is already written, or was never allocated in this ring.
    ///     FrameBufferRetired: If the ring was given up.
    ///     ValueError: If `data` is longer than the frame.
    fn write<'py>(
        &self,
        py: Python<'py>,
        offset: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let offset = number(offset, "offset")?;
        let source = Source::get(data)?;
        let (client, len, from) = (self.open()?, source.len(), source.address());
        // SAFETY: `source` keeps these bytes in place until the end of the function.
        let written = moving(py, len, || unsafe { client.write_raw(offset, from.into_inner(), len) });
        let checksum = written.map_err(errors::of_frame)?;
        Ok(PyBytes::new(py, &checksum.to_bytes()))
    }

    /// Allocates a frame, writes `data` to it and returns its description. Raises as `allocate` and `write`.
    fn publish(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Frame> {
        let source = Source::get(data)?;
        let (client, len, from) = (self.open()?, source.len(), source.address());
        // SAFETY: `source` keeps these bytes in place until the end of the function.
        let published = moving(py, len, || unsafe { client.publish_raw(from.into_inner(), len) });
        published.map(Frame).map_err(errors::of_frame)
    }

    /// Lends a frame of `size` bytes in the ring itself, to fill in place. Raises as `allocate`.
    ///
    /// At first it contains the bytes of older frames.
    fn loan(&self, size: &Bound<'_, PyAny>) -> PyResult<Loan> {
        Loan::open(self.open()?, number(size, "size")?).map_err(errors::of_frame)
    }

    /// Reads a frame: `read(frame)`, or `read(offset, size, checksum)`, perhaps with `ring`.
    ///
    /// A frame is a `Frame` or a mapping with its fields. A number may be its decimal text; a checksum is 8 bytes or 16
    /// hexadecimal digits.
    ///
    /// Raises:
    ///     FrameBufferTimeout: If the frame has been overwritten, is not written yet, or has another size or checksum.
    ///     FrameBufferOtherRing: If the frame is of another ring, whatever lies at its offset in this one.
    ///     FrameBufferRetired: If the ring was given up.
    ///     FrameBufferError: If there never was such a frame in this ring: larger than the ring, or at an offset that
    ///         was never allocated. So it is with frames of a ring before, if they do not name it.
    #[pyo3(signature = (offset = None, size = None, checksum = None, ring = None, *, frame = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        offset: Option<&Bound<'py, PyAny>>,
        size: Option<&Bound<'py, PyAny>>,
        checksum: Option<&Bound<'py, PyAny>>,
        ring: Option<&Bound<'py, PyAny>>,
        frame: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let frame = frame::promised(offset, size, checksum, ring, frame)?;
        let client = self.open()?;
        if frame.size > client.size().map_err(errors::of_frame)? {
            // Not a frame of this ring. Allocate no bytes for it: the error names the limit.
            client.view(&frame).map_err(errors::of_promise)?;
        }
        let len = frame.size as usize;
        new_bytes(py, len, |to| {
            // SAFETY: the new object has as many bytes as the frame.
            moving(py, len, || unsafe { client.read_raw(&frame, to.into_inner()) }).map_err(errors::of_promise)
        })
    }

    /// Reads a frame into `buffer`, which must have the frame's size. After an error its contents are arbitrary.
    ///
    /// Raises as `read`.
    fn read_into(&self, py: Python<'_>, frame: &Bound<'_, PyAny>, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let frame = frame::given(frame)?;
        let target = Target::get(buffer)?;
        let (client, len, to) = (self.open()?, target.len(), target.address());
        if len as u64 != frame.size {
            return Err(errors::of_frame(Error::BufferLength { len: len as u64, size: frame.size }));
        }
        // SAFETY: the target is as long as the frame, and keeps its bytes in place until the end of the function.
        moving(py, len, || unsafe { client.read_raw(&frame, to.into_inner()) }).map_err(errors::of_promise)
    }

    /// Returns a view of a frame in the ring itself, without a copy. Raises as `read`.
    ///
    /// Compares the given checksum with the one that the writer stored; `View.verify` hashes the bytes.
    fn view(&self, frame: &Bound<'_, PyAny>) -> PyResult<View> {
        View::open(self.open()?, &frame::given(frame)?).map_err(errors::of_promise)
    }

    /// A publisher of the channel with this name, which is made if there is none.
    ///
    /// Args:
    ///     channel: 1 to 63 of `A-Z a-z 0-9 . _ / -`.
    ///     keep: How many of its last frames are not overwritten: 0 to 32. Whoever comes late finds them.
    ///     content_type: The type of the channel's frames, up to 255 bytes of text. All its publishers must agree.
    ///
    /// Raises:
    ///     ValueError: If the name or `keep` is out of bounds.
    ///     FrameBufferError: If the ring has no room for another channel, the channel has another content type, or a
    ///         lossless subscriber, and `keep` is 0.
    #[pyo3(signature = (channel, *, keep = 1, content_type = None))]
    fn publisher(&self, channel: &str, keep: usize, content_type: Option<&str>) -> PyResult<Publisher> {
        let sending = Sending::open(self.open()?, channel, keep, content_type).map_err(errors::of_frame)?;
        Ok(Publisher::new(channel, sending))
    }

    /// A subscriber of the channel with this name, which is made if there is none.
    ///
    /// Args:
    ///     channel: 1 to 63 of `A-Z a-z 0-9 . _ / -`.
    ///     start: Where to begin: `"latest"` (the default), with the last frame that was sent, if it is there; `"new"`,
    ///         with the next one; `"oldest"`, with the oldest that is still there.
    ///     after: Instead, with the frame after the one with this number, to go on where another subscriber has ended.
    ///     lossless: Whether publishers wait for this subscriber, once it is as far behind as they keep frames.
    ///     spin: For how many seconds to look for a frame all the time before sleeping. Default: 20 us.
    ///
    /// Raises: ValueError: If the name or another argument is out of bounds. FrameBufferError: If the ring has no room
    /// for another channel, or the channel for another lossless subscriber, or one of its publishers keeps nothing.
    #[pyo3(signature = (channel, *, start = None, after = None, lossless = false, spin = None))]
    fn subscribe(
        &self,
        channel: &str,
        start: Option<&str>,
        after: Option<u64>,
        lossless: bool,
        spin: Option<f64>,
    ) -> PyResult<Subscriber> {
        let spin = spin.map(|seconds| arguments::seconds("spin", seconds)).transpose()?;
        let options = Options { start: Options::start(start, after)?, lossless, spin };
        Subscriber::open(self.open()?, channel, &options).map_err(errors::of_frame)
    }

    /// The channels of the ring, sorted by name: their figures since the ring was made, and who takes part.
    fn channels<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        channels::to_dicts(py, &self.open()?.channels().map_err(errors::of_frame)?)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.call_method0("start")?;
        Ok(slf)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        slf.call_method0("stop").map(drop)
    }

    /// Pickles key, folder and whether the client is started: unpickling opens the ring again.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Pickled)> {
        let this = slf.get();
        let restore = slf.py().import("framebuffer.client")?.getattr("_restore")?;
        Ok((restore, (this.get_key(), this.dir.clone(), this.started())))
    }

    fn __repr__(&self) -> &'static str {
        if self.started() { "<FrameBufferClient, started>" } else { "<FrameBufferClient, stopped>" }
    }
}
