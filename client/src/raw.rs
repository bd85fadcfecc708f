//! Frames from and to memory known by its address alone, for bindings to other languages: their buffers are not Rust
//! slices. They may be uninitialised, and other threads may write to them.

use crate::checksum::Checksum;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::frame::Frame;
use crate::transfer;

impl FrameBufferClient {
    /// As [`publish`](Self::publish), for the `len` bytes at `data`.
    ///
    /// Each byte is loaded once, into a register, and copied and hashed from there: if others write to the source
    /// meanwhile, the frame is some mixture of the old and new bytes, and the checksum is that of the mixture.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Safety
    ///
    /// `data` is valid for reads of `len` bytes until this returns.
    #[inline]
    pub unsafe fn publish_raw(&self, data: *const u8, len: usize) -> Result<Frame, Error> {
        // SAFETY: the caller vouches for it.
        unsafe { transfer::publish(self.membership()?, data, len) }
    }

    /// As [`write`](Self::write), for the `len` bytes at `data`. Others may write to them meanwhile, as with
    /// [`publish_raw`](Self::publish_raw).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Safety
    ///
    /// `data` is valid for reads of `len` bytes until this returns.
    #[inline]
    pub unsafe fn write_raw(&self, offset: u64, data: *const u8, len: usize) -> Result<Checksum, Error> {
        // SAFETY: the caller vouches for it.
        unsafe { transfer::write(self.membership()?, offset, data, len) }
    }

    /// As [`read_into`](Self::read_into), to the `frame.size` bytes at `to`, which may be uninitialised. After an error
    /// their contents are arbitrary.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Safety
    ///
    /// `to` is valid for writes of `frame.size` bytes until this returns.
    #[inline]
    pub unsafe fn read_raw(&self, frame: &Frame, to: *mut u8) -> Result<(), Error> {
        // SAFETY: the caller vouches for it.
        unsafe { transfer::read(self.membership()?, frame, to) }
    }
}
