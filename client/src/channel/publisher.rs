//! [`Publisher`]: sends frames over a channel.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::descriptor::Descriptor;
use super::directory::{Name, set_content_type};
use super::joined::{Joined, participant};
use crate::attachments::Role;
use crate::checksum::{Checksum, hash};
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::frame::Frame;
use crate::layout::{DESCRIPTOR_SIZE, HEADER_SIZE};
use crate::os::futex;
use crate::ring::RingMemory;
use crate::ring::frame::Checksummed;
use crate::slots::{Attachment, PinGuard};
use crate::sync::Ordering;
use crate::transfer::{copy_frame_in, nanoseconds_since_1970};

/// The most frames that a publisher keeps.
const MOST_KEPT: usize = 32;

/// How long a publisher that is held up sleeps before it asks again whether the subscriber lives.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sends frames over a channel of the ring. From [`FrameBufferClient::publisher`].
///
/// Sending never waits for a subscriber, unless one has asked for it ([`SubscriberOptions::lossless`]) or none is there
/// to be waited for. Several publishers, in whatever processes, may send over one channel: its frames then have one
/// order, the same for all subscribers.
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
        let keeps_none = (options.keep == 0).then(|| joined.attach(Role::KeepsNone));
        // After the bit was set: either we see a subscriber's cursor, or it sees our bit.
        std::sync::atomic::fence(Ordering::SeqCst);
        if options.keep == 0 && joined.held_up_by(u64::MAX, 0).is_some() {
            return Err(ChannelError::KeepsNone { name: options.name.as_str() }.into());
        }
        Ok(Self { kept: VecDeque::with_capacity(options.keep + 1), joined, _keeps_none: keeps_none })
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

    /// As [`send_timeout`](Self::send_timeout), for `len` bytes at `data`, which may be written to meanwhile.
    ///
    /// # Safety
    ///
    /// `data` is valid for reads of `len` bytes.
    pub(crate) unsafe fn send_raw(
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
        let membership = self.channel.joined.membership();
        // SAFETY: `len` bytes are allocated there and pinned by `guard`, nobody else knows of them, and the caller
        // vouches for the source.
        let checksum = unsafe { copy_frame_in(membership, offset, data, len) };
        self.finish(guard, offset, len as u64, (checksum, Checksummed::Bytes), descriptor, &mut patience)
    }

    /// Lends a frame of `size` bytes in the ring itself, to fill in place and [send](SendingLoan::send) without a copy.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::loan`].
    pub fn loan(&mut self, size: u64) -> Result<SendingLoan<'_, 'c>, Error> {
        self.stay_current()?;
        let (guard, offset) = self.allocate(size)?;
        Ok(SendingLoan { publisher: self, guard, offset, size, descriptor: Descriptor::default() })
    }

    /// Waits until no lossless subscriber is in the way of the next frame, for at most `timeout`. If this is the
    /// channel's only publisher, the next [`send`](Self::send) or [loan](SendingLoan::send) does not have to wait then.
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
        self.stay_current()?;
        let next = self.channel.joined.index().next();
        let Some(last) = next.checked_sub(1) else { return Ok(()) };
        let mut patience = Patience::new(timeout);
        while let Err(held_up) = self.check(last, 0) {
            patience.wait(&self.channel.joined, held_up, last, 0)?;
        }
        Ok(())
    }

    /// The channel's name.
    pub fn channel(&self) -> String {
        self.options.name.as_str()
    }

    /// Goes over to the ring that the client is in, if that is another one now.
    #[inline]
    fn stay_current(&mut self) -> Result<(), Error> {
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
        if self.channel.joined.words().tail.lossless.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
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
    fn allocate(&mut self, size: u64) -> Result<(PinGuard<'c>, u64), Error> {
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
    fn finish(
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
        words.tail.bytes.fetch_add(size, std::sync::atomic::Ordering::Relaxed);
        words.tail.sent_at.store(now, std::sync::atomic::Ordering::Relaxed);
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
    /// As [`send`](Self::send), with [`ChannelError::Backlog`] after `timeout` only: the frame is lost then. Ask before
    /// you fill it: [`Publisher::ready`].
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
        let segment = self.publisher.channel.joined.membership().segment();
        let checksum = segment.frame_identity(self.offset, self.size);
        self.finish(checksum, Checksummed::Identity, Duration::ZERO)
    }

    fn finish(self, checksum: Checksum, checksummed: Checksummed, timeout: Duration) -> Result<Sent, Error> {
        let Self { publisher, guard, offset, size, descriptor } = self;
        descriptor.check(size)?;
        publisher.finish(guard, offset, size, (checksum, checksummed), &descriptor, &mut Patience::new(timeout))
    }

    fn payload(&self) -> *mut u8 {
        self.publisher.channel.joined.membership().segment().payload(self.offset)
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

/// How long a publisher waits for lossless subscribers.
struct Patience {
    timeout: Duration,
    begun: Option<Instant>,
}

impl Patience {
    #[inline]
    fn new(timeout: Duration) -> Self {
        Self { timeout, begun: None }
    }

    /// Sleeps until a subscriber moves on, or for a while. Returns `held_up` once the time has passed.
    #[cold]
    fn wait(&mut self, joined: &Joined<'_>, held_up: ChannelError, number: u64, keep: usize) -> Result<(), Error> {
        let passed = self.begun.get_or_insert_with(Instant::now).elapsed();
        let left = self.timeout.saturating_sub(passed);
        if left.is_zero() || matches!(held_up, ChannelError::KeepsNone { .. }) {
            return Err(held_up.into());
        }
        let moves = joined.cursors().announce_sleep();
        if joined.cursors().behind(number, keep as u64).is_some() {
            // Whatever ends the sleep, the caller looks again.
            let slept = futex::wait(&joined.words().missed.moves, moves, left.min(LOOK_AGAIN));
            if slept.is_err_and(|errno| errno != nix::errno::Errno::EINTR) {
                std::thread::sleep(left.min(Duration::from_millis(1)));
            }
        }
        Ok(())
    }
}
