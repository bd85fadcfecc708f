//! [`Loan`]: a frame written in place.

use std::sync::Arc;

use framebuffer::{Error, FrameBufferClient};

use crate::call::{guard, out, present};
use crate::error::Status;
use crate::frame::Frame;

/// A frame of the ring lent for writing. Nobody else sees its bytes before it is committed.
///
/// It ends with framebuffer_loan_commit(), framebuffer_loan_commit_unhashed() or framebuffer_loan_abandon(). It may be filled
/// and ended on any thread, by one at a time, and outlive the client that it is from. In a child that inherits it by fork() it
/// can only be abandoned: it is the parent's.
pub struct Loan {
    // Dropped before what it borrows from.
    loan: framebuffer::Loan<'static>,
    client: Arc<FrameBufferClient>,
}

impl Loan {
    pub(crate) fn new(client: &Arc<FrameBufferClient>, size: u64) -> Result<Self, Error> {
        let client = Arc::clone(client);
        // SAFETY: the Arc goes into the same struct as the loan, and is dropped after it, here and in `end`.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        Ok(Self { loan: lives_on.loan(size)?, client })
    }

    /// Ends the loan by `commit`, while the client is still there.
    fn end(
        self,
        commit: impl FnOnce(framebuffer::Loan<'static>) -> Result<framebuffer::Frame, Error>,
    ) -> Result<framebuffer::Frame, Error> {
        let Self { loan, client } = self;
        let ended = commit(loan);
        drop(client);
        ended
    }
}

/// The first byte of the frame, aligned to 64 bytes, valid until the loan ends; NULL for NULL. The bytes are those of older
/// frames until they are overwritten.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_data(loan: Option<&mut Loan>) -> *mut u8 {
    loan.map_or(std::ptr::null_mut(), |loan| loan.loan.as_mut_ptr())
}

/// The frame's length in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_size(loan: Option<&Loan>) -> usize {
    loan.map_or(0, |loan| loan.loan.len())
}

/// Shortens the frame to its first `size` bytes, for data whose size is known only when it is there. Does nothing if the frame
/// is not longer than that.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_truncate(loan: Option<&mut Loan>, size: u64) -> Status {
    guard(|| {
        present("loan", loan)?.loan.truncate(size);
        Ok(())
    })
}

/// Makes the frame readable and writes its description into `frame`, for the reader. Hashes the bytes where they are.
///
/// The loan is released, whatever is returned. FRAMEBUFFER_STATUS_FORKED in a child of the process that borrowed it; with
/// `frame` NULL the loan is abandoned.
///
/// # Safety
///
/// `frame` is NULL or valid for writing a frame. Nobody writes to the loan's bytes any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_loan_commit(loan: Option<Box<Loan>>, frame: *mut Frame) -> Status {
    // SAFETY: the caller vouches for it.
    unsafe { commit(loan, frame, framebuffer::Loan::commit) }
}

/// Makes the frame readable without hashing it, in a time that does not depend on its size, and writes its description into
/// `frame`.
///
/// The checksum in it then vouches for which frame it is and no longer for its bytes: a frame that the ring has moved past is
/// a timeout as ever, but nobody notices if a program scribbles on the segment past this library. Otherwise as
/// framebuffer_loan_commit().
///
/// # Safety
///
/// As framebuffer_loan_commit().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_loan_commit_unhashed(loan: Option<Box<Loan>>, frame: *mut Frame) -> Status {
    // SAFETY: the caller vouches for it.
    unsafe { commit(loan, frame, framebuffer::Loan::commit_unhashed) }
}

unsafe fn commit(
    loan: Option<Box<Loan>>,
    frame: *mut Frame,
    commit: impl FnOnce(framebuffer::Loan<'static>) -> Result<framebuffer::Frame, Error>,
) -> Status {
    guard(|| {
        let frame = out("frame", frame)?;
        let committed = present("loan", loan)?.end(commit)?;
        // SAFETY: the caller vouches for it.
        unsafe { frame.put(committed.into()) };
        Ok(())
    })
}

/// Gives the frame back, as one that was never written. The pointer to its bytes is invalid from now on. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_loan_abandon(loan: Option<Box<Loan>>) {
    drop(loan);
}
