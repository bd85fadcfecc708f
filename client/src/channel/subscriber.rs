//! [`Subscriber`]: receives the frames of a channel.

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::descriptor::Descriptor;
use super::directory::Name;
use super::reader::{Missing, Reader, Start};
use super::sample::Sample;
use super::spin::{default_spin, spin};
use super::watch::{LOOK_AGAIN, PAUSE, Watch};
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::layout::{DESCRIPTOR_SIZE, HEADER_SIZE, INDEX};
use crate::os::futex;
use crate::ring::RingMemory;
use crate::ring::frame::Received;
use crate::slots::PinGuard;
use crate::stats::Counter;
use crate::view::View;

/// Receives the frames of a channel, in the order in which they were sent. From [`FrameBufferClient::subscriber`].
///
/// A subscriber takes nothing away: all subscribers receive all frames. It holds nobody up, unless it is
/// [lossless](SubscriberOptions::lossless). If it is slow, frames are overwritten before it has received them; it
/// then goes on with the next one that is there, and counts the others: at any time,
/// [`received`](Self::received) + [`lost`](Self::lost) + [`skipped`](Self::skipped) is the number of frames that were
/// sent from its beginning to where it is.
///
/// When the ring is replaced by another (see [`FrameBufferClient`]), the subscriber goes on with the first frame of the
/// channel there. What it had yet to receive in the old one counts as lost.
///
/// ```
/// use std::time::Duration;
/// use framebuffer::{FrameBufferClient, FrameBufferServer};
///
/// # fn main() -> Result<(), framebuffer::Error> {
/// let server = FrameBufferServer::options(1 << 20).start()?;
/// let (writer, reader) = (FrameBufferClient::open(server.get_key())?, FrameBufferClient::open(server.get_key())?);
/// let mut subscriber = reader.subscriber("camera")?;
/// let mut publisher = writer.publisher("camera")?;
///
/// let sent = publisher.send(b"a picture")?;
/// let frame = subscriber.next(Duration::from_secs(1))?.expect("it was sent");
/// assert_eq!((&*frame, frame.number()), (&b"a picture"[..], sent.number));
/// # Ok(())
/// # }
/// ```
pub struct Subscriber<'c> {
    client: &'c FrameBufferClient,
    settings: Settings,
    reader: Reader<'c>,
    received: u64,
    lost: u64,
    skipped: u64,
    /// Bytes of the last frame: the next one is probably as large.
    expected: u64,
    watch: Option<Watch>,
}

/// Options to open a [`Subscriber`], from [`FrameBufferClient::subscriber_options`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before open"]
pub struct SubscriberOptions<'c> {
    client: &'c FrameBufferClient,
    name: String,
    start: Start,
    lossless: bool,
    spin: Duration,
}

struct Settings {
    name: Name,
    lossless: bool,
    spin: Duration,
}

impl FrameBufferClient {
    /// A subscriber of the channel with this name, 1 to 63 of `A-Za-z0-9._/-`, that begins with the last frame. The
    /// channel is made if there is none.
    ///
    /// # Errors
    ///
    /// As [`SubscriberOptions::open`].
    pub fn subscriber(&self, name: &str) -> Result<Subscriber<'_>, Error> {
        self.subscriber_options(name).open()
    }

    /// Options for a subscriber of the channel with this name.
    pub fn subscriber_options(&self, name: &str) -> SubscriberOptions<'_> {
        SubscriberOptions {
            client: self,
            name: name.to_owned(),
            start: Start::default(),
            lossless: false,
            spin: default_spin(),
        }
    }
}

impl<'c> SubscriberOptions<'c> {
    /// Where to begin. Default: [`Start::Latest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Asks publishers to wait for this subscriber: nothing that is sent after it was opened is overwritten before it
    /// has received it. A publisher that keeps `k` frames sends while the subscriber is less than `k` frames behind;
    /// then its `send` fails with [`Backlog`](crate::ChannelError::Backlog), or waits, as it is asked to. Other
    /// channels are not affected. A subscriber that dies holds nobody up.
    ///
    /// For recorders, tests, data loaders. A channel can have 8 of them.
    pub fn lossless(mut self) -> Self {
        self.lossless = true;
        self
    }

    /// For how long to look for a frame all the time before sleeping: so long a processor is busy for nothing, and a
    /// frame that comes meanwhile is received some microseconds earlier. Default: 20 us; 0 on a machine with one
    /// processor.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Opens the subscriber.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`]: the name is out of bounds, the ring has no room for another channel, or the channel for
    /// another lossless subscriber, or one of its publishers keeps nothing. [`Error::Stopped`] and [`Error::Retired`].
    pub fn open(self) -> Result<Subscriber<'c>, Error> {
        let Self { client, name, start, lossless, spin } = self;
        let settings = Settings { name: Name::new(&name)?, lossless, spin };
        let reader = Reader::join(client, &settings.name, lossless, start)?;
        Ok(Subscriber { client, settings, reader, received: 0, lost: 0, skipped: 0, expected: 0, watch: None })
    }
}

impl<'c> Subscriber<'c> {
    /// The next frame. Waits for it, for at most `timeout`; `None` if none was sent in that time. If the ring is given
    /// up meanwhile, waits for the next one, if the client can find it (one from `connect`).
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::Retired`] if the ring was given up, and the client cannot find another;
    /// [`Error::Join`] and others of joining the ring anew.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Sample<'c>>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(sample) = self.try_next_in_any_ring()? {
                return Ok(Some(sample));
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            // A signal is no frame: go on waiting.
            let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.wait(left);
        }
    }

    /// As [`try_next`](Self::try_next), but without a ring there is nothing yet, as long as there may be another.
    pub(super) fn try_next_in_any_ring(&mut self) -> Result<Option<Sample<'c>>, Error> {
        match self.try_next() {
            Err(Error::Retired) if self.client.finds_next_ring() => {
                if let Some(watch) = &self.watch {
                    watch.wait_for(self.reader.cursor);
                }
                Ok(None)
            }
            found => found,
        }
    }

    /// The next frame, if it is there already.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`Error::Retired`] as long as there is no next ring.
    #[inline]
    pub fn try_next(&mut self) -> Result<Option<Sample<'c>>, Error> {
        self.stay_current()?;
        loop {
            match self.reader.look_up(self.reader.cursor, self.expected)? {
                Ok((received, guard)) => return Ok(Some(self.receive(received, guard))),
                Err(Missing::NotYet) => {
                    if let Some(watch) = &self.watch {
                        watch.wait_for(self.reader.cursor);
                    }
                    return Ok(None);
                }
                // No channel gets that far, unless a program scribbles on its tail.
                Err(Missing::Lost { next }) if next <= self.reader.cursor => return Ok(None),
                Err(Missing::Lost { next }) => {
                    self.count_lost(next - self.reader.cursor);
                    self.reader.cursor = next;
                    self.reader.announce_cursor();
                }
            }
        }
    }

    /// The last frame that was sent, if it was not received yet. Those before it are [skipped](Self::skipped).
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn latest(&mut self) -> Result<Option<Sample<'c>>, Error> {
        self.stay_current()?;
        let (first, next) = (self.reader.cursor, self.reader.joined.index().next());
        // What is older is not in the index any more.
        for number in (first.max(next.saturating_sub(INDEX as u64))..next).rev() {
            if let Ok((received, guard)) = self.reader.look_up(number, self.expected)? {
                // What is newer than this one has been overwritten before it.
                self.count_lost(next - 1 - number);
                self.count_skipped(number - first);
                self.reader.cursor = next - 1;
                return Ok(Some(self.receive_as(number, received, guard)));
            }
        }
        self.count_lost(next.saturating_sub(first));
        self.reader.cursor = next.max(first);
        self.reader.announce_cursor();
        Ok(None)
    }

    /// Waits until the next frame may be there, for at most `timeout`, or a signal arrives, which returns
    /// [`ControlFlow::Break`]. May return earlier. For bindings, which have to look after signals.
    #[doc(hidden)]
    pub fn wait(&self, timeout: Duration) -> ControlFlow<()> {
        if self.reader.joined.membership().segment().is_retired() {
            return futex::pause(timeout.min(PAUSE));
        }
        let (index, cursor) = (self.reader.joined.index(), self.reader.cursor);
        if spin(index, cursor, self.settings.spin.min(timeout)) {
            return ControlFlow::Continue(());
        }
        if !index.announce_sleep(cursor) {
            return ControlFlow::Continue(());
        }
        match futex::wait(&self.reader.joined.words().tail.next, cursor, timeout.min(LOOK_AGAIN)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Errno::EINTR) => ControlFlow::Break(()),
            // A sandbox without futexes.
            Err(_) => futex::pause(timeout.min(Duration::from_millis(1))),
        }
    }

    /// A descriptor for event loops (`epoll`, `poll`, `select`): it is readable when there may be a frame. Then call
    /// [`try_next`](Self::try_next) until it returns `None`, which makes it unreadable until the next frame. It is the
    /// same one for as long as the subscriber lives; in a forked child, ask for another.
    ///
    /// A thread waits for it. To receive frames in a thread of your own, [`next`](Self::next) is faster.
    ///
    /// # Errors
    ///
    /// As [`try_next`](Self::try_next), and [`Error::Join`] if there can be no more threads or descriptors.
    pub fn event_fd(&mut self) -> Result<BorrowedFd<'_>, Error> {
        self.stay_current()?;
        let watch = match self.watch.take().filter(Watch::is_own) {
            Some(watch) => watch,
            None => self.reader.watch(None)?,
        };
        Ok(self.watch.insert(watch).as_fd())
    }

    /// Frames that this subscriber has received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames that were overwritten before this subscriber received them.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames that [`latest`](Self::latest) has passed over.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The number of the next frame to receive.
    pub fn next_number(&self) -> u64 {
        self.reader.cursor
    }

    /// The channel's name.
    pub fn channel(&self) -> String {
        self.settings.name.as_str()
    }

    /// Goes over to the ring that the client is in, if that is another one now.
    #[inline]
    fn stay_current(&mut self) -> Result<(), Error> {
        if self.reader.joined.is_current(self.client)? { Ok(()) } else { self.join_again() }
    }

    #[cold]
    fn join_again(&mut self) -> Result<(), Error> {
        let (cursor, joined) = (self.reader.cursor, &self.reader.joined);
        if std::ptr::eq(self.client.membership()?, joined.membership()) {
            // In the same ring it has another slot.
            let mut reader = self.join(Start::New)?;
            reader.cursor = cursor;
            reader.announce_cursor();
            self.reader = reader;
        } else {
            let unread = joined.membership().segment().sent(joined.place()).saturating_sub(cursor);
            self.reader = self.join(Start::Oldest)?;
            self.count_lost(unread.saturating_add(self.reader.cursor));
        }
        if let Some(watch) = self.watch.take().filter(Watch::is_own) {
            self.watch = Some(self.reader.watch(Some(watch.event()))?);
        }
        Ok(())
    }

    fn join(&self, start: Start) -> Result<Reader<'c>, Error> {
        Reader::join(self.client, &self.settings.name, self.settings.lossless, start)
    }

    #[inline]
    fn receive(&mut self, received: Received, guard: PinGuard<'c>) -> Sample<'c> {
        self.receive_as(self.reader.cursor, received, guard)
    }

    #[inline]
    fn receive_as(&mut self, number: u64, received: Received, guard: PinGuard<'c>) -> Sample<'c> {
        let Received { frame, checksummed, committed } = received;
        let membership = self.reader.joined.membership();
        let start = frame.offset - HEADER_SIZE - DESCRIPTOR_SIZE;
        let descriptor = Descriptor::load(membership.segment().descriptor(start));
        membership.ring().count(guard.slot(), Counter::Views, 1);
        let view = View::new(membership, guard, frame, checksummed);
        // No channel gets that far, unless a program scribbles on its tail.
        self.reader.cursor = self.reader.cursor.saturating_add(1);
        // Once the frame is pinned: publishers may let go of it then.
        self.reader.announce_cursor();
        self.received += 1;
        self.expected = frame.size;
        Sample { view, number, committed, descriptor }
    }

    fn count_lost(&mut self, frames: u64) {
        if frames > 0 {
            self.lost = self.lost.saturating_add(frames);
            self.reader.joined.words().missed.lost.fetch_add(frames, Ordering::Relaxed);
        }
    }

    fn count_skipped(&mut self, frames: u64) {
        if frames > 0 {
            self.skipped = self.skipped.saturating_add(frames);
            self.reader.joined.words().missed.skipped.fetch_add(frames, Ordering::Relaxed);
        }
    }
}

/// Waits for one frame after the other, and never ends by itself.
impl<'c> Iterator for Subscriber<'c> {
    type Item = Result<Sample<'c>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self, Duration::MAX).transpose()
    }
}

impl fmt::Debug for Subscriber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("channel", &self.settings.name)
            .field("next_number", &self.reader.cursor)
            .finish_non_exhaustive()
    }
}
