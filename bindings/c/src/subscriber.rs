//! [`Subscriber`]: receives the frames of a channel.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use framebuffer::{Error, FrameBufferClient};

use crate::call::{alone, guard, milliseconds, out, present, text};
use crate::client::Client;
use crate::error::{Failure, Status};
use crate::growing::{Options, options, put_members};
use crate::sample::Sample;

/// Receives the frames of a channel, in the order in which they were sent. All subscribers receive all frames. If one
/// is slow, frames are overwritten before it has received them: it goes on with the next one that is there, and counts
/// the others.
///
/// For one thread at a time: a call while another one is still running is FRAMEBUFFER_STATUS_BUSY, and does nothing;
/// only framebuffer_subscriber_counts() may be called by any thread meanwhile. It may outlive its client. After a
/// fork() both parent and child go on from where it is, each by itself, and each closes its own.
pub struct Subscriber {
    // Dropped before what it borrows from.
    inner: Mutex<Inner>,
    client: Arc<FrameBufferClient>,
    counts: AtomicCounts,
}

type Inner = framebuffer::Subscriber<'static>;

/// Where a subscriber begins.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the last frame that was sent, if it is there; then all that follow.
    Latest = 0,
    /// With the next frame that is sent.
    New = 1,
    /// With the oldest frame that is still there: at most the last 1,024.
    Oldest = 2,
    /// With the frame after number `after`, to go on where another subscriber has ended. If the channel has not got
    /// that far, it began anew with its ring: then as FRAMEBUFFER_START_OLDEST.
    After = 3,
}

/// Options of a subscriber. Initialise them with FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SubscriberOptions {
    /// Bytes of this struct.
    pub size: usize,
    /// Where to begin, a framebuffer_start. Default: FRAMEBUFFER_START_LATEST.
    pub start: u32,
    /// Not 0: publishers have to wait for this subscriber, so that nothing that is sent from now on is lost to it.
    /// Default: 0.
    pub lossless: u32,
    /// For FRAMEBUFFER_START_AFTER. Default: 0.
    pub after: u64,
    /// For how many microseconds to look for a frame all the time before sleeping; below 0 for as long as is good in
    /// general, 20 if there is more than one processor. Default: -1.
    pub spin_us: i64,
}

/// What has become of the frames that were sent from a subscriber's beginning to where it is: at any time, `received` +
/// `lost` + `skipped` is their number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Frames that it has received.
    pub received: u64,
    /// Frames that were overwritten before it received them.
    pub lost: u64,
    /// Frames that framebuffer_subscriber_latest() has passed over.
    pub skipped: u64,
    /// The number of the next frame to receive.
    pub next_number: u64,
}

impl Options for SubscriberOptions {
    const DEFAULT: Self =
        Self { size: size_of::<Self>(), start: Start::Latest as u32, lossless: 0, after: 0, spin_us: -1 };
    const INITIALISER: &'static str = "FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT";
}

/// The counts after the last call, for any thread.
struct AtomicCounts {
    received: AtomicU64,
    lost: AtomicU64,
    skipped: AtomicU64,
    next_number: AtomicU64,
}

impl AtomicCounts {
    fn of(subscriber: &Inner) -> Self {
        Self {
            received: subscriber.received().into(),
            lost: subscriber.lost().into(),
            skipped: subscriber.skipped().into(),
            next_number: subscriber.next_number().into(),
        }
    }

    #[inline]
    fn update(&self, subscriber: &Inner) {
        // Relaxed: they order nothing.
        self.received.store(subscriber.received(), Ordering::Relaxed);
        self.lost.store(subscriber.lost(), Ordering::Relaxed);
        self.skipped.store(subscriber.skipped(), Ordering::Relaxed);
        self.next_number.store(subscriber.next_number(), Ordering::Relaxed);
    }

    fn load(&self) -> Counts {
        let Self { received, lost, skipped, next_number } = self;
        let [received, lost, skipped, next_number] =
            [received, lost, skipped, next_number].map(|count| count.load(Ordering::Relaxed));
        Counts { received, lost, skipped, next_number }
    }
}

impl SubscriberOptions {
    fn start(&self) -> Result<framebuffer::Start, Failure> {
        match self.start {
            start if start == Start::Latest as u32 => Ok(framebuffer::Start::Latest),
            start if start == Start::New as u32 => Ok(framebuffer::Start::New),
            start if start == Start::Oldest as u32 => Ok(framebuffer::Start::Oldest),
            start if start == Start::After as u32 => Ok(framebuffer::Start::After(self.after)),
            start => Err(Failure::UnknownStart { start }),
        }
    }
}

impl Subscriber {
    fn open(client: &Arc<FrameBufferClient>, name: &str, options: SubscriberOptions) -> Result<Self, Failure> {
        let client = Arc::clone(client);
        // SAFETY: the Arc is in the same struct as the subscriber, which is dropped first. What comes out of it,
        // samples, comes with an Arc of its own.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        let mut asked = lives_on.subscriber_options(name).start(options.start()?);
        if options.lossless != 0 {
            asked = asked.lossless();
        }
        if let Ok(spin) = u64::try_from(options.spin_us) {
            asked = asked.spin(Duration::from_micros(spin));
        }
        let subscriber = asked.open()?;
        let counts = AtomicCounts::of(&subscriber);
        Ok(Self { inner: Mutex::new(subscriber), client, counts })
    }

    #[inline]
    fn alone(&self) -> Result<MutexGuard<'_, Inner>, Failure> {
        alone("subscriber", &self.inner)
    }

    /// Runs a call that receives a sample, and hands it out.
    ///
    /// # Safety
    ///
    /// `sample` is NULL or valid for writing a pointer.
    unsafe fn receive(
        subscriber: Option<&Self>,
        sample: *mut *mut Sample,
        receive: impl FnOnce(&mut Inner) -> Result<Option<framebuffer::Sample<'static>>, Failure>,
    ) -> Status {
        guard(|| {
            let sample = out("sample", sample)?;
            // SAFETY: the caller guarantees it.
            unsafe { sample.put(std::ptr::null_mut()) };
            let subscriber = present("subscriber", subscriber)?;
            let mut inner = subscriber.alone()?;
            let received = receive(&mut inner);
            subscriber.counts.update(&inner);
            drop(inner);
            let received = received?.ok_or(Failure::NoFrame)?;
            // SAFETY: the sample borrows from this client.
            let received = unsafe { Sample::new(received, Arc::clone(&subscriber.client)) };
            // SAFETY: the caller guarantees it.
            unsafe { sample.put(Box::into_raw(Box::new(received))) };
            Ok(())
        })
    }
}

/// The next frame, if it is there. Without a ring there is nothing yet, as long as the client may find another.
fn take(subscriber: &mut Inner) -> Result<Option<framebuffer::Sample<'static>>, Failure> {
    match subscriber.try_next() {
        Err(Error::Retired) => Ok(subscriber.next(Duration::ZERO)?),
        found => Ok(found?),
    }
}

/// Waits for the next frame, and gives up once a signal handler has run.
fn wait(subscriber: &mut Inner, timeout: Duration) -> Result<Option<framebuffer::Sample<'static>>, Failure> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        if let Some(sample) = take(subscriber)? {
            return Ok(Some(sample));
        }
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(None);
        }
        if subscriber.wait(left).is_break() {
            return Err(Failure::Interrupted);
        }
    }
}

/// Opens a subscriber of the channel with this name, 1 to 63 of A-Z a-z 0-9 . _ / -, which is made if there is none.
/// NULL for `options` means the defaults.
///
/// Fails with FRAMEBUFFER_STATUS_CHANNEL (no room for another channel or another lossless subscriber, or a publisher
/// that keeps nothing), FRAMEBUFFER_STATUS_INVALID_ARGUMENT or FRAMEBUFFER_STATUS_RETIRED. Then `subscriber` becomes
/// NULL.
///
/// # Safety
///
/// `name` is NULL or ends with a zero byte. `options` is NULL, or valid for reads of `options->size` bytes.
/// `subscriber` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_open(
    client: Option<&Client>,
    name: *const c_char,
    options: *const SubscriberOptions,
    subscriber: *mut *mut Subscriber,
) -> Status {
    guard(|| {
        let subscriber = out("subscriber", subscriber)?;
        // SAFETY: the caller guarantees it.
        unsafe { subscriber.put(std::ptr::null_mut()) };
        let client = present("client", client)?.shared();
        // SAFETY: the caller guarantees it.
        let name = present("name", unsafe { text("name", name) }?)?;
        // SAFETY: the caller guarantees it.
        let opened = Subscriber::open(client, name, unsafe { self::options(options) }?)?;
        // SAFETY: the caller guarantees it.
        unsafe { subscriber.put(Box::into_raw(Box::new(opened))) };
        Ok(())
    })
}

/// Receives the next frame. Waits for it, for at most `timeout_ms` milliseconds: 0 does not wait, below 0
/// (FRAMEBUFFER_FOREVER) there is no limit. Release the sample with framebuffer_sample_release().
///
/// Fails with FRAMEBUFFER_STATUS_NO_FRAME if none came in that time (a status of its own, so that OK always comes with
/// a sample, and a loop of calls ends by itself); with FRAMEBUFFER_STATUS_INTERRUPTED if a signal handler of the
/// program has run in this thread while it slept: look at what the handler has left for you, and go on. (A handler that
/// runs before it sleeps is not noticed: give a timeout, or wait with ppoll() for framebuffer_subscriber_fd().) Also
/// with FRAMEBUFFER_STATUS_BUSY, FRAMEBUFFER_STATUS_PINS_FULL or FRAMEBUFFER_STATUS_RETIRED. Then `sample` becomes
/// NULL.
///
/// While a ring is replaced, a client from framebuffer_client_connect() waits for the next one.
///
/// # Safety
///
/// `sample` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_next(
    subscriber: Option<&Subscriber>,
    timeout_ms: i64,
    sample: *mut *mut Sample,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { Subscriber::receive(subscriber, sample, |inner| wait(inner, milliseconds(timeout_ms))) }
}

/// Receives the next frame if it is there already: as framebuffer_subscriber_next() without waiting.
///
/// # Safety
///
/// `sample` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_try_next(
    subscriber: Option<&Subscriber>,
    sample: *mut *mut Sample,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { Subscriber::receive(subscriber, sample, take) }
}

/// Receives the last frame that was sent, if it was not received yet, without waiting. Those before it are skipped.
///
/// Fails as framebuffer_subscriber_try_next().
///
/// # Safety
///
/// `sample` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_latest(
    subscriber: Option<&Subscriber>,
    sample: *mut *mut Sample,
) -> Status {
    let latest = |inner: &mut Inner| match inner.latest() {
        // Makes the descriptor for event loops unreadable; what came in between is the latest.
        Ok(None) | Err(Error::Retired) => take(inner),
        found => Ok(found?),
    };
    // SAFETY: the caller guarantees it.
    unsafe { Subscriber::receive(subscriber, sample, latest) }
}

/// Stores the subscriber's counts in `counts`. Pass `sizeof *counts` as `counts_size`, as for
/// framebuffer_client_stats(). Any thread may ask, also while another one waits for a frame; then the counts are those
/// of before its call.
///
/// # Safety
///
/// `counts` is NULL or valid for writes of `counts_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_counts(
    subscriber: Option<&Subscriber>,
    counts: *mut Counts,
    counts_size: usize,
) -> Status {
    guard(|| {
        let found = present("subscriber", subscriber)?.counts.load();
        // SAFETY: the caller guarantees it, and a struct of numbers of 8 bytes has no padding.
        unsafe { put_members("counts", &found, counts, counts_size) }
    })
}

/// Stores a file descriptor for event loops (epoll, poll, select) in `fd`. It is readable when there may be a frame.
/// Then call framebuffer_subscriber_try_next() until it returns FRAMEBUFFER_STATUS_NO_FRAME, which makes the descriptor
/// unreadable until the next frame. Neither read nor close it: it is the same one for as long as the subscriber is
/// open. A child of fork() asks for another.
///
/// A thread of the library waits for it: in a thread of your own framebuffer_subscriber_next() is faster.
///
/// Fails with FRAMEBUFFER_STATUS_SYSTEM if there can be no more threads or descriptors, FRAMEBUFFER_STATUS_BUSY or
/// FRAMEBUFFER_STATUS_RETIRED.
///
/// # Safety
///
/// `fd` is NULL or valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_subscriber_fd(subscriber: Option<&Subscriber>, fd: *mut c_int) -> Status {
    guard(|| {
        let fd = out("fd", fd)?;
        let readable = present("subscriber", subscriber)?.alone()?.event_fd()?.as_raw_fd();
        // SAFETY: the caller guarantees it.
        unsafe { fd.put(readable) };
        Ok(())
    })
}

/// Closes the subscriber. Its samples stay valid. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_subscriber_close(subscriber: Option<Box<Subscriber>>) {
    drop(subscriber);
}
