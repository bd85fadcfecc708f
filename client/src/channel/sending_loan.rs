//! [`SendingLoan`]: a frame that is filled in place and sent over a channel.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::descriptor::Descriptor;
use super::patience::Patience;
use super::publisher::{Publisher, Sent};
use crate::checksum::hash;
use crate::error::Error;
use crate::loan::Loan;
use crate::ring::frame::Checksummed;

/// A frame of the ring on loan, to fill in place and send over a channel. As [`Loan`](crate::Loan) otherwise. If it is
/// dropped instead, nothing is sent.
#[must_use = "a loan that is dropped is not sent"]
pub struct SendingLoan<'p, 'c> {
    publisher: &'p mut Publisher<'c>,
    frame: UnsentFrame<'c>,
    descriptor: Descriptor,
}

/// What a [`SendingLoan`] is without its publisher: for bindings to languages without borrows.
#[must_use = "a frame that is dropped is not sent"]
pub struct UnsentFrame<'c> {
    loan: Loan<'c>,
    /// The channel that it was allocated for.
    place: usize,
}

impl<'c> Publisher<'c> {
    /// Lends a frame of `size` bytes in the ring itself, to fill in place and [send](SendingLoan::send) without a copy.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::loan`](crate::FrameBufferClient::loan).
    pub fn loan(&mut self, size: u64) -> Result<SendingLoan<'_, 'c>, Error> {
        let frame = self.loan_raw(size)?;
        Ok(SendingLoan { publisher: self, frame, descriptor: Descriptor::default() })
    }

    /// As [`loan`](Self::loan), for bindings: the publisher can be used meanwhile.
    ///
    /// # Errors
    ///
    /// As [`loan`](Self::loan).
    #[doc(hidden)]
    pub fn loan_raw(&mut self, size: u64) -> Result<UnsentFrame<'c>, Error> {
        self.stay_current()?;
        let (guard, offset) = self.allocate(size)?;
        Ok(UnsentFrame { loan: Loan::new(self.membership(), guard, offset, size), place: self.place() })
    }

    /// Sends a frame of [`loan_raw`](Self::loan_raw), hashed or not. Waits for lossless subscribers, for at most
    /// `timeout`; the frame is lost after that.
    ///
    /// # Errors
    ///
    /// As [`SendingLoan::send_timeout`]. [`Error::Retired`] if the publisher went over to another ring since the frame
    /// was lent, and for a frame of another channel.
    #[doc(hidden)]
    pub fn send_loan(
        &mut self,
        frame: UnsentFrame<'c>,
        descriptor: &Descriptor,
        hashed: bool,
        timeout: Duration,
    ) -> Result<Sent, Error> {
        let UnsentFrame { loan, place } = frame;
        if !std::ptr::eq(loan.membership(), self.membership()) || place != self.place() {
            return Err(Error::Retired);
        }
        descriptor.check(loan.len() as u64)?;
        let checksum =
            if hashed { (hash(&loan), Checksummed::Bytes) } else { (loan.identity(), Checksummed::Identity) };
        let (guard, offset, size) = loan.into_parts();
        self.finish(guard, offset, size, checksum, descriptor, &mut Patience::new(timeout))
    }
}

impl SendingLoan<'_, '_> {
    /// Shortens the frame to its first `len` bytes. Does nothing if it is no longer than that.
    pub fn truncate(&mut self, len: u64) {
        self.frame.truncate(len);
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
        self.publisher.send_loan(self.frame, &self.descriptor, true, timeout)
    }

    /// As [`send`](Self::send) without hashing: see [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_unhashed(self) -> Result<Sent, Error> {
        self.publisher.send_loan(self.frame, &self.descriptor, false, Duration::ZERO)
    }
}

impl UnsentFrame<'_> {
    /// Shortens the frame to its first `len` bytes. Does nothing if it is no longer than that.
    pub fn truncate(&mut self, len: u64) {
        self.loan.truncate(len);
    }
}

impl Deref for UnsentFrame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.loan
    }
}

impl DerefMut for UnsentFrame<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.loan
    }
}

impl Deref for SendingLoan<'_, '_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.frame
    }
}

impl DerefMut for SendingLoan<'_, '_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.frame
    }
}

impl fmt::Debug for SendingLoan<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingLoan").field("frame", &self.frame.loan).finish_non_exhaustive()
    }
}

const _: () = {
    // They go to other threads, also in C and Python.
    const fn may_go_to_another_thread<T: Send>() {}
    may_go_to_another_thread::<Publisher<'_>>();
    may_go_to_another_thread::<UnsentFrame<'_>>();
    may_go_to_another_thread::<super::subscriber::Subscriber<'_>>();
    may_go_to_another_thread::<super::sample::Sample<'_>>();
};
