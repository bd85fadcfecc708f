//! [`Frame`]: the description of a frame that a writer sends to a reader, as a struct and as JSON.

use std::ffi::{c_char, c_void};

use framebuffer::{Checksum, RingId};

use crate::call::{bytes, guard, out, present};
use crate::error::{Failure, Status};

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Send it over any messaging: as JSON, which programs in all languages understand, or between processes of one machine
/// as these 32 bytes, which have no padding.
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
    /// The identity of the ring that the frame is in: reading it from another is FRAMEBUFFER_STATUS_OTHER_RING. 0 if it
    /// is not known; then a frame of another ring is told only by its checksum. See framebuffer_client_ring_id().
    pub ring: u64,
}

/// The size of a buffer that is large enough for every frame as JSON, with the zero byte at its end.
pub const FRAME_JSON_SIZE: usize = 128;

impl From<framebuffer::Frame> for Frame {
    #[inline]
    fn from(frame: framebuffer::Frame) -> Self {
        let framebuffer::Frame { offset, size, checksum, ring } = frame;
        Self { offset, size, checksum: checksum.to_u64(), ring: ring.map_or(0, RingId::to_u64) }
    }
}

impl From<Frame> for framebuffer::Frame {
    #[inline]
    fn from(frame: Frame) -> Self {
        let Frame { offset, size, checksum, ring } = frame;
        Self { offset, size, checksum: Checksum::from_u64(checksum), ring: RingId::from_u64(ring) }
    }
}

/// Writes a frame's description as JSON, {"offset":64,"size":6220800,"checksum":"2d06800538d394c2",
/// "ring":"91b5c3f0a6e24d18"}, without the ring if that is 0, and a zero byte to `buffer`, which has `size` bytes:
/// FRAMEBUFFER_FRAME_JSON_SIZE are enough.
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

/// Reads a frame's description from `size` bytes of JSON: an object with "offset", "size", "checksum" and perhaps
/// "ring". It ignores other members. The text needs no zero byte at its end.
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
        let frame = Frame { offset: u64::MAX, size: u64::MAX, checksum: u64::MAX, ring: u64::MAX };
        let mut buffer = [1; FRAME_JSON_SIZE];
        // SAFETY: the buffer has this many bytes.
        let status = unsafe { framebuffer_frame_to_json(Some(&frame), buffer.as_mut_ptr(), buffer.len()) };
        assert_eq!(status, Status::Ok);
        let len = buffer.iter().position(|&byte| byte == 0).expect("a zero byte");
        let mut read = Frame { offset: 0, size: 0, checksum: 0, ring: 0 };
        // SAFETY: the text is shorter than the buffer.
        assert_eq!(unsafe { framebuffer_frame_from_json(buffer.as_ptr(), len, &raw mut read) }, Status::Ok);
        assert_eq!(read, frame);
    }

    #[test]
    fn a_frame_has_the_layout_that_may_be_sent_as_bytes() {
        use std::mem::offset_of;
        assert_eq!(size_of::<Frame>(), 32);
        assert_eq!([offset_of!(Frame, size), offset_of!(Frame, checksum), offset_of!(Frame, ring)], [8, 16, 24]);
    }

    #[test]
    fn a_frame_without_a_ring_is_json_of_before_and_back() {
        let old = r#"{"offset":64,"size":3,"checksum":"78af5f94892f3950"}"#;
        let mut read = Frame { offset: 0, size: 0, checksum: 0, ring: 7 };
        // SAFETY: the text has this length.
        let status = unsafe { framebuffer_frame_from_json(old.as_ptr().cast(), old.len(), &raw mut read) };
        assert_eq!((status, read.ring), (Status::Ok, 0));
        let mut buffer = [1; FRAME_JSON_SIZE];
        // SAFETY: the buffer has this many bytes.
        let status = unsafe { framebuffer_frame_to_json(Some(&read), buffer.as_mut_ptr(), buffer.len()) };
        assert_eq!(status, Status::Ok);
        assert_eq!(crate::error::message(buffer.as_ptr()), old);
    }
}
