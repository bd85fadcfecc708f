//! [`Owned`]: what borrows from a client, together with the client.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use framebuffer::FrameBufferClient;

/// A view, loan, publisher or subscriber, and the client that it borrows from: Python's objects outlive each other in
/// any order.
pub(crate) struct Owned<T> {
    // Dropped before what it borrows from.
    borrower: T,
    client: Arc<FrameBufferClient>,
}

impl<T> Owned<T> {
    /// Keeps what `borrow` makes of the client.
    ///
    /// # Safety
    ///
    /// Nothing that borrows from the client leaves the [`Owned`], but for other [`Owned`] of the same client
    /// ([`with`](Self::with)).
    pub(crate) unsafe fn new<E>(
        client: Arc<FrameBufferClient>,
        borrow: impl FnOnce(&'static FrameBufferClient) -> Result<T, E>,
    ) -> Result<Self, E> {
        // SAFETY: the Arc keeps the client at its address for as long as the borrower lives, here and in `end`.
        let lives_on: &'static FrameBufferClient = unsafe { &*Arc::as_ptr(&client) };
        Ok(Self { borrower: borrow(lives_on)?, client })
    }

    /// Keeps something else that borrows from the client.
    ///
    /// # Safety
    ///
    /// It came from this one.
    pub(crate) unsafe fn with<U>(&self, borrower: U) -> Owned<U> {
        Owned { borrower, client: Arc::clone(&self.client) }
    }

    /// Turns the borrower into another one, a part of it.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Owned<U> {
        let Self { borrower, client } = self;
        Owned { borrower: map(borrower), client }
    }

    /// Ends the borrower, and gives the client back afterwards.
    pub(crate) fn end<R>(self, end: impl FnOnce(T) -> R) -> R {
        let Self { borrower, client } = self;
        let ended = end(borrower);
        drop(client);
        ended
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.borrower
    }
}

impl<T> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.borrower
    }
}
