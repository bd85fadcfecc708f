//! [`Subscriber`]: receives the frames of a channel.

use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use super::descriptor::Descriptor;
use super::directory::Name;
use super::index::Recorded;
use super::joined::Joined;
use super::watch::Watch;
use crate::attachments::Role;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::error::segment::SegmentError;
use crate::frame::Frame;
use crate::layout::{DESCRIPTOR_SIZE, HEADER_SIZE, INDEX};
use crate::os::futex;
use crate::ring::RingMemory;
use crate::ring::frame::Received;
use crate::slots::PinGuard;
use crate::stats::Counter;
use crate::view::View;

/// How long a subscriber sleeps before it looks again by itself: a publisher may have been killed after it had sent a
/// frame and before it had woken anybody.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a ring that was given up is left alone between two attempts to find the next one.
const PAUSE: Duration = Duration::from_millis(100);

/// For how long a subscriber looks all the time before it sleeps, unless it is told otherwise. To wake a sleeper takes
/// about as long. Not on a machine with one processor, where nobody could send meanwhile.
const SPIN: Duration = Duration::from_micros(20);

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
    channel: Channel<'c>,
    received: u64,
    lost: u64,
    skipped: u64,
    /// Frames that it had yet to receive when its ring was given up.
    unread: u64,
    /// Bytes of the last frame: the next one is probably as large.
    expected: u64,
    watch: Option<Watch>,
}

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

/// The channel in the ring that the client is in.
struct Channel<'c> {
    joined: Joined<'c>,
    /// The number of the next frame to receive.
    cursor: u64,
    /// The place of the cursor that publishers wait for.
    lossless: Option<LosslessPlace>,
}

struct LosslessPlace {
    place: usize,
    holder: u64,
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

fn default_spin() -> Duration {
    /// Nanoseconds plus 1; 0 as long as nobody has asked for the number of processors, which takes a while.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    if let Some(nanoseconds) = KNOWN.load(Ordering::Relaxed).checked_sub(1) {
        return Duration::from_nanos(nanoseconds);
    }
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    let spin = if several { SPIN } else { Duration::ZERO };
    KNOWN.store(spin.as_nanos() as u64 + 1, Ordering::Relaxed);
    spin
}

impl<'c> SubscriberOptions<'c> {
    /// Where to begin. Default: [`Start::Latest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Asks publishers to wait for this subscriber: nothing that is sent after it was opened is overwritten before it
    /// has received it. A publisher that keeps `k` frames sends while the subscriber is less than `k` frames behind;
    /// then its `send` fails with [`ChannelError::Backlog`], or waits, as it is asked to. Other channels are not
    /// affected. A subscriber that dies holds nobody up.
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
        let channel = Channel::join(client, &settings, start)?;
        Ok(Subscriber {
            client,
            settings,
            channel,
            received: 0,
            lost: 0,
            skipped: 0,
            unread: 0,
            expected: 0,
            watch: None,
        })
    }
}

impl<'c> Channel<'c> {
    fn join(client: &'c FrameBufferClient, settings: &Settings, start: Start) -> Result<Self, Error> {
        let joined = Joined::new(client, &settings.name, Role::Subscriber)?;
        let lossless = settings.lossless.then(|| LosslessPlace::take(&joined, &settings.name)).transpose()?;
        // After the place was taken: from this number on a lossless subscriber loses nothing.
        let next = joined.index().next_after_me();
        let mut channel = Self { joined, cursor: next, lossless };
        channel.cursor = match start {
            Start::New => next,
            Start::Latest => channel.oldest_from(next.saturating_sub(1), next)?,
            Start::After(number) if number < next => number + 1,
            Start::Oldest | Start::After(_) => channel.oldest_from(next.saturating_sub(INDEX as u64), next)?,
        };
        channel.announce_cursor();
        Ok(channel)
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
    fn look_up(&self, number: u64, expected: u64) -> Result<Result<(Received, PinGuard<'c>), Missing>, Error> {
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
    fn watch(&self, event: Option<Arc<EventFd>>) -> Result<Watch, Error> {
        let mapping = Arc::clone(self.joined.membership().segment().mapping());
        let watch = Watch::start(mapping, self.joined.place(), event)
            .map_err(SegmentError::io("start a thread that waits for frames"))?;
        watch.wait_for(self.cursor);
        Ok(watch)
    }

    /// Tells publishers where this subscriber is, if it is lossless.
    #[inline]
    fn announce_cursor(&self) {
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
        let place = joined.cursors().begin(holder, number, |holder| joined.is_gone(holder));
        let place = place.ok_or_else(|| ChannelError::TooManyLossless { name: name.as_str() })?;
        if joined.has(Role::KeepsNone) {
            joined.cursors().end(place, holder);
            return Err(ChannelError::KeepsNone { name: name.as_str() }.into());
        }
        Ok(Self { place, holder })
    }
}

impl Drop for Channel<'_> {
    fn drop(&mut self) {
        let Some(LosslessPlace { place, holder }) = self.lossless else { return };
        if self.joined.is_own() && self.joined.cursors().end(place, holder) {
            futex::wake_all(&self.joined.words().missed.moves);
        }
    }
}

/// Why there is no frame with a number.
enum Missing {
    NotYet,
    /// It is gone, and so are all below this one.
    Lost {
        next: u64,
    },
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
                    watch.wait_for(self.channel.cursor);
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
            match self.channel.look_up(self.channel.cursor, self.expected)? {
                Ok((received, guard)) => return Ok(Some(self.receive(received, guard))),
                Err(Missing::NotYet) => {
                    if let Some(watch) = &self.watch {
                        watch.wait_for(self.channel.cursor);
                    }
                    return Ok(None);
                }
                // No channel gets that far, unless a program scribbles on its tail.
                Err(Missing::Lost { next }) if next <= self.channel.cursor => return Ok(None),
                Err(Missing::Lost { next }) => {
                    self.count_lost(next - self.channel.cursor);
                    self.channel.cursor = next;
                    self.channel.announce_cursor();
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
        let (first, next) = (self.channel.cursor, self.channel.joined.index().next());
        // What is older is not in the index any more.
        for number in (first.max(next.saturating_sub(INDEX as u64))..next).rev() {
            if let Ok((received, guard)) = self.channel.look_up(number, self.expected)? {
                // What is newer than this one has been overwritten before it.
                self.count_lost(next - 1 - number);
                self.count_skipped(number - first);
                self.channel.cursor = next - 1;
                return Ok(Some(self.receive_as(number, received, guard)));
            }
        }
        self.count_lost(next.saturating_sub(first));
        self.channel.cursor = next.max(first);
        self.channel.announce_cursor();
        Ok(None)
    }

    /// Waits until the next frame is there, for at most `timeout`, or a signal arrives, which returns
    /// [`ControlFlow::Break`]. May return earlier.
    pub(crate) fn wait(&self, timeout: Duration) -> ControlFlow<()> {
        if self.channel.joined.membership().segment().is_retired() {
            std::thread::sleep(timeout.min(PAUSE));
            return ControlFlow::Continue(());
        }
        if self.spin(timeout) {
            return ControlFlow::Continue(());
        }
        let (index, cursor) = (self.channel.joined.index(), self.channel.cursor);
        if !index.announce_sleep(cursor) {
            return ControlFlow::Continue(());
        }
        match futex::wait(&self.channel.joined.words().tail.next, cursor, timeout.min(LOOK_AGAIN)) {
            Ok(()) => {}
            Err(Errno::EINTR) => return ControlFlow::Break(()),
            // A sandbox without futexes.
            Err(_) => std::thread::sleep(timeout.min(Duration::from_millis(1))),
        }
        ControlFlow::Continue(())
    }

    /// Looks for the next frame all the time, for a while. Whether it is there.
    fn spin(&self, timeout: Duration) -> bool {
        let limit = self.settings.spin.min(timeout);
        if limit.is_zero() {
            return false;
        }
        let (index, begun) = (self.channel.joined.index(), Instant::now());
        loop {
            // To look at the clock takes longer than to look at the tail.
            for _ in 0..32 {
                if index.next() != self.channel.cursor {
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() >= limit {
                return false;
            }
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
            None => self.channel.watch(None)?,
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
        self.channel.cursor
    }

    /// The channel's name.
    pub fn channel(&self) -> String {
        self.settings.name.as_str()
    }

    /// Goes over to the ring that the client is in, if that is another one now.
    #[inline]
    fn stay_current(&mut self) -> Result<(), Error> {
        if self.channel.joined.membership().segment().is_retired() {
            // Before the client goes over to the next ring, and gives the memory of this one up.
            self.unread = self.channel.joined.index().next().saturating_sub(self.channel.cursor);
        }
        if self.channel.joined.is_current(self.client)? { Ok(()) } else { self.join_again() }
    }

    #[cold]
    fn join_again(&mut self) -> Result<(), Error> {
        let (cursor, joined) = (self.channel.cursor, &self.channel.joined);
        if std::ptr::eq(self.client.membership()?, joined.membership()) {
            // In the same ring it has another slot.
            let mut channel = Channel::join(self.client, &self.settings, Start::New)?;
            channel.cursor = cursor;
            channel.announce_cursor();
            self.channel = channel;
        } else {
            self.channel = Channel::join(self.client, &self.settings, Start::Oldest)?;
            let unread = std::mem::take(&mut self.unread);
            self.count_lost(unread.saturating_add(self.channel.cursor));
        }
        if let Some(watch) = self.watch.take().filter(Watch::is_own) {
            self.watch = Some(self.channel.watch(Some(watch.event()))?);
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, received: Received, guard: PinGuard<'c>) -> Sample<'c> {
        self.receive_as(self.channel.cursor, received, guard)
    }

    #[inline]
    fn receive_as(&mut self, number: u64, received: Received, guard: PinGuard<'c>) -> Sample<'c> {
        let Received { frame, checksummed, committed } = received;
        let membership = self.channel.joined.membership();
        let start = frame.offset - HEADER_SIZE - DESCRIPTOR_SIZE;
        let descriptor = Descriptor::load(membership.segment().descriptor(start));
        membership.ring().count(guard.slot(), Counter::Views, 1);
        let view = View::new(membership, guard, frame, checksummed);
        // No channel gets that far, unless a program scribbles on its tail.
        self.channel.cursor = self.channel.cursor.saturating_add(1);
        // Once the frame is pinned: publishers may let go of it then.
        self.channel.announce_cursor();
        self.received += 1;
        self.expected = frame.size;
        Sample { view, number, committed, descriptor }
    }

    fn count_lost(&mut self, frames: u64) {
        if frames > 0 {
            self.lost = self.lost.saturating_add(frames);
            self.channel.joined.words().missed.lost.fetch_add(frames, Ordering::Relaxed);
        }
    }

    fn count_skipped(&mut self, frames: u64) {
        if frames > 0 {
            self.skipped = self.skipped.saturating_add(frames);
            self.channel.joined.words().missed.skipped.fetch_add(frames, Ordering::Relaxed);
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
            .field("next_number", &self.channel.cursor)
            .finish_non_exhaustive()
    }
}

/// A frame that was received: a [`View`] of its bytes in the ring, which do not change while it lives, and what was
/// said of it.
pub struct Sample<'c> {
    view: View<'c>,
    number: u64,
    committed: u64,
    descriptor: Descriptor,
}

impl<'c> Sample<'c> {
    /// Its sequence number in the channel, from 0 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the writer says of it.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// When its content is from, in nanoseconds, as the writer says; when it was committed, in nanoseconds since 1970,
    /// if the writer says nothing.
    pub fn time(&self) -> u64 {
        match self.descriptor.time_nanoseconds() {
            0 => self.committed,
            time => time,
        }
    }

    /// When it was committed, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Its description, with which any client of the ring can read it.
    pub fn frame(&self) -> &Frame {
        self.view.frame()
    }

    /// Its bytes.
    pub fn view(&self) -> &View<'c> {
        &self.view
    }

    /// Its bytes, without the rest.
    pub fn into_view(self) -> View<'c> {
        self.view
    }
}

impl Deref for Sample<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.view
    }
}

impl AsRef<[u8]> for Sample<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("number", &self.number)
            .field("frame", self.frame())
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}
