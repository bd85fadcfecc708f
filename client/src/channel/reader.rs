//! [`Reader`]: where a subscriber is in its channel, and the frames that it finds there.

use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use super::cursors::announce_and_look;
use super::directory::Name;
use super::index::Recorded;
use super::joined::Joined;
use super::watch::Watch;
use crate::attachments::Role;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::error::segment::SegmentError;
use crate::layout::INDEX;
use crate::os::futex;
use crate::ring::frame::Received;
use crate::slots::PinGuard;

/// Where a subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// With the last frame that was sent, if it is there; then all that follow. So whoever comes late has something at
    /// once.
    #[default]
    Latest,
    /// With the next frame that is sent.
    New,
    /// With the oldest frame that is still there: at most the last 1,024.
    Oldest,
    /// With the frame after the one with this number, to go on where another subscriber has ended. If the channel has
    /// not got that far, it began anew with its ring: then as [`Oldest`](Self::Oldest).
    After(u64),
}

/// The channel in the ring that the client is in, and how far it was read.
pub(super) struct Reader<'c> {
    pub(super) joined: Joined<'c>,
    /// The number of the next frame to receive.
    pub(super) cursor: u64,
    /// The place of the cursor that publishers wait for.
    lossless: Option<LosslessPlace>,
}

struct LosslessPlace {
    place: usize,
    holder: u64,
}

impl<'c> Reader<'c> {
    /// Joins the channel with this name.
    pub(super) fn join(
        client: &'c FrameBufferClient,
        name: &Name,
        lossless: bool,
        start: Start,
    ) -> Result<Self, Error> {
        let joined = Joined::new(client, name, Role::Subscriber)?;
        let lossless = lossless.then(|| LosslessPlace::take(&joined, name)).transpose()?;
        // After the place was taken: from this number on a lossless subscriber loses nothing.
        let next = joined.index().next_after_me();
        let mut reader = Self { joined, cursor: next, lossless };
        reader.cursor = match start {
            Start::New => next,
            Start::Latest => reader.oldest_from(next.saturating_sub(1), next)?,
            Start::After(number) if number < next => number + 1,
            Start::Oldest | Start::After(_) => reader.oldest_from(next.saturating_sub(INDEX as u64), next)?,
        };
        reader.announce_cursor();
        Ok(reader)
    }

    /// The first number from `first` on, below `next`, whose frame is there; `next` if none is.
    fn oldest_from(&self, first: u64, next: u64) -> Result<u64, Error> {
        for number in first..next {
            if self.look_up(number, 0)?.is_ok() {
                return Ok(number);
            }
        }
        Ok(next)
    }

    /// The frame with this number, pinned, or the first number that may still be there if it is lost.
    ///
    /// `expected` is the size that the frame probably has.
    #[inline]
    pub(super) fn look_up(
        &self,
        number: u64,
        expected: u64,
    ) -> Result<Result<(Received, PinGuard<'c>), Missing>, Error> {
        let start = match self.joined.index().look_at(number) {
            Recorded::NotYet => return Ok(Err(Missing::NotYet)),
            Recorded::Lost { oldest } => return Ok(Err(Missing::Lost { next: oldest })),
            Recorded::At(start) => start,
        };
        let place = self.joined.place();
        let found = self.joined.membership().with_pin(|ring, guard, _| {
            let received = ring.begin_receive(start, (place, number), expected, guard.pin())?;
            Ok(received.map(|received| (received, guard)))
        })?;
        Ok(found.ok_or(Missing::Lost { next: number.saturating_add(1) }))
    }

    /// Watches for the next frame.
    pub(super) fn watch(&self, event: Option<Arc<EventFd>>) -> Result<Watch, Error> {
        let mapping = Arc::clone(self.joined.membership().segment().mapping());
        let watch = Watch::start(mapping, self.joined.place(), event)
            .map_err(SegmentError::io("start a thread that waits for frames"))?;
        watch.wait_for(self.cursor);
        Ok(watch)
    }

    /// Tells publishers where this subscriber is, if it is lossless.
    #[inline]
    pub(super) fn announce_cursor(&self) {
        if let Some(LosslessPlace { place, .. }) = self.lossless
            && self.joined.cursors().move_on(place, self.cursor)
        {
            futex::wake_all(&self.joined.words().missed.moves);
        }
    }
}

impl LosslessPlace {
    fn take(joined: &Joined<'_>, name: &Name) -> Result<Self, Error> {
        let holder = joined.holder();
        // Until it is known where to begin, publishers wait for nothing below the next number.
        let number = joined.index().next();
        let begin = || joined.cursors().begin(holder, number, |holder| joined.is_gone(holder));
        let (place, is_excluded) = announce_and_look(begin, || joined.has(Role::KeepsNone));
        let place = place.ok_or_else(|| ChannelError::TooManyLossless { name: name.as_str() })?;
        if is_excluded {
            joined.cursors().end(place, holder);
            return Err(ChannelError::KeepsNone { name: name.as_str() }.into());
        }
        Ok(Self { place, holder })
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(LosslessPlace { place, holder }) = self.lossless else { return };
        if self.joined.is_own() && self.joined.cursors().end(place, holder) {
            futex::wake_all(&self.joined.words().missed.moves);
        }
    }
}

/// Why there is no frame with a number.
pub(super) enum Missing {
    /// It was not sent yet.
    NotYet,
    /// It is gone, and so are all below this one.
    Lost { next: u64 },
}
