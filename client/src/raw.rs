//! Moving frames from and to memory that is known by its address alone: for bindings to other languages, whose buffers are
//! no Rust slices. They may be uninitialised, and other threads may write to them.

use crate::checksum::{Checksum, copy_in, copy_out};
use crate::client::{FrameBufferClient, check, nanoseconds_since_1970};
use crate::error::Error;
use crate::frame::Frame;
use crate::membership::{Hold, Membership};
use crate::ring::{BEING_WRITTEN, Checksummed};
use crate::stats::Counter;

impl FrameBufferClient {
    /// As [`publish`](Self::publish), for the `len` bytes at `data`.
    ///
    /// Each byte is loaded once, into a register, copied and hashed from there: should others write to the source
    /// meanwhile, the frame is some mixture of what was there, and the checksum is that of the mixture.
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
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, locks| {
            let offset = ring.allocate(len as u64, BEING_WRITTEN, hold.pin(), locks)?;
            // SAFETY: the ring has given us `len` bytes there, and the caller vouches for the source.
            Ok(unsafe { fill(membership, &hold, offset, data, len) })
        })
    }

    /// As [`write`](Self::write), for the `len` bytes at `data`, which others may write to meanwhile: see
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
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, _| {
            ring.begin_write(offset, len as u64, hold.pin()).inspect_err(|error| {
                if let Error::Timeout(timeout) = error {
                    ring.count_timeout(hold.slot(), timeout.reason);
                }
            })?;
            // SAFETY: at least `len` bytes are allocated there, and the caller vouches for the source.
            Ok(unsafe { fill(membership, &hold, offset, data, len) }.checksum)
        })
    }

    /// As [`read_into`](Self::read_into), to the `frame.size` bytes at `to`, which may be uninitialised. After an error
    /// they are arbitrary.
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
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, _| {
            let stands_for = ring.begin_read(frame, hold.pin())?;
            // SAFETY: the caller vouches for it.
            unsafe { copy_frame(membership, &hold, frame, stands_for, to) }
        })
    }
}

/// Copies the `len` bytes at `data` into the frame at `offset`, whose one writer the caller is by `hold`, and commits it.
///
/// # Safety
///
/// `data` is valid for reads of `len` bytes, and as many are allocated at `offset`.
unsafe fn fill(membership: &Membership, hold: &Hold<'_>, offset: u64, data: *const u8, len: usize) -> Frame {
    let payload = membership.segment().payload(offset);
    // SAFETY: at least `len` bytes are allocated there and nobody else touches them: they are pinned and we are their one
    // writer (the ring's invariant). `data` is private memory, or a view or loan, which is another range of the ring.
    let checksum = unsafe { copy_in(data, payload, len, membership.segment().streaming()) };
    let frame = Frame { offset, size: len as u64, checksum };
    membership.ring().commit(&frame, Checksummed::Bytes, nanoseconds_since_1970(), hold.slot());
    frame
}

/// Copies the frame that `hold` pins to `to` and compares its checksum, if that `stands_for` its bytes.
///
/// # Safety
///
/// `to` is valid for writes of `frame.size` bytes.
pub(crate) unsafe fn copy_frame(
    membership: &Membership,
    hold: &Hold<'_>,
    frame: &Frame,
    stands_for: Checksummed,
    to: *mut u8,
) -> Result<(), Error> {
    let payload = membership.segment().payload(frame.offset);
    // SAFETY: the frame is committed and pinned, so nobody writes to its bytes (the ring's invariant), and they are mapped,
    // since it is not larger than the ring; the caller vouches for `to`.
    let found = unsafe { copy_out(payload, to, frame.size as usize, membership.segment().streaming()) };
    if stands_for == Checksummed::Bytes {
        check(membership, hold, frame, found)?;
    }
    membership.ring().count(hold.slot(), Counter::FramesRead, 1);
    membership.ring().count(hold.slot(), Counter::BytesRead, frame.size);
    Ok(())
}
