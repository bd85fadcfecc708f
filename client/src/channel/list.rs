//! [`ChannelInfo`]: a channel as it looks from outside.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, SystemTime};

use super::cursors::{Cursor, Cursors};
use super::directory::{Directory, Name, content_type};
use super::joined::{holder, participant};
use crate::attachments::Role;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::ChannelWords;
use crate::ring::{Ring, RingMemory};
use crate::segment::Segment;
use crate::server::FrameBufferServer;
use crate::stats::{Metric, MetricValue, counter, gauge};

/// A channel of a ring, and its figures since the ring was made. They are read one after the other while the channel is
/// in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// Its content type, if a publisher has given one.
    pub content_type: Option<String>,
    /// Frames that were sent.
    pub frames: u64,
    /// Bytes of all these frames.
    pub bytes: u64,
    /// Frames that subscribers have lost, all told.
    pub lost: u64,
    /// Frames that subscribers have skipped, all told.
    pub skipped: u64,
    /// Participants that publish.
    pub publishers: usize,
    /// Participants that subscribe.
    pub subscribers: usize,
    /// The lossless subscribers among them.
    pub lossless: Vec<LosslessInfo>,
    /// When the last frame was sent.
    pub last_sent: Option<SystemTime>,
}

/// A lossless subscriber of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LosslessInfo {
    /// The participant, by the number of its slot.
    pub participant: usize,
    /// The id of its process, as that process knows it: in another PID namespace (another container, usually) it means
    /// nothing, or another process.
    pub process: Option<u32>,
    /// The number of the first frame that it has not received yet.
    pub next_number: u64,
    /// Frames that it has yet to receive. A publisher that keeps so many waits for it.
    pub unread: u64,
}

impl ChannelInfo {
    /// Frames that the slowest lossless subscriber has yet to receive. 0 without any.
    pub fn most_unread(&self) -> u64 {
        self.lossless.iter().map(|subscriber| subscriber.unread).max().unwrap_or(0)
    }

    /// How long ago the last frame was sent; 0 if that seems to lie in the future.
    pub fn last_frame_age(&self) -> Option<Duration> {
        self.last_sent.map(|sent| sent.elapsed().unwrap_or_default())
    }

    /// Its figures, for whoever exports them with the channel's name as a label; the same ones in the same order for
    /// each channel. `None` for what it does not have: a last frame before the first was sent.
    pub fn metrics(&self) -> impl Iterator<Item = (Metric, Option<MetricValue>)> + use<> {
        let age = self.last_frame_age().map(|age| MetricValue::Seconds(age.as_secs_f64()));
        let figures: [(Metric, Option<MetricValue>); 9] = [
            (SENT, Some(self.frames.into())),
            (SENT_BYTES, Some(self.bytes.into())),
            (LOST, Some(self.lost.into())),
            (SKIPPED, Some(self.skipped.into())),
            (PUBLISHERS, Some(self.publishers.into())),
            (SUBSCRIBERS, Some(self.subscribers.into())),
            (LOSSLESS, Some(self.lossless.len().into())),
            (UNREAD, Some(self.most_unread().into())),
            (AGE, age),
        ];
        figures.into_iter()
    }
}

const SENT: Metric = counter("channel_frames_sent").of("frames", "Frames sent over the channel.");
const SENT_BYTES: Metric = counter("channel_sent").in_bytes().of("bytes", "Bytes sent over the channel.");
const LOST: Metric =
    counter("channel_frames_lost").of("lost", "Frames overwritten before a subscriber of the channel received them.");
const SKIPPED: Metric = counter("channel_frames_skipped")
    .of("skipped", "Frames that subscribers of the channel passed over for a newer one.");
const PUBLISHERS: Metric =
    gauge("channel_publishers").of("publishers", "Participants that publish on the channel now.");
const SUBSCRIBERS: Metric =
    gauge("channel_subscribers").of("subscribers", "Participants that subscribe to the channel now.");
const LOSSLESS: Metric = gauge("channel_lossless_subscribers")
    .of("lossless", "Lossless subscribers of the channel now, which publishers wait for.");
const UNREAD: Metric = gauge("channel_unread_frames")
    .of("unread", "Frames that the slowest lossless subscriber of the channel has yet to receive.");
const AGE: Metric = gauge("channel_last_frame_age")
    .in_seconds()
    .of("last_sent", "How long ago the last frame was sent over the channel. Absent before the first.");

/// The channels of the ring with this key in the folder `dir`, without joining the ring: maps its segment read-only and
/// takes no participant slot. Sorted by name.
///
/// # Errors
///
/// As [`stat`](crate::stat).
pub fn channels(dir: &Path, key: &Key) -> Result<Vec<ChannelInfo>, SegmentError> {
    Ok(list(&Ring::new(Segment::open(dir, key, false)?)))
}

impl FrameBufferClient {
    /// The channels of the ring, sorted by name.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn channels(&self) -> Result<Vec<ChannelInfo>, Error> {
        Ok(list(self.joined()?.ring()))
    }

    /// The channel with this name. `None` if the ring has none.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], and [`Error::Channel`] if the name is out of bounds.
    pub fn channel(&self, name: &str) -> Result<Option<ChannelInfo>, Error> {
        find(self.joined()?.ring(), name)
    }
}

impl FrameBufferServer {
    /// The channels of the ring, sorted by name.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OwnershipLost`]; [`Error::OutOfOrder`] if the ring's file was cut short.
    pub fn channels(&self) -> Result<Vec<ChannelInfo>, Error> {
        Ok(list(self.confirmed()?.ring()))
    }

    /// The channel with this name. `None` if the ring has none.
    ///
    /// # Errors
    ///
    /// As [`channels`](Self::channels), and [`Error::Channel`] if the name is out of bounds.
    pub fn channel(&self, name: &str) -> Result<Option<ChannelInfo>, Error> {
        find(self.confirmed()?.ring(), name)
    }
}

fn find(ring: &Ring<Segment>, name: &str) -> Result<Option<ChannelInfo>, Error> {
    let (name, channels) = (Name::new(name)?, ring.memory().channels());
    let found = Directory { channels }.list().find(|(_, found)| *found == name);
    Ok(found.map(|(place, name)| look_at(ring, &channels[place], place, name.as_str())))
}

fn list(ring: &Ring<Segment>) -> Vec<ChannelInfo> {
    let channels = ring.memory().channels();
    let named = Directory { channels }.list();
    let mut list: Vec<_> = named.map(|(place, name)| look_at(ring, &channels[place], place, name.as_str())).collect();
    list.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    list
}

fn look_at(ring: &Ring<Segment>, words: &ChannelWords, place: usize, name: String) -> ChannelInfo {
    let having = |role: Role| {
        let attached = ring.taken().map(|claim| &ring.memory().slot(claim.slot).attached);
        attached.filter(|words| role.word(words).load(Ordering::Relaxed) & 1 << place != 0).count()
    };
    let sent_at = words.sent.last_at.load(Ordering::Relaxed);
    let lossless: Vec<_> = Cursors::of(words).list().filter_map(|cursor| lossless_info(ring, cursor)).collect();
    // After the cursors: none is ahead of it.
    let frames = words.tail.next.load(Ordering::Acquire);
    let unread = |info: LosslessInfo| LosslessInfo { unread: frames.saturating_sub(info.next_number), ..info };
    ChannelInfo {
        name,
        content_type: content_type(words),
        frames,
        bytes: words.sent.bytes.load(Ordering::Relaxed),
        lost: words.missed.lost.load(Ordering::Relaxed),
        skipped: words.missed.skipped.load(Ordering::Relaxed),
        publishers: having(Role::Publisher),
        subscribers: having(Role::Subscriber),
        lossless: lossless.into_iter().map(unread).collect(),
        last_sent: (sent_at != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(sent_at)),
    }
}

/// Who has this cursor. `None` if its holder is no participant any more.
fn lossless_info(ring: &Ring<Segment>, cursor: Cursor) -> Option<LosslessInfo> {
    let participant = participant(cursor.holder)?;
    let process = ring.memory().slot(participant).process.load(Ordering::Relaxed);
    // After the process was read, so that it is this one's.
    fence(Ordering::Acquire);
    let is_current = holder(ring.claim(participant)) == cursor.holder;
    let process = u32::try_from(process).ok().filter(|process| *process != 0);
    is_current.then_some(LosslessInfo { participant, process, next_number: cursor.number, unread: 0 })
}
