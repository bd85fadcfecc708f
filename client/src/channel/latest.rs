//! [`Latest`]: the last frame of a channel, as it looks from outside.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::descriptor::Descriptor;
use super::directory::{Directory, Name};
use super::index::Index;
use crate::checksum::Checksum;
use crate::error::Error;
use crate::frame::Frame;
use crate::key::Key;
use crate::ring::{Ring, RingMemory};
use crate::segment::Segment;
use crate::server::FrameBufferServer;

/// Frames that may be sent while one looks for the last.
const TRIES: usize = 100;

/// What is known of the last frame of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Latest {
    /// The ring has no channel of this name.
    NoChannel,
    /// Nothing was sent over the channel.
    NothingSent,
    /// The last frame is no longer there: the ring has moved past it, and its publisher keeps nothing, or has ended.
    Overwritten {
        /// Its number.
        number: u64,
    },
    /// It is there.
    There(LatestFrame),
}

/// The last frame of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatestFrame {
    /// Its sequence number in the channel, from 0 on.
    pub number: u64,
    /// Its description, with which any client of the ring can read it.
    pub frame: Frame,
    /// Whether the checksum is that of its bytes; otherwise it only identifies the frame.
    pub hashed: bool,
    /// When it was committed.
    pub committed: SystemTime,
    /// What the writer says of it.
    pub descriptor: Descriptor,
}

/// The last frame of the channel with this name, in the ring with this key in the folder `dir`, without joining the
/// ring: maps its segment read-only and takes no participant slot.
///
/// # Errors
///
/// [`Error::Channel`] if the name is out of bounds; [`Error::Join`] as [`stat`](crate::stat).
pub fn latest(dir: &Path, key: &Key, name: &str) -> Result<Latest, Error> {
    let name = Name::new(name)?;
    Ok(latest_in(&Ring::new(Segment::open(dir, key, false)?), &name))
}

impl FrameBufferServer {
    /// The last frame of the channel with this name. It holds nothing: the frame may be overwritten at any time.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the name is out of bounds; [`Error::Stopped`]; [`Error::OwnershipLost`];
    /// [`Error::OutOfOrder`] if the ring's file was cut short.
    pub fn latest(&self, name: &str) -> Result<Latest, Error> {
        let name = Name::new(name)?;
        Ok(latest_in(self.confirmed()?.ring(), &name))
    }
}

fn latest_in(ring: &Ring<Segment>, name: &Name) -> Latest {
    let channels = ring.memory().channels();
    let Some((place, _)) = Directory { channels }.list().find(|(_, found)| found == name) else {
        return Latest::NoChannel;
    };
    let index = Index::of(&channels[place], ring.memory().index(place));
    let mut last = index.last();
    for _ in 0..TRIES {
        let Some(number) = last else { return Latest::NothingSent };
        if let Some(found) = look_at(ring, index, place, number) {
            return Latest::There(found);
        }
        let now = index.last();
        if now == last {
            return Latest::Overwritten { number };
        }
        last = now;
    }
    last.map_or(Latest::NothingSent, |number| Latest::Overwritten { number })
}

/// The frame with this number, if it is there.
fn look_at(ring: &Ring<Segment>, index: Index<'_>, place: usize, number: u64) -> Option<LatestFrame> {
    let start = index.position_of(number)?;
    let seen = ring.peek(start)?;
    let descriptor = Descriptor::load(ring.memory().descriptor(start));
    let is_it = seen.start == start && seen.sent == Some((place, number)) && seen.is_committed();
    (is_it && ring.is_there(&seen)).then(|| LatestFrame {
        number,
        frame: Frame {
            offset: seen.offset,
            size: seen.length,
            checksum: Checksum::from_u64(seen.checksum),
            ring: Some(ring.memory().id()),
        },
        hashed: seen.is_hashed(),
        committed: SystemTime::UNIX_EPOCH + Duration::from_nanos(seen.committed),
        descriptor,
    })
}
