//! [`SendingLoan`]: a frame that is filled in place and sent over a channel.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::descriptor::Descriptor;
use super::patience::Patience;
use super::publisher::{Publisher, Sent};
use crate::checksum::{Checksum, hash};
use crate::error::Error;
use crate::ring::frame::Checksummed;
use crate::slots::PinGuard;

/// A frame of the ring on loan, to fill in place and send over a channel. As [`Loan`](crate::Loan) otherwise. If it is
/// dropped instead, nothing is sent.
#[must_use = "a loan that is dropped is not sent"]
pub struct SendingLoan<'p, 'c> {
    publisher: &'p mut Publisher<'c>,
    guard: PinGuard<'c>,
    offset: u64,
    size: u64,
    descriptor: Descriptor,
}

impl<'c> Publisher<'c> {
    /// Lends a frame of `size` bytes in the ring itself, to fill in place and [send](SendingLoan::send) without a copy.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::loan`](crate::FrameBufferClient::loan).
    pub fn loan(&mut self, size: u64) -> Result<SendingLoan<'_, 'c>, Error> {
        self.stay_current()?;
        let (guard, offset) = self.allocate(size)?;
        Ok(SendingLoan { publisher: self, guard, offset, size, descriptor: Descriptor::default() })
    }
}

impl SendingLoan<'_, '_> {
    /// Shortens the frame to its first `len` bytes. Does nothing if it is no longer than that.
    pub fn truncate(&mut self, len: u64) {
        self.size = self.size.min(len);
    }

    /// What is said of the frame.
    pub fn describe(&mut self, descriptor: Descriptor) {
        self.descriptor = descriptor;
    }

    /// Hashes the bytes in place and sends the frame.
    ///
    /// # Errors
    ///
    /// As [`Publisher::send_with`] and [`Loan::commit`](crate::Loan::commit).
    pub fn send(self) -> Result<Sent, Error> {
        self.send_timeout(Duration::ZERO)
    }

    /// As [`send`](Self::send), but waits for lossless subscribers, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with [`ChannelError::Backlog`](crate::ChannelError::Backlog) after `timeout` only: the
    /// frame is lost then. Ask before you fill it: [`Publisher::ready`].
    pub fn send_timeout(self, timeout: Duration) -> Result<Sent, Error> {
        let checksum = hash(&self);
        self.finish(checksum, Checksummed::Bytes, timeout)
    }

    /// As [`send`](Self::send) without hashing: see [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_unhashed(self) -> Result<Sent, Error> {
        let segment = self.publisher.membership().segment();
        let checksum = segment.frame_identity(self.offset, self.size);
        self.finish(checksum, Checksummed::Identity, Duration::ZERO)
    }

    fn finish(self, checksum: Checksum, checksummed: Checksummed, timeout: Duration) -> Result<Sent, Error> {
        let Self { publisher, guard, offset, size, descriptor } = self;
        descriptor.check(size)?;
        publisher.finish(guard, offset, size, (checksum, checksummed), &descriptor, &mut Patience::new(timeout))
    }

    fn payload(&self) -> *mut u8 {
        self.publisher.membership().segment().payload(self.offset)
    }
}

impl Deref for SendingLoan<'_, '_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `size` bytes are allocated and mapped there, and initialised, as all shared memory is. By the ring's
        // invariant nobody else touches them while `guard` pins them and we are their one writer.
        unsafe { std::slice::from_raw_parts(self.payload(), self.size as usize) }
    }
}

impl DerefMut for SendingLoan<'_, '_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.payload(), self.size as usize) }
    }
}

impl fmt::Debug for SendingLoan<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingLoan").field("offset", &self.offset).field("size", &self.size).finish_non_exhaustive()
    }
}
