//! [`Frame`]: the description of a frame that a writer sends to a reader, as a struct and as JSON.

use std::ffi::{c_char, c_void};

use framebuffer::Checksum;

use crate::call::{bytes, guard, out, present};
use crate::error::{Failure, Status};

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Send it over any messaging: as JSON, which programs in all languages understand, or between processes of one machine
/// as these 24 bytes, which have no padding.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Stream offset of the first byte. Offsets grow as long as the ring exists and are never used twice.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// XXH3-64 of those bytes (seed 0, as XXH3_64bits()); after framebuffer_loan_commit_unhashed() XXH3-64 of the
    /// frame's identity.
    pub checksum: u64,
}

/// The size of a buffer that is large enough for every frame as JSON, with the zero byte at its end.
pub const FRAME_JSON_SIZE: usize = 96;

impl From<framebuffer::Frame> for Frame {
    #[inline]
    fn from(frame: framebuffer::Frame) -> Self {
        let framebuffer::Frame { offset, size, checksum } = frame;
        Self { offset, size, checksum: checksum.to_u64() }
    }
}

impl From<Frame> for framebuffer::Frame {
    #[inline]
    fn from(frame: Frame) -> Self {
        let Frame { offset, size, checksum } = frame;
        Self { offset, size, checksum: Checksum::from_u64(checksum) }
    }
}

/// Writes a frame's description as JSON, {"offset":64,"size":6220800,"checksum":"2d06800538d394c2"}, and a zero byte to
/// `buffer`, which has `size` bytes: FRAMEBUFFER_FRAME_JSON_SIZE are enough.
///
/// Fails with FRAMEBUFFER_STATUS_BUFFER_TOO_SMALL, writes nothing then, and names the size in its message.
///
/// # Safety
///
/// `buffer` is NULL or valid for writes of `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_frame_to_json(frame: Option<&Frame>, buffer: *mut c_char, size: usize) -> Status {
    guard(|| {
        let frame = framebuffer::Frame::from(*present("frame", frame)?);
        // SAFETY: the caller guarantees it.
        let buffer = unsafe { crate::call::buffer(buffer.cast(), size) }?;
        let text = serde_json::to_string(&frame).map_err(|source| Failure::NotAFrame { source })?;
        let needed = text.len() + 1;
        let Some((last, rest)) = buffer.get_mut(..needed).and_then(<[u8]>::split_last_mut) else {
            return Err(Failure::BufferTooSmall { len: size as u64, needed: needed as u64 });
        };
        rest.copy_from_slice(text.as_bytes());
        *last = 0;
        Ok(())
    })
}

/// Reads a frame's description from `size` bytes of JSON: an object with "offset", "size" and "checksum". It ignores
/// other members. The text needs no zero byte at its end.
///
/// # Safety
///
/// `json` is NULL or valid for reads of `size` bytes, `frame` NULL or valid for writing a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_frame_from_json(json: *const c_char, size: usize, frame: *mut Frame) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        // SAFETY: the caller guarantees it.
        let json = unsafe { bytes(json.cast(), size) }?;
        let read: framebuffer::Frame = serde_json::from_slice(json).map_err(|source| Failure::NotAFrame { source })?;
        // SAFETY: the caller guarantees it.
        unsafe { frame.put(read.into()) };
        Ok(())
    })
}

/// Stores the checksum of a frame with these `size` bytes, XXH3-64 with seed 0, in `checksum`.
///
/// # Safety
///
/// `data` is NULL or valid for reads of `size` bytes, `checksum` NULL or valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_checksum(data: *const c_void, size: usize, checksum: *mut u64) -> Status {
    guard(|| {
        let checksum = out("checksum", checksum)?;
        // SAFETY: the caller guarantees it.
        let data = unsafe { bytes(data, size) }?;
        // SAFETY: the caller guarantees it.
        unsafe { checksum.put(Checksum::of(data).to_u64()) };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_frame_fits_into_the_size_that_is_said_to_be_enough() {
        let frame = Frame { offset: u64::MAX, size: u64::MAX, checksum: u64::MAX };
        let mut buffer = [1; FRAME_JSON_SIZE];
        // SAFETY: the buffer has this many bytes.
        let status = unsafe { framebuffer_frame_to_json(Some(&frame), buffer.as_mut_ptr(), buffer.len()) };
        assert_eq!(status, Status::Ok);
        let len = buffer.iter().position(|&byte| byte == 0).expect("a zero byte");
        let mut read = Frame { offset: 0, size: 0, checksum: 0 };
        // SAFETY: the text is shorter than the buffer.
        assert_eq!(unsafe { framebuffer_frame_from_json(buffer.as_ptr(), len, &raw mut read) }, Status::Ok);
        assert_eq!(read, frame);
    }

    #[test]
    fn a_frame_has_the_layout_that_may_be_sent_as_bytes() {
        assert_eq!(size_of::<Frame>(), 24);
        assert_eq!([std::mem::offset_of!(Frame, size), std::mem::offset_of!(Frame, checksum)], [8, 16]);
    }
}
