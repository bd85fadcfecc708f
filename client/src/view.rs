//! [`View`]: a frame read in place.

use std::fmt;
use std::ops::Deref;

use crate::checksum::hash;
use crate::client::check;
use crate::error::FrameBufferTimeout;
use crate::frame::Frame;
use crate::membership::{Hold, Membership};
use crate::ring::Checksummed;

/// A committed frame in the ring: `&[u8]` straight into shared memory, aligned to 64 bytes. The bytes do not change for as
/// long as the view lives.
///
/// A view holds a part of the ring: allocations go around it, however long it lives, and the ring is smaller by that much.
/// A view that a forked child inherits is protected only for as long as its parent keeps it.
pub struct View<'c> {
    membership: &'c Membership,
    hold: Hold<'c>,
    frame: Frame,
    stands_for: Checksummed,
}

impl<'c> View<'c> {
    /// `hold` pins the frame, and it is committed.
    #[inline]
    pub(crate) fn new(membership: &'c Membership, hold: Hold<'c>, frame: Frame, stands_for: Checksummed) -> Self {
        Self { membership, hold, frame, stands_for }
    }

    /// The frame's description.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether the writer has hashed the frame: not so after [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    pub fn is_hashed(&self) -> bool {
        self.stands_for == Checksummed::Bytes
    }

    /// Hashes the bytes and compares them with the frame's checksum. Of a frame that its writer has not hashed there is
    /// nothing to compare, and so nothing is wrong: see [`is_hashed`](Self::is_hashed).
    ///
    /// # Errors
    ///
    /// [`FrameBufferTimeout`] if they differ: then somebody has written to the segment past this library.
    pub fn verify(&self) -> Result<(), FrameBufferTimeout> {
        if self.is_hashed() { check(self.membership, &self.hold, &self.frame, hash(self)) } else { Ok(()) }
    }
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a frame is not larger than the ring, so `size` bytes are mapped there. It is committed and pinned, so by
        // the ring's invariant nobody writes to them while `hold` lives.
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
