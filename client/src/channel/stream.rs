//! [`SampleStream`]: a subscriber in programs that use tokio; and a publisher there.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::descriptor::Descriptor;
use super::publisher::{Publisher, Sent};
use super::sample::Sample;
use super::subscriber::Subscriber;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::error::segment::SegmentError;

/// How often a publisher looks whether lossless subscribers have moved on.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The frames of a channel, one after the other, without an end. From [`Subscriber::into_stream`].
pub struct SampleStream<'c> {
    event: AsyncFd<OwnedFd>,
    subscriber: Subscriber<'c>,
}

impl<'c> Subscriber<'c> {
    /// The subscriber as a [`Stream`], which yields each frame once it is there, without occupying a thread of the
    /// runtime meanwhile. It waits while the ring is replaced, if the client can find the next one.
    ///
    /// # Errors
    ///
    /// As [`event_fd`](Self::event_fd), and [`Error::Join`] outside a runtime of tokio.
    ///
    /// # Panics
    ///
    /// In a runtime of tokio that does no I/O (`Builder::enable_io`).
    pub fn into_stream(mut self) -> Result<SampleStream<'c>, Error> {
        let failed = |source| SegmentError::Io { action: "wait for frames in tokio", source };
        Handle::try_current().map_err(io::Error::other).map_err(failed)?;
        let event = self.event_fd()?.try_clone_to_owned().map_err(failed)?;
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
        let event = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) };
        let event = event.map_err(|error| failed(error.into()))?;
        Ok(SampleStream { event, subscriber: self })
    }
}

impl<'c> SampleStream<'c> {
    /// The subscriber, for its counts.
    pub fn subscriber(&self) -> &Subscriber<'c> {
        &self.subscriber
    }

    /// The subscriber.
    pub fn into_subscriber(self) -> Subscriber<'c> {
        self.subscriber
    }
}

impl<'c> Stream for SampleStream<'c> {
    type Item = Result<Sample<'c>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { event, subscriber } = self.get_mut();
        loop {
            match subscriber.try_next_in_any_ring() {
                Ok(None) => {}
                found => return Poll::Ready(found.transpose()),
            }
            match event.poll_read_ready(context) {
                Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                Poll::Ready(Err(source)) => {
                    let error = SegmentError::Io { action: "wait for frames in tokio", source };
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for SampleStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleStream").field("subscriber", &self.subscriber).finish_non_exhaustive()
    }
}

impl Publisher<'_> {
    /// As [`send_timeout`](Self::send_timeout), but lets other tasks run while it waits for lossless subscribers. The
    /// bytes are copied on the spot.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    pub async fn send_async(&mut self, data: &[u8], descriptor: &Descriptor, timeout: Duration) -> Result<Sent, Error> {
        let begun = Instant::now();
        loop {
            match self.send_with(data, descriptor) {
                Err(Error::Channel(ChannelError::Backlog { .. })) if begun.elapsed() < timeout => {
                    sleep(LOOK_AGAIN.min(timeout.saturating_sub(begun.elapsed()))).await;
                }
                sent => return sent,
            }
        }
    }
}
