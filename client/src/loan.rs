//! [`Loan`]: a frame written in place.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::checksum::{Checksum, hash};
use crate::error::Error;
use crate::frame::Frame;
use crate::membership::Membership;
use crate::ring::frame::Checksummed;
use crate::slots::PinGuard;
use crate::transfer::nanoseconds_since_1970;

/// A frame of the ring on loan for writing: `&mut [u8]` directly into shared memory, aligned to 64 bytes. Nobody else
/// sees its bytes before [`commit`](Loan::commit). If the loan is dropped instead, the frame counts as never written.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = framebuffer::FrameBufferServer::options(1 << 20).start()?;
/// # let client = framebuffer::FrameBufferClient::open(server.get_key())?;
/// let mut loan = client.loan(1000)?;
/// loan.fill(7); // or decode, receive, render into it
/// let frame = loan.commit()?;
/// assert_eq!(&*client.view(&frame)?, &[7; 1000]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a loan that is dropped without commit gives its frame back as never written"]
pub struct Loan<'c> {
    membership: &'c Membership,
    guard: PinGuard<'c>,
    offset: u64,
    size: u64,
}

impl<'c> Loan<'c> {
    /// `guard` pins the frame, and the caller is its one writer.
    pub(crate) fn new(membership: &'c Membership, guard: PinGuard<'c>, offset: u64, size: u64) -> Self {
        Self { membership, guard, offset, size }
    }

    /// Shortens the frame to its first `len` bytes, for data whose size is known only once it is produced. Does nothing
    /// if the frame is no longer than that.
    pub fn truncate(&mut self, len: u64) {
        self.size = self.size.min(len);
    }

    /// Makes the frame readable and returns its description, for the reader. Hashes the bytes in place.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child of the process that borrowed it. [`Error::ParticipantLost`] if the program
    /// has closed a file descriptor of this library, and the participant was taken for dead: the frame counts as never
    /// written, and bytes that were written since may have hit frames of others. [`Error::Retired`] if nobody will find
    /// the frame: the ring has neither an owner nor a name any more.
    pub fn commit(self) -> Result<Frame, Error> {
        let checksum = hash(&self);
        self.commit_with(checksum, Checksummed::Bytes)
    }

    /// Makes the frame readable without hashing it, in a time that does not depend on its size, and returns its
    /// description.
    ///
    /// The checksum in the description then identifies the frame, but no longer covers its bytes: once the ring has
    /// moved on, reading it is a [`FrameBufferTimeout`](crate::FrameBufferTimeout) as ever, but if a program scribbles
    /// on the segment without this library, nobody notices. Otherwise reading is the same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = framebuffer::FrameBufferServer::options(1 << 20).start()?;
    /// # let client = framebuffer::FrameBufferClient::open(server.get_key())?;
    /// let mut loan = client.loan(1000)?;
    /// loan.fill(7);
    /// let frame = loan.commit_unhashed()?;
    /// let view = client.view(&frame)?;
    /// assert_eq!(&*view, &[7; 1000]);
    /// assert!(!view.is_hashed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_unhashed(self) -> Result<Frame, Error> {
        let checksum = self.identity();
        self.commit_with(checksum, Checksummed::Identity)
    }

    /// The checksum of a frame that is not hashed.
    pub(crate) fn identity(&self) -> Checksum {
        self.membership.segment().frame_identity(self.offset, self.size)
    }

    /// The part in the ring that the frame is in.
    pub(crate) fn membership(&self) -> &'c Membership {
        self.membership
    }

    /// The pin, offset and size, for who commits the frame.
    pub(crate) fn into_parts(self) -> (PinGuard<'c>, u64, u64) {
        (self.guard, self.offset, self.size)
    }

    fn commit_with(self, checksum: Checksum, checksummed: Checksummed) -> Result<Frame, Error> {
        if self.guard.is_of_parent() {
            return Err(Error::Forked);
        }
        let ring = Some(self.membership.segment().id());
        let frame = Frame { offset: self.offset, size: self.size, checksum, ring };
        let now = nanoseconds_since_1970();
        self.membership.check_name(now)?;
        self.membership.ring().commit(&frame, checksummed, now, self.guard.pin())?;
        Ok(frame)
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `size` bytes are allocated and mapped there, and initialised, as all shared memory is. By the ring's
        // invariant nobody else touches them while `guard` pins them and we are their one writer, which is until
        // `commit`.
        unsafe { std::slice::from_raw_parts(self.membership.segment().payload(self.offset), self.size as usize) }
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.membership.segment().payload(self.offset), self.size as usize) }
    }
}

impl fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("offset", &self.offset).field("size", &self.size).finish_non_exhaustive()
    }
}
