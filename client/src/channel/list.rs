//! [`ChannelInfo`]: a channel as it looks from outside.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::cursors::Cursors;
use super::directory::{Directory, content_type};
use super::joined::participant;
use crate::attachments::Role;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::ChannelWords;
use crate::ring::{Ring, RingMemory};
use crate::segment::Segment;
use crate::server::FrameBufferServer;

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
    /// The number of the first frame that it has not received yet.
    pub next_number: u64,
}

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
    let sent_at = words.tail.sent_at.load(Ordering::Relaxed);
    let lossless = Cursors::of(words).list().filter_map(|cursor| {
        Some(LosslessInfo { participant: participant(cursor.holder)?, next_number: cursor.number })
    });
    ChannelInfo {
        name,
        content_type: content_type(words),
        frames: words.tail.next.load(Ordering::Relaxed),
        bytes: words.tail.bytes.load(Ordering::Relaxed),
        lost: words.missed.lost.load(Ordering::Relaxed),
        skipped: words.missed.skipped.load(Ordering::Relaxed),
        publishers: having(Role::Publisher),
        subscribers: having(Role::Subscriber),
        lossless: lossless.collect(),
        last_sent: (sent_at != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(sent_at)),
    }
}
