//! [`Client`]: a program's access to a ring.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use framebuffer::{Connect, Error, FrameBufferClient, Key, RingId};

use crate::call::{Out, buffer, bytes, guard, out, path, present, text};
use crate::error::{Failure, Status};
use crate::frame::Frame;
use crate::loan::Loan;
use crate::stats::{Stats, put_stats};
use crate::view::View;

/// Writes frames to a ring and reads them from it.
///
/// Any number of threads may use a client at once, and after a fork() both parent and child; only
/// framebuffer_client_close() must be the last use. No function waits for another process, except
/// framebuffer_client_connect().
pub struct Client(Arc<FrameBufferClient>);

impl Client {
    /// For what may outlive the handle.
    pub(crate) fn shared(&self) -> &Arc<FrameBufferClient> {
        &self.0
    }
}

/// Opens the ring with this key, in the folder `dir`. NULL for `dir` means FRAMEBUFFER_DIR, or /dev/shm.
///
/// Fails with FRAMEBUFFER_STATUS_NOT_FOUND, FRAMEBUFFER_STATUS_NOT_A_SEGMENT, FRAMEBUFFER_STATUS_PARTICIPANTS_FULL,
/// FRAMEBUFFER_STATUS_SYSTEM (no permission, for example) or FRAMEBUFFER_STATUS_INVALID_ARGUMENT (a key is 1 to 200
/// characters of A-Z a-z 0-9 . _ -). Then `client` becomes NULL.
///
/// # Safety
///
/// `key` and `dir` are NULL or end with a zero byte, `client` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_open(
    key: *const c_char,
    dir: *const c_char,
    client: *mut *mut Client,
) -> Status {
    guard(|| {
        let client = out("client", client)?;
        // SAFETY: the caller guarantees it.
        unsafe { client.put(std::ptr::null_mut()) };
        // SAFETY: the caller guarantees it.
        let key = present("key", unsafe { text("key", key) }?)?;
        let options = FrameBufferClient::options(Key::new(key)?);
        // SAFETY: the caller guarantees it.
        let options = match unsafe { path(dir) } {
            Some(dir) => options.dir(dir),
            None => options,
        };
        // SAFETY: the caller guarantees it.
        unsafe { hand_out(&client, options.open()?) };
        Ok(())
    })
}

/// Opens the ring of the sidecar at `url`: "http://127.0.0.1:7570" or "unix:/path/to.sock". NULL for `url` means
/// FRAMEBUFFER_URL, which is set in pods, or http://127.0.0.1:7570; NULL for `dir` as in framebuffer_client_open().
///
/// Waits for a sidecar that is still starting, for at most `deadline_ms` milliseconds; 0 means 30 seconds.
///
/// Fails with FRAMEBUFFER_STATUS_NO_SIDECAR, FRAMEBUFFER_STATUS_INVALID_ARGUMENT (a URL of another kind), or as
/// framebuffer_client_open(). Then `client` becomes NULL.
///
/// # Safety
///
/// `url` and `dir` are NULL or end with a zero byte, `client` is NULL or valid for writing a pointer. No other thread
/// changes the environment meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_connect(
    url: *const c_char,
    dir: *const c_char,
    deadline_ms: u32,
    client: *mut *mut Client,
) -> Status {
    guard(|| {
        let client = out("client", client)?;
        // SAFETY: the caller guarantees it.
        unsafe { client.put(std::ptr::null_mut()) };
        // SAFETY: the caller guarantees it.
        let mut connect = unsafe { text("url", url) }?.map_or_else(Connect::from_env, Connect::new);
        // SAFETY: the caller guarantees it.
        if let Some(dir) = unsafe { path(dir) } {
            connect = connect.dir(dir);
        }
        if deadline_ms != 0 {
            connect = connect.deadline(Duration::from_millis(deadline_ms.into()));
        }
        // SAFETY: the caller guarantees it.
        unsafe { hand_out(&client, connect.connect()?) };
        Ok(())
    })
}

/// # Safety
///
/// As [`Out::put`].
unsafe fn hand_out(to: &Out<*mut Client>, client: FrameBufferClient) {
    let client = Box::into_raw(Box::new(Client(Arc::new(client))));
    // SAFETY: the caller guarantees it.
    unsafe { to.put(client) }
}

/// Closes the ring. Views, loans, publishers, subscribers and samples of this client stay valid; the last of them
/// unmaps the ring. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_client_close(client: Option<Box<Client>>) {
    drop(client);
}

/// The identity of the ring that the client is in now, which its frames carry: for a framebuffer_frame made by hand of
/// what framebuffer_client_allocate() and framebuffer_client_write() return. Ask before these: a client from
/// framebuffer_client_connect() may go over to another ring in between. 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_client_ring_id(client: Option<&Client>) -> u64 {
    client.and_then(|client| client.0.ring_id().ok()).map_or(0, RingId::to_u64)
}

/// Size of the ring, and of its largest frame, in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_client_size(client: Option<&Client>) -> u64 {
    client.and_then(|client| client.0.size().ok()).unwrap_or(0)
}

/// Allocates a frame of `size` bytes and stores its stream offset in `offset`, for framebuffer_client_write(), here or
/// in another process. It overwrites the oldest frames, except those in use.
///
/// Fails with FRAMEBUFFER_STATUS_LARGER_THAN_RING, FRAMEBUFFER_STATUS_EXHAUSTED, FRAMEBUFFER_STATUS_PINS_FULL or
/// FRAMEBUFFER_STATUS_RETIRED.
///
/// # Safety
///
/// `offset` is NULL or valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_allocate(client: Option<&Client>, size: u64, offset: *mut u64) -> Status {
    guard(|| {
        let offset = out("offset", offset)?;
        let allocated = present("client", client)?.0.allocate(size)?;
        // SAFETY: the caller guarantees it.
        unsafe { offset.put(allocated) };
        Ok(())
    })
}

/// Writes `size` bytes to the frame that any process has allocated at `offset`, and stores their checksum in
/// `checksum`. If the data is shorter than the allocation, so is the frame.
///
/// Fails with FRAMEBUFFER_STATUS_TIMEOUT (the ring has already moved past the frame), FRAMEBUFFER_STATUS_TOO_LARGE,
/// FRAMEBUFFER_STATUS_ALREADY_WRITTEN (also if another writer is still writing, or died while it was),
/// FRAMEBUFFER_STATUS_NEVER_ALLOCATED or FRAMEBUFFER_STATUS_RETIRED.
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, which no one changes meanwhile; `checksum` is NULL or valid for
/// writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_write(
    client: Option<&Client>,
    offset: u64,
    data: *const c_void,
    size: usize,
    checksum: *mut u64,
) -> Status {
    guard(|| {
        let checksum = out("checksum", checksum)?;
        // SAFETY: the caller guarantees it.
        let data = unsafe { bytes(data, size) }?;
        let written = present("client", client)?.0.write(offset, data)?;
        // SAFETY: the caller guarantees it.
        unsafe { checksum.put(written.to_u64()) };
        Ok(())
    })
}

/// Allocates a frame, copies `size` bytes to it and stores its description in `frame`, for the reader.
///
/// Fails as framebuffer_client_allocate().
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, which no one changes meanwhile; `frame` is NULL or valid for
/// writing a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_publish(
    client: Option<&Client>,
    data: *const c_void,
    size: usize,
    frame: *mut Frame,
) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        // SAFETY: the caller guarantees it.
        let data = unsafe { bytes(data, size) }?;
        let published = present("client", client)?.0.publish(data)?;
        // SAFETY: the caller guarantees it.
        unsafe { frame.put(published.into()) };
        Ok(())
    })
}

/// Lends a frame of `size` bytes in the ring itself, to fill in place: framebuffer_loan_commit() makes it readable
/// without a copy.
///
/// Fails as framebuffer_client_allocate(). Then `loan` becomes NULL.
///
/// # Safety
///
/// `loan` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_loan(client: Option<&Client>, size: u64, loan: *mut *mut Loan) -> Status {
    guard(|| {
        let loan = out("loan", loan)?;
        // SAFETY: the caller guarantees it.
        unsafe { loan.put(std::ptr::null_mut()) };
        let lent = Loan::new(&present("client", client)?.0, size)?;
        // SAFETY: the caller guarantees it.
        unsafe { loan.put(Box::into_raw(Box::new(lent))) };
        Ok(())
    })
}

/// Copies the `size` bytes of the frame at `offset` to `buffer` and compares them with `checksum`.
///
/// Fails with FRAMEBUFFER_STATUS_TIMEOUT if the frame has been overwritten, is not written yet, or has another size or
/// checksum; with FRAMEBUFFER_STATUS_LARGER_THAN_RING or FRAMEBUFFER_STATUS_NEVER_ALLOCATED if this ring never had such
/// a frame; with FRAMEBUFFER_STATUS_RETIRED or FRAMEBUFFER_STATUS_PINS_FULL. Then the buffer's contents are arbitrary.
///
/// # Safety
///
/// `buffer` is NULL or valid for writes of `size` bytes, which no one else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_read(
    client: Option<&Client>,
    offset: u64,
    size: usize,
    checksum: u64,
    buffer: *mut c_void,
) -> Status {
    let frame = Frame { offset, size: size as u64, checksum, ring: 0 };
    // SAFETY: the caller guarantees it.
    unsafe { framebuffer_client_read_frame(client, Some(&frame), buffer, size) }
}

/// Copies the frame with this description to `buffer`, which has `buffer_size` bytes: it writes the first `frame->size`
/// of them.
///
/// Fails with FRAMEBUFFER_STATUS_OTHER_RING if the description names another ring, before all else; with
/// FRAMEBUFFER_STATUS_BUFFER_TOO_SMALL if the frame is larger than the buffer; otherwise as framebuffer_client_read().
///
/// # Safety
///
/// `buffer` is NULL or valid for writes of `buffer_size` bytes, which no one else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_read_frame(
    client: Option<&Client>,
    frame: Option<&Frame>,
    buffer: *mut c_void,
    buffer_size: usize,
) -> Status {
    guard(|| {
        let client = &present("client", client)?.0;
        let frame = framebuffer::Frame::from(*present("frame", frame)?);
        let (ring, size, limit) = (client.ring_id()?, frame.size, client.size()?);
        if let Some(frame) = frame.ring.filter(|of_frame| *of_frame != ring) {
            return Err(Error::OtherRing { frame, ring }.into());
        }
        if size > limit {
            return Err(Error::LargerThanRing { size, limit }.into());
        }
        if size > buffer_size as u64 {
            return Err(Failure::BufferTooSmall { len: buffer_size as u64, needed: size });
        }
        // SAFETY: the caller guarantees it, and `size` is not more than `buffer_size`.
        let buffer = unsafe { self::buffer(buffer, size as usize) }?;
        Ok(client.read_into(&frame, buffer)?)
    })
}

/// Makes a view of a frame in the ring itself, without a copy, in a time that does not depend on its size. It compares
/// the given checksum with the one that the writer stored; framebuffer_view_verify() hashes the bytes. Release the view
/// with framebuffer_view_release().
///
/// Fails with FRAMEBUFFER_STATUS_OTHER_RING if the description names another ring, otherwise as
/// framebuffer_client_read(). Then `view` becomes NULL.
///
/// # Safety
///
/// `view` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_view(
    client: Option<&Client>,
    frame: Option<&Frame>,
    view: *mut *mut View,
) -> Status {
    guard(|| {
        let view = out("view", view)?;
        // SAFETY: the caller guarantees it.
        unsafe { view.put(std::ptr::null_mut()) };
        let client = &present("client", client)?.0;
        let viewed = View::new(client, *present("frame", frame)?)?;
        // SAFETY: the caller guarantees it.
        unsafe { view.put(Box::into_raw(Box::new(viewed))) };
        Ok(())
    })
}

/// Stores the ring's statistics in `stats`. Pass `sizeof *stats` as `stats_size`: a program built with an older header
/// gets the members it knows, and members that this library does not know become 0.
///
/// # Safety
///
/// `stats` is NULL or valid for writes of `stats_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_stats(
    client: Option<&Client>,
    stats: *mut Stats,
    stats_size: usize,
) -> Status {
    guard(|| {
        let found = present("client", client)?.0.stats()?;
        // SAFETY: the caller guarantees it.
        unsafe { put_stats(&found, stats, stats_size) }
    })
}
