//! [`Client`]: a program's access to a ring.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use framebuffer::{Checksum, Connect, FrameBufferClient, Key};

use crate::call::{Out, buffer, bytes, guard, out, path, present, text};
use crate::error::{Failure, Status};
use crate::frame::Frame;
use crate::loan::Loan;
use crate::stats::{Stats, put_stats};
use crate::view::View;

/// Writes frames into a ring and reads them out of it.
///
/// It may be used from any number of threads at once, and after a fork() in parent and child; only
/// framebuffer_client_close() must be the last use. Nothing waits for another process, but for framebuffer_client_connect().
pub struct Client(Arc<FrameBufferClient>);

/// Opens the ring with this key, in the folder `dir`. NULL for `dir` is FRAMEBUFFER_DIR, or /dev/shm.
///
/// FRAMEBUFFER_STATUS_NOT_FOUND, FRAMEBUFFER_STATUS_NOT_A_SEGMENT, FRAMEBUFFER_STATUS_PARTICIPANTS_FULL,
/// FRAMEBUFFER_STATUS_SYSTEM (no permission, say), FRAMEBUFFER_STATUS_INVALID_ARGUMENT (a key is 1 to 200 characters out of
/// A-Z a-z 0-9 . _ -). `client` is NULL then.
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
        // SAFETY: the caller vouches for it.
        unsafe { client.put(std::ptr::null_mut()) };
        // SAFETY: the caller vouches for it.
        let key = present("key", unsafe { text("key", key) }?)?;
        let options = FrameBufferClient::options(Key::new(key)?);
        // SAFETY: the caller vouches for it.
        let options = match unsafe { path(dir) } {
            Some(dir) => options.dir(dir),
            None => options,
        };
        // SAFETY: the caller vouches for it.
        unsafe { hand_out(&client, options.open()?) };
        Ok(())
    })
}

/// Opens the ring of the sidecar at `url`: "http://127.0.0.1:7570" or "unix:/path/to.sock". NULL for `url` is FRAMEBUFFER_URL,
/// which is set in pods, or http://127.0.0.1:7570; NULL for `dir` as in framebuffer_client_open().
///
/// Waits while the sidecar starts, for at most `deadline_ms` milliseconds; 0 is 30 seconds.
///
/// FRAMEBUFFER_STATUS_NO_SIDECAR, FRAMEBUFFER_STATUS_INVALID_ARGUMENT for a URL of another kind, and those of
/// framebuffer_client_open(). `client` is NULL then.
///
/// # Safety
///
/// `url` and `dir` are NULL or end with a zero byte, `client` is NULL or valid for writing a pointer. No other thread changes
/// the environment meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_connect(
    url: *const c_char,
    dir: *const c_char,
    deadline_ms: u32,
    client: *mut *mut Client,
) -> Status {
    guard(|| {
        let client = out("client", client)?;
        // SAFETY: the caller vouches for it.
        unsafe { client.put(std::ptr::null_mut()) };
        // SAFETY: the caller vouches for it.
        let mut connect = unsafe { text("url", url) }?.map_or_else(Connect::from_env, Connect::new);
        // SAFETY: the caller vouches for it.
        if let Some(dir) = unsafe { path(dir) } {
            connect = connect.dir(dir);
        }
        if deadline_ms != 0 {
            connect = connect.deadline(Duration::from_millis(deadline_ms.into()));
        }
        // SAFETY: the caller vouches for it.
        unsafe { hand_out(&client, connect.connect()?) };
        Ok(())
    })
}

/// # Safety
///
/// As [`Out::put`].
unsafe fn hand_out(to: &Out<*mut Client>, client: FrameBufferClient) {
    let client = Box::into_raw(Box::new(Client(Arc::new(client))));
    // SAFETY: the caller vouches for it.
    unsafe { to.put(client) }
}

/// Closes the ring. Views and loans of this client stay valid; the ring is unmapped with the last of them. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_client_close(client: Option<Box<Client>>) {
    drop(client);
}

/// Size of the ring, and of its largest frame, in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_client_size(client: Option<&Client>) -> u64 {
    client.and_then(|client| client.0.size().ok()).unwrap_or(0)
}

/// Allocates a frame of `size` bytes and writes its stream offset into `offset`, for framebuffer_client_write(), here or in
/// another process. The oldest frames give way, but none that somebody is using.
///
/// FRAMEBUFFER_STATUS_LARGER_THAN_RING, FRAMEBUFFER_STATUS_EXHAUSTED.
///
/// # Safety
///
/// `offset` is NULL or valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_allocate(client: Option<&Client>, size: u64, offset: *mut u64) -> Status {
    guard(|| {
        let offset = out("offset", offset)?;
        let allocated = present("client", client)?.0.allocate(size)?;
        // SAFETY: the caller vouches for it.
        unsafe { offset.put(allocated) };
        Ok(())
    })
}

/// Writes `size` bytes into the frame that was allocated at `offset`, by whichever process, and their checksum into
/// `checksum`. The data may be shorter than what was allocated: then the frame is.
///
/// FRAMEBUFFER_STATUS_TIMEOUT if the ring has moved past the frame already, FRAMEBUFFER_STATUS_TOO_LARGE,
/// FRAMEBUFFER_STATUS_ALREADY_WRITTEN (also while another writer is at work or has died at it),
/// FRAMEBUFFER_STATUS_NEVER_ALLOCATED.
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, which nobody changes meanwhile; `checksum` is NULL or valid for writing
/// a number.
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
        // SAFETY: the caller vouches for it.
        let data = unsafe { bytes(data, size) }?;
        let written = present("client", client)?.0.write(offset, data)?;
        // SAFETY: the caller vouches for it.
        unsafe { checksum.put(written.to_u64()) };
        Ok(())
    })
}

/// Allocates a frame, copies `size` bytes into it and writes its description into `frame`, for the reader.
///
/// Errors as framebuffer_client_allocate().
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, which nobody changes meanwhile; `frame` is NULL or valid for writing a
/// frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_publish(
    client: Option<&Client>,
    data: *const c_void,
    size: usize,
    frame: *mut Frame,
) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        // SAFETY: the caller vouches for it.
        let data = unsafe { bytes(data, size) }?;
        let published = present("client", client)?.0.publish(data)?;
        // SAFETY: the caller vouches for it.
        unsafe { frame.put(published.into()) };
        Ok(())
    })
}

/// Lends a frame of `size` bytes in the ring itself, to be filled in place: framebuffer_loan_commit() makes it readable
/// without a copy.
///
/// Errors as framebuffer_client_allocate(); `loan` is NULL then.
///
/// # Safety
///
/// `loan` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_loan(client: Option<&Client>, size: u64, loan: *mut *mut Loan) -> Status {
    guard(|| {
        let loan = out("loan", loan)?;
        // SAFETY: the caller vouches for it.
        unsafe { loan.put(std::ptr::null_mut()) };
        let lent = Loan::new(&present("client", client)?.0, size)?;
        // SAFETY: the caller vouches for it.
        unsafe { loan.put(Box::into_raw(Box::new(lent))) };
        Ok(())
    })
}

/// Copies the `size` bytes of the frame at `offset` into `buffer` and compares them with `checksum`.
///
/// FRAMEBUFFER_STATUS_TIMEOUT if these are not the bytes that were promised: overwritten meanwhile, not written yet, of another
/// size or checksum. FRAMEBUFFER_STATUS_LARGER_THAN_RING and FRAMEBUFFER_STATUS_NEVER_ALLOCATED if they cannot have been. After
/// an error the buffer's contents are arbitrary.
///
/// # Safety
///
/// `buffer` is NULL or valid for writes of `size` bytes, which nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_read(
    client: Option<&Client>,
    offset: u64,
    size: usize,
    checksum: u64,
    buffer: *mut c_void,
) -> Status {
    let frame = Frame { offset, size: size as u64, checksum };
    // SAFETY: the caller vouches for it.
    unsafe { framebuffer_client_read_frame(client, Some(&frame), buffer, size) }
}

/// As framebuffer_client_read(), for a frame's description and a buffer of `buffer_size` bytes, of which the first
/// `frame->size` are written.
///
/// FRAMEBUFFER_STATUS_BUFFER_TOO_SMALL if the frame has more bytes than that; otherwise as framebuffer_client_read().
///
/// # Safety
///
/// `buffer` is NULL or valid for writes of `buffer_size` bytes, which nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_read_frame(
    client: Option<&Client>,
    frame: Option<&Frame>,
    buffer: *mut c_void,
    buffer_size: usize,
) -> Status {
    guard(|| {
        let client = &present("client", client)?.0;
        let Frame { offset, size, checksum } = *present("frame", frame)?;
        let limit = client.size()?;
        if size > limit {
            return Err(framebuffer::Error::LargerThanRing { size, limit }.into());
        }
        if size > buffer_size as u64 {
            return Err(Failure::BufferTooSmall { len: buffer_size as u64, needed: size });
        }
        // SAFETY: the caller vouches for it, and `size` is not more than `buffer_size`.
        let buffer = unsafe { self::buffer(buffer, size as usize) }?;
        let frame = framebuffer::Frame { offset, size, checksum: Checksum::from_u64(checksum) };
        Ok(client.read_into(&frame, buffer)?)
    })
}

/// A view of a frame in the ring itself, without a copy, in a time that does not depend on its size. The promised checksum is
/// compared with the one that the writer stored; framebuffer_view_verify() hashes the bytes.
///
/// Errors as framebuffer_client_read(); `view` is NULL then. Release the view with framebuffer_view_release().
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
        // SAFETY: the caller vouches for it.
        unsafe { view.put(std::ptr::null_mut()) };
        let client = &present("client", client)?.0;
        let viewed = View::new(client, *present("frame", frame)?)?;
        // SAFETY: the caller vouches for it.
        unsafe { view.put(Box::into_raw(Box::new(viewed))) };
        Ok(())
    })
}

/// Writes what the ring says about itself into `stats`, whose size in bytes, `sizeof *stats`, is `stats_size`: so programs that
/// were built with an older header get what they know of, and members that this library does not know are 0.
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
        // SAFETY: the caller vouches for it.
        unsafe { put_stats(&found, stats, stats_size) }
    })
}

const _: () = {
    // What the header promises about threads.
    const fn may_be_used_from_any_thread<T: Send + Sync>() {}
    may_be_used_from_any_thread::<Client>();
    may_be_used_from_any_thread::<View>();
    may_be_used_from_any_thread::<Loan>();
    may_be_used_from_any_thread::<crate::server::Server>();
};
