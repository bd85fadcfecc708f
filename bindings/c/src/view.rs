//! [`View`]: a frame read in place.

use std::sync::Arc;

use framebuffer::FrameBufferClient;

use crate::call::{guard, out, present};
use crate::error::Status;
use crate::frame::Frame;

/// A frame in the ring, read in place. The bytes do not change before framebuffer_view_release().
///
/// A view pins a part of the ring: writers skip it as long as the view exists, and the ring is smaller by that much.
/// Any thread may use a view, and it may outlive its client. A child that inherits it by fork() may read it while its
/// parent keeps it, and releases its own copy, which changes nothing for the parent.
pub struct View {
    // Dropped before what it borrows from.
    view: framebuffer::View<'static>,
    _client: Arc<FrameBufferClient>,
}

impl View {
    pub(crate) fn new(client: &Arc<FrameBufferClient>, frame: Frame) -> Result<Self, framebuffer::Error> {
        let client = Arc::clone(client);
        // SAFETY: the Arc is in the same struct as the view, which is dropped first, and which leaves the struct only
        // with the lifetime of a borrow of it.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        Ok(Self { view: lives_on.view(&frame.into())?, _client: client })
    }
}

/// The first byte of the frame, aligned to 64 bytes, valid until the view is released; NULL for NULL.
///
/// If you write through it, every reader of the frame gets undefined bytes.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_data(view: Option<&View>) -> *const u8 {
    view.map_or(std::ptr::null(), |view| view.view.as_ptr())
}

/// The frame's length in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_size(view: Option<&View>) -> usize {
    view.map_or(0, |view| view.view.len())
}

/// Whether the writer has hashed the frame: false after framebuffer_loan_commit_unhashed(), and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_is_hashed(view: Option<&View>) -> bool {
    view.is_some_and(|view| view.view.is_hashed())
}

/// Stores the frame's description in `frame`.
///
/// # Safety
///
/// `frame` is NULL or valid for writing a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_view_frame(view: Option<&View>, frame: *mut Frame) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        // SAFETY: the caller guarantees it.
        unsafe { frame.put((*present("view", view)?.view.frame()).into()) };
        Ok(())
    })
}

/// Hashes the bytes and compares the result with the frame's checksum, which takes as long as reading them.
///
/// Fails with FRAMEBUFFER_STATUS_TIMEOUT if they differ: then a program has written to the segment without this
/// library. If the writer has not hashed the frame, there is nothing to compare, and it succeeds: see
/// framebuffer_view_is_hashed().
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_verify(view: Option<&View>) -> Status {
    guard(|| Ok(present("view", view)?.view.verify()?))
}

/// Gives the frame back to the ring. The pointer to its bytes becomes invalid. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_view_release(view: Option<Box<View>>) {
    drop(view);
}
