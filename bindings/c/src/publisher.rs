//! [`Publisher`]: sends frames over a channel.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use framebuffer::{ChannelError, Error, FrameBufferClient};

use crate::call::{alone, bytes, guard, milliseconds, out, present, text};
use crate::client::Client;
use crate::descriptor::{Descriptor, described};
use crate::error::{Failure, Status};
use crate::frame::Frame;
use crate::growing::{Options, options};
use crate::loan::Loan;

/// Sends frames over a channel of the ring: a named stream of frames, each with a number, which subscribers receive in
/// the order in which they were sent.
///
/// Sending waits for nobody, except for lossless subscribers, if it is asked to. The last frames of the publisher are
/// kept from being overwritten for as long as it lives.
///
/// For one thread at a time: a call while another one is still running is FRAMEBUFFER_STATUS_BUSY, and does nothing.
/// Threads and processes that open a publisher each may all send over one channel. It may outlive its client. After a
/// fork() both parent and child may send with it, and each closes its own.
pub struct Publisher {
    // Dropped before what it borrows from.
    inner: Mutex<Inner>,
    client: Arc<FrameBufferClient>,
    /// Tells publishers apart, for their loans.
    id: u64,
}

type Inner = framebuffer::Publisher<'static>;

/// Options of a publisher. Initialise them with FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PublisherOptions {
    /// Bytes of this struct.
    pub size: usize,
    /// How many of its last frames the publisher keeps from being overwritten, 0 to 32. Default: 1. Lossless
    /// subscribers may be behind by so many frames before the publisher has to wait for them.
    pub keep: usize,
    /// The type of the channel's frames, up to 255 bytes of text, on which all its publishers must agree: a media type,
    /// GStreamer caps, the name of a schema. Default: NULL, none.
    pub content_type: *const c_char,
}

/// A frame that was sent.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Its number in the channel, from 0 on.
    pub number: u64,
    /// Its description, with which any client of the ring can read it.
    pub frame: Frame,
}

impl Options for PublisherOptions {
    const DEFAULT: Self = Self { size: size_of::<Self>(), keep: 1, content_type: std::ptr::null() };
    const INITIALISER: &'static str = "FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT";
}

impl From<framebuffer::Sent> for Sent {
    fn from(sent: framebuffer::Sent) -> Self {
        Self { number: sent.number, frame: sent.frame.into() }
    }
}

impl Publisher {
    fn open(client: &Arc<FrameBufferClient>, name: &str, keep: usize, content_type: &str) -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let client = Arc::clone(client);
        // SAFETY: the Arc is in the same struct as the publisher, which is dropped first. What is lent by it, loans,
        // comes with an Arc of its own.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        let publisher = lives_on.publisher_options(name).keep(keep).content_type(content_type).open()?;
        Ok(Self { inner: Mutex::new(publisher), client, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    #[inline]
    fn alone(&self) -> Result<MutexGuard<'_, Inner>, Failure> {
        alone("publisher", &self.inner)
    }
}

/// Makes an `attempt` that does not wait, and others for as long as lossless subscribers are in the way, for at most
/// `timeout`. Gives up once a signal handler has run.
#[inline]
fn patiently<T>(
    publisher: &mut Inner,
    timeout: Duration,
    mut attempt: impl FnMut(&mut Inner) -> Result<T, Error>,
) -> Result<T, Failure> {
    let mut begun = None;
    loop {
        let backlog = match attempt(publisher) {
            Err(Error::Channel(backlog)) => backlog,
            done => return Ok(done?),
        };
        let passed = begun.get_or_insert_with(Instant::now).elapsed();
        let left = timeout.saturating_sub(passed);
        match backlog {
            ChannelError::Backlog { number, keep, .. } if !left.is_zero() => {
                if publisher.wait(number, keep, left).is_break() {
                    return Err(Failure::Interrupted);
                }
            }
            error => return Err(error.into()),
        }
    }
}

/// Opens a publisher of the channel with this name, 1 to 63 of A-Z a-z 0-9 . _ / -, which is made if there is none.
/// NULL for `options` means the defaults.
///
/// Fails with FRAMEBUFFER_STATUS_CHANNEL (no room for another channel, another content type, a lossless subscriber
/// beside a publisher that keeps nothing), FRAMEBUFFER_STATUS_INVALID_ARGUMENT or FRAMEBUFFER_STATUS_RETIRED. Then
/// `publisher` becomes NULL.
///
/// # Safety
///
/// `name` is NULL or ends with a zero byte; so is the content type. `options` is NULL, or valid for reads of
/// `options->size` bytes. `publisher` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_publisher_open(
    client: Option<&Client>,
    name: *const c_char,
    options: *const PublisherOptions,
    publisher: *mut *mut Publisher,
) -> Status {
    guard(|| {
        let publisher = out("publisher", publisher)?;
        // SAFETY: the caller guarantees it.
        unsafe { publisher.put(std::ptr::null_mut()) };
        let client = present("client", client)?.shared();
        // SAFETY: the caller guarantees it.
        let name = present("name", unsafe { text("name", name) }?)?;
        // SAFETY: the caller guarantees it.
        let PublisherOptions { size: _, keep, content_type } = unsafe { self::options(options) }?;
        // SAFETY: the caller guarantees it.
        let content_type = unsafe { text("content_type", content_type) }?.unwrap_or_default();
        let opened = Publisher::open(client, name, keep, content_type)?;
        // SAFETY: the caller guarantees it.
        unsafe { publisher.put(Box::into_raw(Box::new(opened))) };
        Ok(())
    })
}

/// Copies `size` bytes into the ring and sends them. NULL for `descriptor` says nothing of the frame. Stores its number
/// and description in `sent`, which may be NULL.
///
/// Waits for lossless subscribers, if there are any, for at most `timeout_ms` milliseconds: 0 does not wait, below 0
/// (FRAMEBUFFER_FOREVER) there is no limit.
///
/// Fails with FRAMEBUFFER_STATUS_BACKLOG if they have not received enough in that time; with
/// FRAMEBUFFER_STATUS_INTERRUPTED if a signal handler of the program has run in this thread while it waited (as for
/// framebuffer_subscriber_next()): send again, if the handler does not ask you to end; with
/// FRAMEBUFFER_STATUS_INVALID_ARGUMENT if the bytes do not fit the shape, with FRAMEBUFFER_STATUS_BUSY, or as
/// framebuffer_client_allocate(). Then nothing was sent.
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, which no one changes meanwhile; `sent` is NULL or valid for
/// writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_publisher_send(
    publisher: Option<&Publisher>,
    data: *const c_void,
    size: usize,
    descriptor: Option<&Descriptor>,
    timeout_ms: i64,
    sent: *mut Sent,
) -> Status {
    guard(|| {
        // SAFETY: the caller guarantees it.
        let data = unsafe { bytes(data, size) }?;
        let descriptor = described(descriptor)?;
        let mut publisher = present("publisher", publisher)?.alone()?;
        let send = |publisher: &mut Inner| publisher.send_with(data, &descriptor);
        let done = patiently(&mut publisher, milliseconds(timeout_ms), send)?;
        // SAFETY: the caller guarantees it.
        unsafe { put_sent(sent, done) };
        Ok(())
    })
}

/// Waits until no lossless subscriber is in the way of the next frame, for at most `timeout_ms` milliseconds. If this
/// is the channel's only publisher, its next frame does not have to wait then. Ask before you fill a loan.
///
/// Fails with FRAMEBUFFER_STATUS_BACKLOG after that time, FRAMEBUFFER_STATUS_INTERRUPTED if a signal handler has run in
/// this thread while it waited, FRAMEBUFFER_STATUS_BUSY or FRAMEBUFFER_STATUS_RETIRED.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_publisher_ready(publisher: Option<&Publisher>, timeout_ms: i64) -> Status {
    guard(|| {
        let mut publisher = present("publisher", publisher)?.alone()?;
        patiently(&mut publisher, milliseconds(timeout_ms), |publisher| publisher.ready(Duration::ZERO))
    })
}

/// Waits until all lossless subscribers have received all frames of the channel, for at most `timeout_ms` milliseconds:
/// call it before framebuffer_publisher_close(), from which on the frames are no longer kept.
///
/// Fails as framebuffer_publisher_ready().
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_publisher_flush(publisher: Option<&Publisher>, timeout_ms: i64) -> Status {
    guard(|| {
        let mut publisher = present("publisher", publisher)?.alone()?;
        let last = publisher.last()?;
        patiently(&mut publisher, milliseconds(timeout_ms), |publisher| publisher.flush_up_to(last, Duration::ZERO))
    })
}

/// Lends a frame of `size` bytes in the ring itself, to fill in place: framebuffer_publisher_send_loan() sends it
/// without a copy. Any number of loans may be open at once, and be sent in any order; the publisher can be used
/// meanwhile.
///
/// Fails as framebuffer_client_allocate(), and with FRAMEBUFFER_STATUS_BUSY. Then `loan` becomes NULL.
///
/// # Safety
///
/// `loan` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_publisher_loan(
    publisher: Option<&Publisher>,
    size: u64,
    loan: *mut *mut Loan,
) -> Status {
    guard(|| {
        let loan = out("loan", loan)?;
        // SAFETY: the caller guarantees it.
        unsafe { loan.put(std::ptr::null_mut()) };
        let publisher = present("publisher", publisher)?;
        let frame = publisher.alone()?.loan_raw(size)?;
        // SAFETY: the frame borrows from this client.
        let lent = unsafe { Loan::to_send(frame, Arc::clone(&publisher.client), publisher.id) };
        // SAFETY: the caller guarantees it.
        unsafe { loan.put(Box::into_raw(Box::new(lent))) };
        Ok(())
    })
}

/// Hashes the bytes of a loan of this publisher in place, and sends the frame, as framebuffer_publisher_send().
///
/// It releases the loan, unless it returns FRAMEBUFFER_STATUS_INTERRUPTED: then the loan is as it was before, to be
/// sent again or abandoned. (If another publisher of the channel has taken its turn at the last moment, a signal
/// handler does not end the rest of the wait.)
///
/// Fails as framebuffer_publisher_send(); with FRAMEBUFFER_STATUS_INVALID_ARGUMENT for a loan of another publisher or
/// of a client; with FRAMEBUFFER_STATUS_FORKED in a child of the process that borrowed it; with
/// FRAMEBUFFER_STATUS_RETIRED if another ring has taken the place of its own.
///
/// # Safety
///
/// `sent` is NULL or valid for writing. No one writes to the loan's bytes from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_publisher_send_loan(
    publisher: Option<&Publisher>,
    loan: Option<Box<Loan>>,
    descriptor: Option<&Descriptor>,
    timeout_ms: i64,
    sent: *mut Sent,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { send_loan(publisher, loan, descriptor, true, milliseconds(timeout_ms), sent) }
}

/// Sends as framebuffer_publisher_send_loan(), but without hashing, in a time that does not depend on the size: see
/// framebuffer_loan_commit_unhashed().
///
/// # Safety
///
/// As framebuffer_publisher_send_loan().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_publisher_send_loan_unhashed(
    publisher: Option<&Publisher>,
    loan: Option<Box<Loan>>,
    descriptor: Option<&Descriptor>,
    timeout_ms: i64,
    sent: *mut Sent,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { send_loan(publisher, loan, descriptor, false, milliseconds(timeout_ms), sent) }
}

unsafe fn send_loan(
    publisher: Option<&Publisher>,
    loan: Option<Box<Loan>>,
    descriptor: Option<&Descriptor>,
    hashed: bool,
    timeout: Duration,
    sent: *mut Sent,
) -> Status {
    guard(|| {
        let loan = present("loan", loan)?;
        let publisher = present("publisher", publisher)?;
        let descriptor = described(descriptor)?;
        let mut alone = publisher.alone()?;
        let mut left = timeout;
        if !timeout.is_zero() && loan.is_of(publisher.id) {
            let begun = Instant::now();
            // Before the frame is committed: there is no way back from there.
            match patiently(&mut alone, timeout, |publisher| publisher.ready(Duration::ZERO)) {
                Err(Failure::Interrupted) => {
                    // It stays the caller's.
                    let _ = Box::into_raw(loan);
                    return Err(Failure::Interrupted);
                }
                ready => ready?,
            }
            left = timeout.saturating_sub(begun.elapsed());
        }
        // Its client is the publisher's, which holds what becomes of the frame.
        let done = loan.send(publisher.id, |frame| alone.send_loan(frame, &descriptor, hashed, left))?;
        // SAFETY: the caller guarantees it.
        unsafe { put_sent(sent, done) };
        Ok(())
    })
}

/// # Safety
///
/// `to` is NULL or valid for writing.
unsafe fn put_sent(to: *mut Sent, sent: framebuffer::Sent) {
    if !to.is_null() {
        // SAFETY: the caller guarantees it.
        unsafe { to.write(sent.into()) }
    }
}

/// Closes the publisher: its frames are no longer kept, and its loans can only be abandoned. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_publisher_close(publisher: Option<Box<Publisher>>) {
    drop(publisher);
}
