//! [`Sample`]: a frame that was received.

use std::sync::Arc;

use framebuffer::FrameBufferClient;

use crate::call::{guard, out, present};
use crate::descriptor::Descriptor;
use crate::error::Status;
use crate::frame::Frame;

/// A frame that was received over a channel: its bytes in the ring, read in place, and what was said of it. The bytes
/// do not change before framebuffer_sample_release().
///
/// As a framebuffer_view otherwise: it pins a part of the ring, so release it soon; any thread may use it, and it may
/// outlive its subscriber and its client. A child that inherits it by fork() may read it while its parent keeps it.
pub struct Sample {
    // Dropped before what it borrows from.
    sample: framebuffer::Sample<'static>,
    _client: Arc<FrameBufferClient>,
}

impl Sample {
    /// # Safety
    ///
    /// The sample borrows from this client.
    pub(crate) unsafe fn new(sample: framebuffer::Sample<'static>, client: Arc<FrameBufferClient>) -> Self {
        Self { sample, _client: client }
    }
}

/// The first byte of the frame, aligned to 64 bytes, valid until the sample is released; NULL for NULL.
///
/// If you write through it, every reader of the frame gets undefined bytes.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_data(sample: Option<&Sample>) -> *const u8 {
    sample.map_or(std::ptr::null(), |sample| sample.sample.view().as_ptr())
}

/// The frame's length in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_size(sample: Option<&Sample>) -> usize {
    sample.map_or(0, |sample| sample.sample.view().len())
}

/// The frame's number in the channel, from 0 on; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_number(sample: Option<&Sample>) -> u64 {
    sample.map_or(0, |sample| sample.sample.number())
}

/// When the content is from, in nanoseconds, as the writer says; when the frame was sent, if it says nothing. 0 for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_time_ns(sample: Option<&Sample>) -> u64 {
    sample.map_or(0, |sample| sample.sample.time())
}

/// When the frame was sent, in nanoseconds since 1970 (CLOCK_REALTIME); 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_committed_ns(sample: Option<&Sample>) -> u64 {
    sample.map_or(0, |sample| sample.sample.committed())
}

/// Stores what the writer says of the frame in `descriptor`. It may say anything: check that the shape fits the size
/// before you rely on it, if the writer is not trusted.
///
/// # Safety
///
/// `descriptor` is NULL or valid for writing a descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_sample_descriptor(sample: Option<&Sample>, descriptor: *mut Descriptor) -> Status {
    guard(|| {
        let descriptor = out("descriptor", descriptor)?;
        let said = present("sample", sample)?.sample.descriptor().into();
        // SAFETY: the caller guarantees it.
        unsafe { descriptor.put(said) };
        Ok(())
    })
}

/// Stores the frame's description in `frame`, with which any client of the ring can read it.
///
/// # Safety
///
/// `frame` is NULL or valid for writing a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_sample_frame(sample: Option<&Sample>, frame: *mut Frame) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        let found = (*present("sample", sample)?.sample.frame()).into();
        // SAFETY: the caller guarantees it.
        unsafe { frame.put(found) };
        Ok(())
    })
}

/// Whether the writer has hashed the frame: false after framebuffer_publisher_send_loan_unhashed(), and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_is_hashed(sample: Option<&Sample>) -> bool {
    sample.is_some_and(|sample| sample.sample.view().is_hashed())
}

/// Hashes the bytes and compares the result with the frame's checksum, as framebuffer_view_verify().
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_verify(sample: Option<&Sample>) -> Status {
    guard(|| Ok(present("sample", sample)?.sample.view().verify()?))
}

/// Gives the frame back to the ring. The pointer to its bytes becomes invalid. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_sample_release(sample: Option<Box<Sample>>) {
    drop(sample);
}
