//! `Subscriber`: receives the frames of a channel.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use framebuffer::{Error, FrameBufferClient, Sample as RustSample, Start, Subscriber as RustSubscriber};
use pyo3::exceptions::{PyStopIteration, PyValueError};
use pyo3::prelude::*;

use crate::arguments;
use crate::detached::LOOK;
use crate::errors;
use crate::exclusive::{Exclusive, Turn};
use crate::owned::Owned;
use crate::sample::Received;

type Open = Box<Owned<RustSubscriber<'static>>>;

/// Receives the frames of a channel, in the order in which they were sent. From `FrameBufferClient.subscribe`.
///
/// All subscribers receive all frames, and hold nobody up (but for `lossless` ones). If one is slow, frames are
/// overwritten before it has received them; it goes on with the next one that is there, and counts the others:
/// `received + lost + skipped` is the number of frames from its beginning to where it is.
///
/// Iterate over it, `for frame in subscriber` or `async for frame in subscriber`, without an end; or call `next`.
/// Ctrl-C ends a wait, and so does `close()` in another thread. Other threads run meanwhile. Threads that share a
/// subscriber take turns: each frame goes to one of them.
#[pyclass(frozen, weakref, module = "framebuffer")]
pub(crate) struct Subscriber {
    channel: String,
    open: Exclusive<Open>,
    counts: Counts,
}

/// As after the last call: to be read while another thread waits for a frame.
#[derive(Default)]
struct Counts {
    received: AtomicU64,
    lost: AtomicU64,
    skipped: AtomicU64,
    next_number: AtomicU64,
}

/// How to subscribe.
pub(crate) struct Options {
    pub(crate) start: Start,
    pub(crate) lossless: bool,
    pub(crate) spin: Option<Duration>,
}

impl Options {
    /// Where to begin, as a program says it.
    pub(crate) fn start(start: Option<&str>, after: Option<u64>) -> PyResult<Start> {
        match (start, after) {
            (None, Some(number)) => Ok(Start::After(number)),
            (None | Some("latest"), None) => Ok(Start::Latest),
            (Some("new"), None) => Ok(Start::New),
            (Some("oldest"), None) => Ok(Start::Oldest),
            (Some(_), Some(_)) => Err(PyValueError::new_err("subscribe() takes start or after, not both")),
            (Some(other), None) => {
                Err(PyValueError::new_err(format!("start must be \"latest\", \"new\" or \"oldest\", not {other:?}")))
            }
        }
    }
}

impl Subscriber {
    pub(crate) fn open(client: Arc<FrameBufferClient>, channel: &str, options: &Options) -> Result<Self, Error> {
        // SAFETY: the subscriber stays where it is; its samples are kept with the same client.
        let open = unsafe {
            Owned::new(client, |client| {
                let mut opening = client.subscriber_options(channel).start(options.start);
                if options.lossless {
                    opening = opening.lossless();
                }
                if let Some(spin) = options.spin {
                    opening = opening.spin(spin);
                }
                opening.open()
            })
        }?;
        let counts = Counts::default();
        counts.note(&open);
        Ok(Self { channel: channel.to_owned(), open: Exclusive::new("subscriber", Box::new(open)), counts })
    }

    /// The next frame, waited for until the deadline; `None` if none came.
    fn wait(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Option<Received>> {
        loop {
            let mut turn = self.open.take(py)?;
            if let Some(sample) = self.look(&mut turn, |subscriber| subscriber.next(Duration::ZERO))? {
                return Ok(Some(sample));
            }
            let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            let subscriber = &mut *turn;
            // Ends with a signal, a frame, or in time to look whether there was a signal.
            py.detach(move || _ = subscriber.wait(left.min(LOOK)));
            drop(turn);
            py.check_signals()?;
        }
    }

    /// What one call finds.
    fn look(
        &self,
        turn: &mut Turn<'_, Open>,
        call: impl FnOnce(&mut RustSubscriber<'static>) -> Result<Option<RustSample<'static>>, Error>,
    ) -> PyResult<Option<Received>> {
        let found = call(turn);
        self.counts.note(turn);
        // SAFETY: the sample came from this subscriber.
        let sample = found.map_err(errors::of_frame)?.map(|sample| unsafe { turn.with(sample) });
        Ok(sample.map(Received))
    }
}

impl Counts {
    fn note(&self, subscriber: &RustSubscriber<'static>) {
        self.received.store(subscriber.received(), Ordering::Relaxed);
        self.lost.store(subscriber.lost(), Ordering::Relaxed);
        self.skipped.store(subscriber.skipped(), Ordering::Relaxed);
        self.next_number.store(subscriber.next_number(), Ordering::Relaxed);
    }
}

#[pymethods]
impl Subscriber {
    /// The next frame. Waits for it, for at most `timeout` seconds (`None` for ever); `None` if none was sent in that
    /// time. If the ring is given up meanwhile, waits for the next one, if the client can find it (one from `connect`).
    ///
    /// Raises:
    ///     FrameBufferRetired: If the ring was given up, and the client cannot find another.
    ///     FrameBufferExhausted: If this program has so many samples that there is no participant slot for more.
    ///     ValueError: If the subscriber is closed.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Received>> {
        let deadline = match timeout {
            None => None,
            timeout => Some(Instant::now() + arguments::timeout(timeout)?),
        };
        self.wait(py, deadline)
    }

    /// The next frame if it is there already, else `None`. Raises as `next`.
    fn try_next(&self, py: Python<'_>) -> PyResult<Option<Received>> {
        let mut turn = self.open.take(py)?;
        self.look(&mut turn, |subscriber| subscriber.next(Duration::ZERO))
    }

    /// The last frame that was sent, if it was not received yet, else `None`. Those before it are skipped. Raises as
    /// `next`.
    fn latest(&self, py: Python<'_>) -> PyResult<Option<Received>> {
        let mut turn = self.open.take(py)?;
        self.look(&mut turn, RustSubscriber::latest)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next frame, waited for. Ends once the subscriber is closed.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Received>> {
        self.wait(py, None).map_err(|error| if self.open.is_closed() { PyStopIteration::new_err(()) } else { error })
    }

    /// The frames, for `async for` in a program with asyncio. Its event loop runs meanwhile.
    fn __aiter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        slf.py().import("framebuffer.subscriber")?.getattr("Frames")?.call1((slf,))
    }

    /// A file descriptor for `select` and event loops: readable when there may be a frame. Then call `try_next` until
    /// it returns `None`, which makes it unreadable until the next frame. A thread waits for it; `next` is faster.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let mut turn = self.open.take(py)?;
        turn.event_fd().map(|descriptor| descriptor.as_raw_fd()).map_err(errors::of_frame)
    }

    /// Frames that were received.
    #[getter]
    fn received(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }

    /// Frames that were overwritten before they were received.
    #[getter]
    fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Frames that `latest` has passed over.
    #[getter]
    fn skipped(&self) -> u64 {
        self.counts.skipped.load(Ordering::Relaxed)
    }

    /// The number of the next frame to receive.
    #[getter]
    fn next_number(&self) -> u64 {
        self.counts.next_number.load(Ordering::Relaxed)
    }

    /// The channel's name.
    #[getter]
    fn channel(&self) -> &str {
        &self.channel
    }

    /// Whether the subscriber is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.open.is_closed()
    }

    /// Ends the subscriber, and a wait of another thread for it. Does nothing if it is closed. Its samples stay.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.open.close(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let closed = if self.closed() { ", closed" } else { "" };
        format!("<Subscriber of {:?}, next {}{closed}>", self.channel, self.next_number())
    }
}
