//! [`Server`]: the owner of a ring.

use std::ffi::{CString, c_char};

use framebuffer::{FrameBufferServer, Key, RingId};

use crate::call::{guard, out, path, present, text};
use crate::error::Status;
use crate::stats::{Stats, put_stats};

/// Owns a ring: creates its segment in shared memory, hands out its key, allocates frames, and removes the segment at
/// the end.
///
/// Any number of threads may use a server at once; only framebuffer_server_stop() must be the last use. In a child of
/// fork() that does nothing to the segment.
pub struct Server {
    server: FrameBufferServer,
    key: CString,
}

/// Creates a ring that keeps `size` bytes of payload, in FRAMEBUFFER_DIR or /dev/shm, for programs of the same user.
///
/// NULL for `key` makes a key of 128 random bits; framebuffer_server_key() returns it. The segment of a dead server is
/// replaced.
///
/// Fails with FRAMEBUFFER_STATUS_ALREADY_OWNED, FRAMEBUFFER_STATUS_NO_MEMORY, FRAMEBUFFER_STATUS_NOT_A_SEGMENT (another
/// file has the name), FRAMEBUFFER_STATUS_SYSTEM or FRAMEBUFFER_STATUS_INVALID_ARGUMENT (the key, or a size of 0 or
/// beyond the limit). Then `server` becomes NULL, and nothing is left behind.
///
/// # Safety
///
/// `key` is NULL or ends with a zero byte, `server` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_server_start(key: *const c_char, size: u64, server: *mut *mut Server) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { framebuffer_server_start_with(key, size, std::ptr::null(), DEFAULT_MODE, false, server) }
}

/// Only the server's own user may open the segment.
const DEFAULT_MODE: u32 = 0o600;

/// Starts as framebuffer_server_start(), but in the folder `dir` (NULL: as there), and with the permission bits `mode`
/// for the segment: 0600 as there, 0666 to let other users take part. The umask does not apply.
///
/// With `keep` the segment outlives the server: the next server with the same key and size adopts it, with all its
/// frames and clients. If the size differs, it fails with FRAMEBUFFER_STATUS_SIZE_DIFFERS.
///
/// # Safety
///
/// `key` and `dir` are NULL or end with a zero byte, `server` is NULL or valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_server_start_with(
    key: *const c_char,
    size: u64,
    dir: *const c_char,
    mode: u32,
    keep: bool,
    server: *mut *mut Server,
) -> Status {
    guard(|| {
        let server = out("server", server)?;
        // SAFETY: the caller guarantees it.
        unsafe { server.put(std::ptr::null_mut()) };
        let mut options = FrameBufferServer::options(size).mode(mode).keep(keep);
        // SAFETY: the caller guarantees it.
        if let Some(key) = unsafe { text("key", key) }? {
            options = options.key(Key::new(key)?);
        }
        // SAFETY: the caller guarantees it.
        if let Some(dir) = unsafe { path(dir) } {
            options = options.dir(dir);
        }
        let started = options.start()?;
        // A key contains no zero byte.
        let key = CString::new(started.get_key()).unwrap_or_default();
        let started = Box::into_raw(Box::new(Server { server: started, key }));
        // SAFETY: the caller guarantees it.
        unsafe { server.put(started) };
        Ok(())
    })
}

/// The ring's key: a client needs it to open the ring. Treat it as a secret. Valid until the server is stopped; NULL
/// for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_server_key(server: Option<&Server>) -> *const c_char {
    server.map_or(std::ptr::null(), |server| server.key.as_ptr())
}

/// The ring's identity, which its frames carry, as framebuffer_client_ring_id(); 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_server_ring_id(server: Option<&Server>) -> u64 {
    server.and_then(|server| server.server.ring_id().ok()).map_or(0, RingId::to_u64)
}

/// Size of the ring, and of its largest frame, in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_server_size(server: Option<&Server>) -> u64 {
    server.map_or(0, |server| server.server.size())
}

/// Allocates a frame of `size` bytes and stores its stream offset in `offset`, as framebuffer_client_allocate().
///
/// # Safety
///
/// `offset` is NULL or valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_server_allocate(server: Option<&Server>, size: u64, offset: *mut u64) -> Status {
    guard(|| {
        let offset = out("offset", offset)?;
        let allocated = present("server", server)?.server.allocate(size)?;
        // SAFETY: the caller guarantees it.
        unsafe { offset.put(allocated) };
        Ok(())
    })
}

/// Clears the slots of participants that have died. Allocations clear those in their way; call this once a second for
/// the others.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_server_reap(server: Option<&Server>) -> Status {
    guard(|| {
        present("server", server)?.server.reap()?;
        Ok(())
    })
}

/// Stores the ring's statistics in `stats`, as framebuffer_client_stats().
///
/// # Safety
///
/// `stats` is NULL or valid for writes of `stats_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_server_stats(
    server: Option<&Server>,
    stats: *mut Stats,
    stats_size: usize,
) -> Status {
    guard(|| {
        let found = present("server", server)?.server.stats()?;
        // SAFETY: the caller guarantees it.
        unsafe { put_stats(&found, stats, stats_size) }
    })
}

/// Gives up the ring, and removes its segment unless the server was started with `keep`. Then its clients fail with
/// FRAMEBUFFER_STATUS_RETIRED from their next operation on; views and loans that they have stay valid. The server is
/// released even if the segment cannot be removed, which is FRAMEBUFFER_STATUS_SYSTEM. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_server_stop(server: Option<Box<Server>>) -> Status {
    guard(|| match server {
        Some(mut server) => Ok(server.server.stop()?),
        None => Ok(()),
    })
}
