//! [`View`]: a frame read in place.

use std::fmt;
use std::ops::Deref;

use crate::checksum::hash;
use crate::error::{FrameBufferTimeout, TimeoutReason};
use crate::frame::Frame;
use crate::membership::Membership;
use crate::ring::frame::Checksummed;
use crate::slots::PinGuard;
use crate::transfer::verify_checksum;

/// A committed frame in the ring: `&[u8]` directly into shared memory, aligned to 64 bytes. The bytes do not change for
/// as long as the view lives.
///
/// A view occupies a part of the ring: allocations go around it, however long it lives, and the ring is smaller by that
/// much. A view inherited by a forked child is protected only for as long as the parent keeps it.
pub struct View<'c> {
    membership: &'c Membership,
    guard: PinGuard<'c>,
    frame: Frame,
    checksummed: Checksummed,
}

impl<'c> View<'c> {
    /// `guard` pins the frame, and it is committed.
    #[inline]
    pub(crate) fn new(membership: &'c Membership, guard: PinGuard<'c>, frame: Frame, checksummed: Checksummed) -> Self {
        Self { membership, guard, frame, checksummed }
    }

    /// The frame's description.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether the writer hashed the frame. Not after [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    pub fn is_hashed(&self) -> bool {
        self.checksummed == Checksummed::Bytes
    }

    /// Whether the frame still is protected from being overwritten. Not if the program has closed a file descriptor of
    /// this library, and the participant was taken for dead. Takes nanoseconds.
    pub fn is_protected(&self) -> bool {
        self.guard.is_protected()
    }

    /// Hashes the bytes and compares the result with the frame's checksum, without a comparison if the writer did not
    /// hash the frame: see [`is_hashed`](Self::is_hashed). Success means that the bytes were right until now.
    ///
    /// # Errors
    ///
    /// [`FrameBufferTimeout`] if they differ: some program has written to the segment without this library; or if the
    /// frame is no longer [protected](Self::is_protected).
    pub fn verify(&self) -> Result<(), FrameBufferTimeout> {
        if self.is_hashed() {
            verify_checksum(self.membership, &self.guard, &self.frame, hash(self))?;
        }
        if !self.is_protected() {
            return Err(FrameBufferTimeout { offset: self.frame.offset, reason: TimeoutReason::Unprotected });
        }
        Ok(())
    }
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a frame is not larger than the ring, so `size` bytes are mapped there. It is committed and pinned, so
        // by the ring's invariant nobody writes to them while `guard` lives.
        unsafe {
            std::slice::from_raw_parts(self.membership.segment().payload(self.frame.offset), self.frame.size as usize)
        }
    }
}

impl AsRef<[u8]> for View<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("frame", &self.frame).finish_non_exhaustive()
    }
}

const _: () = {
    // Views and loans go to other threads, and views are shared by them: also in C and Python.
    const fn may_be_used_from_any_thread<T: Send + Sync>() {}
    may_be_used_from_any_thread::<View<'_>>();
    may_be_used_from_any_thread::<crate::loan::Loan<'_>>();
};
