//! [`Loan`]: a frame written in place.

use std::sync::Arc;

use framebuffer::{Error, FrameBufferClient, UnsentFrame};

use crate::call::{guard, out, present};
use crate::error::{Failure, Status};
use crate::frame::Frame;

/// A frame of the ring, lent for writing. No one else sees its bytes before it is committed or sent.
///
/// One of a client ends with framebuffer_loan_commit() or framebuffer_loan_commit_unhashed(), one of a publisher with
/// framebuffer_publisher_send_loan() or framebuffer_publisher_send_loan_unhashed(), and either with
/// framebuffer_loan_abandon(). Any thread may fill and end it, one at a time, and it may outlive its client. A child
/// that inherits it by fork() can only abandon it: it belongs to the parent.
pub struct Loan {
    // Dropped before what it borrows from.
    lent: Lent,
    _client: Arc<FrameBufferClient>,
}

enum Lent {
    ToCommit(framebuffer::Loan<'static>),
    /// By the publisher with this number.
    ToSend(UnsentFrame<'static>, u64),
}

impl Loan {
    pub(crate) fn new(client: &Arc<FrameBufferClient>, size: u64) -> Result<Self, Error> {
        let client = Arc::clone(client);
        // SAFETY: the Arc is in the same struct as the loan, and is dropped after it, here, in `commit` and in `send`.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        Ok(Self { lent: Lent::ToCommit(lives_on.loan(size)?), _client: client })
    }

    /// A loan of the publisher with this number.
    ///
    /// # Safety
    ///
    /// The frame borrows from this client.
    pub(crate) unsafe fn to_send(frame: UnsentFrame<'static>, client: Arc<FrameBufferClient>, publisher: u64) -> Self {
        Self { lent: Lent::ToSend(frame, publisher), _client: client }
    }

    /// Ends the loan with `commit`.
    fn commit(
        self,
        commit: impl FnOnce(framebuffer::Loan<'static>) -> Result<framebuffer::Frame, Error>,
    ) -> Result<framebuffer::Frame, Failure> {
        // The client is dropped last, as the rest of `self`.
        match self.lent {
            Lent::ToCommit(loan) => Ok(commit(loan)?),
            Lent::ToSend(..) => Err(Failure::OtherLoan),
        }
    }

    /// Whether it is of the publisher with this number.
    pub(crate) fn is_of(&self, publisher: u64) -> bool {
        matches!(self.lent, Lent::ToSend(_, of) if of == publisher)
    }

    /// Ends the loan with `send`, if it is of the publisher with this number, which holds the same client.
    pub(crate) fn send(
        self,
        publisher: u64,
        send: impl FnOnce(UnsentFrame<'static>) -> Result<framebuffer::Sent, Error>,
    ) -> Result<framebuffer::Sent, Failure> {
        // As in `commit`.
        match self.lent {
            Lent::ToSend(frame, of) if of == publisher => Ok(send(frame)?),
            Lent::ToSend(..) | Lent::ToCommit(_) => Err(Failure::OtherLoan),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.lent {
            Lent::ToCommit(loan) => loan,
            Lent::ToSend(frame, _) => frame,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.lent {
            Lent::ToCommit(loan) => loan,
            Lent::ToSend(frame, _) => frame,
        }
    }

    fn truncate(&mut self, size: u64) {
        match &mut self.lent {
            Lent::ToCommit(loan) => loan.truncate(size),
            Lent::ToSend(frame, _) => frame.truncate(size),
        }
    }
}

/// The first byte of the frame, aligned to 64 bytes, valid until the loan ends; NULL for NULL. At first the bytes are
/// those of older frames.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_data(loan: Option<&mut Loan>) -> *mut u8 {
    loan.map_or(std::ptr::null_mut(), |loan| loan.bytes_mut().as_mut_ptr())
}

/// The frame's length in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_size(loan: Option<&Loan>) -> usize {
    loan.map_or(0, |loan| loan.bytes().len())
}

/// Shortens the frame to its first `size` bytes, for data whose size was not known before. Does nothing if the frame is
/// not longer.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_truncate(loan: Option<&mut Loan>, size: u64) -> Status {
    guard(|| {
        present("loan", loan)?.truncate(size);
        Ok(())
    })
}

/// Hashes the bytes in place, makes the frame readable and stores its description in `frame`, for the reader.
///
/// It releases the loan even if it fails: with FRAMEBUFFER_STATUS_FORKED in a child of the process that borrowed it,
/// with FRAMEBUFFER_STATUS_INVALID_ARGUMENT if it is of a publisher. If `frame` is NULL, it abandons the loan.
///
/// # Safety
///
/// `frame` is NULL or valid for writing a frame. No one writes to the loan's bytes from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_loan_commit(loan: Option<Box<Loan>>, frame: *mut Frame) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { commit(loan, frame, framebuffer::Loan::commit) }
}

/// Commits as framebuffer_loan_commit(), but without hashing, in a time that does not depend on the size.
///
/// The checksum then identifies the frame, but does not protect its bytes: reading a frame that the ring has moved past
/// is still a timeout, but readers cannot notice that a program has overwritten bytes of the segment without this
/// library.
///
/// # Safety
///
/// As framebuffer_loan_commit().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_loan_commit_unhashed(loan: Option<Box<Loan>>, frame: *mut Frame) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { commit(loan, frame, framebuffer::Loan::commit_unhashed) }
}

unsafe fn commit(
    loan: Option<Box<Loan>>,
    frame: *mut Frame,
    commit: impl FnOnce(framebuffer::Loan<'static>) -> Result<framebuffer::Frame, Error>,
) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        let committed = present("loan", loan)?.commit(commit)?;
        // SAFETY: the caller guarantees it.
        unsafe { frame.put(committed.into()) };
        Ok(())
    })
}

/// Gives the frame back; it counts as never written. The pointer to its bytes becomes invalid. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_abandon(loan: Option<Box<Loan>>) {
    drop(loan);
}
