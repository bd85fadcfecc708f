//! [`Publisher`]: sends frames over a channel.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use super::cursors::announce_and_look;
use super::descriptor::Descriptor;
use super::directory::{Name, set_content_type};
use super::joined::{Joined, participant};
use super::patience::{Patience, sleep};
use crate::attachments::Role;
use crate::checksum::Checksum;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::frame::{Frame, RingId};
use crate::layout::{DESCRIPTOR_SIZE, HEADER_SIZE};
use crate::membership::Membership;
use crate::os::futex;
use crate::ring::RingMemory;
use crate::ring::frame::Checksummed;
use crate::slots::{Attachment, PinGuard};
use crate::sync::Ordering;
use crate::transfer::{copy_frame_in, nanoseconds_since_1970};

/// The most frames that a publisher keeps.
const MOST_KEPT: usize = 32;

/// Sends frames over a channel of the ring. From [`FrameBufferClient::publisher`].
///
/// Sending never waits for a subscriber, unless one has asked for it ([`SubscriberOptions::lossless`]). Several
/// publishers, in whatever processes, may send over one channel: its frames then have one order, the same for all
/// subscribers.
///
/// The last frame of each publisher is kept for as long as the publisher lives, however busy the ring's other channels
/// are, so whoever subscribes late finds it. [`keep`](PublisherOptions::keep) changes how many are.
///
/// [`SubscriberOptions::lossless`]: crate::SubscriberOptions::lossless
pub struct Publisher<'c> {
    client: &'c FrameBufferClient,
    options: Settings,
    channel: Channel<'c>,
}

/// Options to open a [`Publisher`], from [`FrameBufferClient::publisher_options`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before open"]
pub struct PublisherOptions<'c> {
    client: &'c FrameBufferClient,
    name: String,
    keep: usize,
    content_type: String,
}

struct Settings {
    name: Name,
    keep: usize,
    content_type: String,
}

/// The channel in the ring that the client is in.
struct Channel<'c> {
    /// The last frames of this publisher, by their numbers, oldest first: never overwritten while they are in here.
    kept: VecDeque<(u64, PinGuard<'c>)>,
    joined: Joined<'c>,
    _keeps_none: Option<Attachment<'c>>,
}

/// A frame that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Its sequence number in the channel, from 0 on.
    pub number: u64,
    /// Its description, with which any client of the ring can read it.
    pub frame: Frame,
}

/// The last frame of a channel: see [`Publisher::last`].
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct LastSent {
    number: u64,
    ring: RingId,
}

impl FrameBufferClient {
    /// A publisher of the channel with this name, 1 to 63 of `A-Za-z0-9._/-`, that keeps its last frame. The channel is
    /// made if there is none.
    ///
    /// # Errors
    ///
    /// As [`PublisherOptions::open`].
    pub fn publisher(&self, name: &str) -> Result<Publisher<'_>, Error> {
        self.publisher_options(name).open()
    }

    /// Options for a publisher of the channel with this name.
    pub fn publisher_options(&self, name: &str) -> PublisherOptions<'_> {
        PublisherOptions { client: self, name: name.to_owned(), keep: 1, content_type: String::new() }
    }
}

impl<'c> PublisherOptions<'c> {
    /// How many of its last frames the publisher keeps from being overwritten: 0 to 32. Default: 1.
    ///
    /// They take that much room of the ring, and give way to the publisher's own next frame only if there is no other
    /// room for it. Lossless subscribers may be behind by so many frames before the publisher has to wait for them.
    pub fn keep(mut self, frames: usize) -> Self {
        self.keep = frames;
        self
    }

    /// The type of the channel's frames, up to 255 bytes of text: a media type, `GStreamer` caps, the name of a schema.
    /// All publishers of a channel must agree on it. Default: none.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Opens the publisher.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`]: the name or one of the options is out of bounds, the ring has no room for another channel,
    /// the channel has another content type, or a lossless subscriber, and this publisher would keep nothing.
    /// [`Error::Stopped`] and [`Error::Retired`].
    pub fn open(self) -> Result<Publisher<'c>, Error> {
        let Self { client, name, keep, content_type } = self;
        if keep > MOST_KEPT {
            return Err(ChannelError::KeepTooLarge { asked: keep, limit: MOST_KEPT }.into());
        }
        let options = Settings { name: Name::new(&name)?, keep, content_type };
        let channel = Channel::join(client, &options)?;
        Ok(Publisher { client, options, channel })
    }
}

impl<'c> Channel<'c> {
    fn join(client: &'c FrameBufferClient, options: &Settings) -> Result<Self, Error> {
        let joined = Joined::new(client, &options.name, Role::Publisher)?;
        set_content_type(joined.words(), &options.name, &options.content_type)?;
        let keeps_none = if options.keep == 0 { Some(Self::keep_none(&joined, &options.name)?) } else { None };
        Ok(Self { kept: VecDeque::with_capacity(options.keep + 1), joined, _keeps_none: keeps_none })
    }

    fn keep_none(joined: &Joined<'c>, name: &Name) -> Result<Attachment<'c>, Error> {
        let has_lossless = || joined.held_up_by(u64::MAX, 0).is_some();
        let (attachment, is_excluded) = announce_and_look(|| joined.attach(Role::KeepsNone), has_lossless);
        if is_excluded { Err(ChannelError::KeepsNone { name: name.as_str() }.into()) } else { Ok(attachment) }
    }

    /// Gives up the oldest kept frame, if no lossless subscriber has yet to receive it. False if there is none.
    fn give_way(&mut self) -> bool {
        let Some((number, _)) = self.kept.front() else { return false };
        if self.joined.held_up_by(*number, 0).is_some() {
            return false;
        }
        self.kept.pop_front().is_some()
    }
}

impl<'c> Publisher<'c> {
    /// Copies `data` into the ring and sends it.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::publish`]; [`ChannelError::Backlog`] if a lossless subscriber has yet to receive a frame
    /// that would no longer be kept. Nothing is sent then.
    pub fn send(&mut self, data: &[u8]) -> Result<Sent, Error> {
        self.send_with(data, &Descriptor::default())
    }

    /// As [`send`](Self::send), with a descriptor.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`ChannelError::ShapeDiffers`].
    pub fn send_with(&mut self, data: &[u8], descriptor: &Descriptor) -> Result<Sent, Error> {
        self.send_timeout(data, descriptor, Duration::ZERO)
    }

    /// As [`send_with`](Self::send_with), but waits for lossless subscribers, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`send_with`](Self::send_with), with [`ChannelError::Backlog`] after `timeout` only.
    pub fn send_timeout(&mut self, data: &[u8], descriptor: &Descriptor, timeout: Duration) -> Result<Sent, Error> {
        // SAFETY: a slice is valid for reads.
        unsafe { self.send_raw(data.as_ptr(), data.len(), descriptor, timeout) }
    }

    /// As [`send_timeout`](Self::send_timeout), for the `len` bytes at `data`, for bindings: as
    /// [`FrameBufferClient::publish_raw`].
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    ///
    /// # Safety
    ///
    /// `data` is valid for reads of `len` bytes until this returns.
    #[doc(hidden)]
    pub unsafe fn send_raw(
        &mut self,
        data: *const u8,
        len: usize,
        descriptor: &Descriptor,
        timeout: Duration,
    ) -> Result<Sent, Error> {
        descriptor.check(len as u64)?;
        let mut patience = Patience::new(timeout);
        // Before the bytes are copied: who is held up gets them back untouched.
        self.wait_for_room(&mut patience)?;
        let (guard, offset) = self.allocate(len as u64)?;
        let membership = self.membership();
        // SAFETY: `len` bytes are allocated there and pinned by `guard`, nobody else knows of them, and the caller
        // vouches for the source.
        let checksum = unsafe { copy_frame_in(membership, offset, data, len) };
        self.finish(guard, offset, len as u64, (checksum, Checksummed::Bytes), descriptor, &mut patience)
    }

    /// Waits until no lossless subscriber is in the way of the next frame, for at most `timeout`. If this is the
    /// channel's only publisher, the next [`send`](Self::send) or [loan](crate::SendingLoan::send) does not have to
    /// wait then.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Backlog`] after `timeout`.
    pub fn ready(&mut self, timeout: Duration) -> Result<(), Error> {
        self.wait_for_room(&mut Patience::new(timeout))
    }

    /// Waits until all lossless subscribers have received all frames of the channel, for at most `timeout`: what a
    /// publisher that is about to go should do, since its frames are no longer kept then.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Backlog`] after `timeout`.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), Error> {
        let last = self.last()?;
        self.flush_up_to(last, timeout)
    }

    /// The channel's last frame. For bindings, which flush in several steps.
    #[doc(hidden)]
    pub fn last(&mut self) -> Result<Option<LastSent>, Error> {
        self.stay_current()?;
        let number = self.channel.joined.index().next().checked_sub(1);
        Ok(number.map(|number| LastSent { number, ring: self.membership().segment().id() }))
    }

    /// As [`flush`](Self::flush), for the frames up to this [`last`](Self::last) one, whatever was sent since. Those of
    /// a ring that another one has replaced are not waited for.
    #[doc(hidden)]
    pub fn flush_up_to(&mut self, last: Option<LastSent>, timeout: Duration) -> Result<(), Error> {
        let Some(LastSent { number: last, ring }) = last else { return Ok(()) };
        if ring != self.membership().segment().id() {
            return Ok(());
        }
        let mut patience = Patience::new(timeout);
        while let Err(held_up) = self.check(last, 0) {
            patience.wait(&self.channel.joined, held_up, last, 0)?;
        }
        Ok(())
    }

    /// After a [`ChannelError::Backlog`] with this number and `keep`: waits until it may be worth another attempt, for
    /// at most `timeout`, or a signal arrives, which returns [`ControlFlow::Break`]. May return earlier. For bindings,
    /// which have to look after signals.
    #[doc(hidden)]
    pub fn wait(&self, number: u64, keep: usize, timeout: Duration) -> ControlFlow<()> {
        sleep(&self.channel.joined, number, keep, timeout)
    }

    /// The channel's name.
    pub fn channel(&self) -> String {
        self.options.name.as_str()
    }

    /// The part in the ring in which the channel is.
    pub(super) fn membership(&self) -> &'c Membership {
        self.channel.joined.membership()
    }

    /// The channel's place in the ring's directory.
    pub(super) fn place(&self) -> usize {
        self.channel.joined.place()
    }

    /// Goes over to the ring that the client is in, if that is another one now.
    #[inline]
    pub(super) fn stay_current(&mut self) -> Result<(), Error> {
        if self.channel.joined.is_current(self.client)? { Ok(()) } else { self.join_again() }
    }

    #[cold]
    fn join_again(&mut self) -> Result<(), Error> {
        self.channel = Channel::join(self.client, &self.options)?;
        Ok(())
    }

    /// Waits until the next number can be sent, as far as can be told now.
    #[inline]
    fn wait_for_room(&mut self, patience: &mut Patience) -> Result<(), Error> {
        loop {
            self.stay_current()?;
            let number = self.channel.joined.index().next();
            match self.check(number, self.options.keep) {
                Ok(()) => return Ok(()),
                Err(held_up) => patience.wait(&self.channel.joined, held_up, number, self.options.keep)?,
            }
        }
    }

    /// An error if a living lossless subscriber is in the way of this number.
    #[inline]
    fn check(&self, number: u64, keep: usize) -> Result<(), ChannelError> {
        // Who keeps nothing is in the way of any.
        let number = if self.options.keep == 0 { u64::MAX } else { number };
        let Some(cursor) = self.channel.joined.held_up_by(number, keep as u64) else { return Ok(()) };
        let channel = self.options.name.as_str();
        if self.options.keep == 0 {
            return Err(ChannelError::KeepsNone { name: channel });
        }
        let participant = participant(cursor.holder).unwrap_or_default();
        Err(ChannelError::Backlog { channel, number, unread: cursor.number, participant, keep })
    }

    /// Allocates a frame for the channel. Where there is no room, the frames that are kept give way.
    #[inline]
    pub(super) fn allocate(&mut self, size: u64) -> Result<(PinGuard<'c>, u64), Error> {
        loop {
            let (membership, place) = (self.channel.joined.membership(), self.channel.joined.place());
            let allocated = membership.with_pin(|ring, guard, locks| {
                let offset = ring.allocate_to_send(size, place, guard.pin(), locks)?;
                Ok((guard, offset))
            });
            match allocated {
                Err(Error::Exhausted { .. }) if self.channel.give_way() => {}
                allocated => return allocated,
            }
        }
    }

    /// Commits a frame that was written, and sends it.
    #[inline]
    pub(super) fn finish(
        &mut self,
        guard: PinGuard<'c>,
        offset: u64,
        size: u64,
        (checksum, checksummed): (Checksum, Checksummed),
        descriptor: &Descriptor,
        patience: &mut Patience,
    ) -> Result<Sent, Error> {
        if guard.is_of_parent() {
            return Err(Error::Forked);
        }
        let joined = &self.channel.joined;
        let (membership, words, index) = (joined.membership(), joined.words(), joined.index());
        let frame = Frame { offset, size, checksum, ring: Some(membership.segment().id()) };
        let start = offset - HEADER_SIZE - DESCRIPTOR_SIZE;
        let in_front = membership.segment().descriptor(start);
        descriptor.store(in_front);
        let now = nanoseconds_since_1970();
        membership.check_name(now)?;
        membership.ring().commit(&frame, checksummed, now, guard.pin())?;
        if self.options.keep > 0 {
            // Before anybody finds the frame: whoever comes late may pin it as long as we have.
            guard.pin().vouch();
        }
        let number = loop {
            let appended = index.append(start, |number| {
                in_front.number.store(number, Ordering::Relaxed);
                self.check(number, self.options.keep).map_err(|held_up| (held_up, number))
            });
            match appended {
                Ok(number) => break number,
                Err((held_up, number)) => patience.wait(joined, held_up, number, self.options.keep)?,
            }
        };
        words.sent.bytes.fetch_add(size, std::sync::atomic::Ordering::Relaxed);
        words.sent.last_at.store(now, std::sync::atomic::Ordering::Relaxed);
        if index.take_sleepers() {
            futex::wake_all(&words.tail.next);
        }
        if self.options.keep > 0 {
            self.channel.kept.push_back((number, guard));
            if self.channel.kept.len() > self.options.keep {
                self.channel.kept.pop_front();
            }
        }
        Ok(Sent { number, frame })
    }
}

impl fmt::Debug for Publisher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("channel", &self.options.name).finish_non_exhaustive()
    }
}
