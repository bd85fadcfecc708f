//! [`View`]: a frame read in place.

use std::sync::Arc;

use framebuffer::FrameBufferClient;

use crate::call::{guard, out, present};
use crate::error::Status;
use crate::frame::Frame;

/// A frame in the ring, read in place. The bytes do not change before framebuffer_view_release().
///
/// A view holds a part of the ring: writers go around it, however long it lives, and the ring is smaller by that much. It
/// may be used from any thread, and outlive the client that it is from. A child that inherits it by fork() may read it, as
/// long as its parent keeps it, and releases its own copy, which changes nothing for the parent.
pub struct View {
    // Dropped before what it borrows from.
    view: framebuffer::View<'static>,
    _client: Arc<FrameBufferClient>,
}

impl View {
    pub(crate) fn new(client: &Arc<FrameBufferClient>, frame: Frame) -> Result<Self, framebuffer::Error> {
        let client = Arc::clone(client);
        // SAFETY: the Arc goes into the same struct as the view, which is dropped first and handed out only with the
        // lifetime of a borrow of that struct.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        Ok(Self { view: lives_on.view(&frame.into())?, _client: client })
    }
}

/// The first byte of the frame, aligned to 64 bytes, valid until the view is released; NULL for NULL.
///
/// Write through it, and every reader of the frame has undefined bytes.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_data(view: Option<&View>) -> *const u8 {
    view.map_or(std::ptr::null(), |view| view.view.as_ptr())
}

/// The frame's length in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_size(view: Option<&View>) -> usize {
    view.map_or(0, |view| view.view.len())
}

/// Whether the writer has hashed the frame: not so after framebuffer_loan_commit_unhashed(), and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_is_hashed(view: Option<&View>) -> bool {
    view.is_some_and(|view| view.view.is_hashed())
}

/// Writes the frame's description into `frame`.
///
/// # Safety
///
/// `frame` is NULL or valid for writing a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_view_frame(view: Option<&View>, frame: *mut Frame) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        // SAFETY: the caller vouches for it.
        unsafe { frame.put((*present("view", view)?.view.frame()).into()) };
        Ok(())
    })
}

/// Hashes the bytes and compares them with the frame's checksum, which takes as long as reading them.
///
/// FRAMEBUFFER_STATUS_TIMEOUT if they differ: then somebody has written to the segment past this library. Of a frame that
/// its writer has not hashed there is nothing to compare, and so nothing is wrong: see framebuffer_view_is_hashed().
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_verify(view: Option<&View>) -> Status {
    guard(|| Ok(present("view", view)?.view.verify()?))
}

/// Gives the frame back to the ring. The pointer to its bytes is invalid from now on. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_release(view: Option<Box<View>>) {
    drop(view);
}
