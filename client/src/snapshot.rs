//! Reading a ring's [`Stats`] out of its segment.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::PARTICIPANTS;
use crate::ring::{Ring, RingMemory};
use crate::segment::locks::has_owner;
use crate::segment::{Segment, health, open_file};
use crate::stats::{Counters, Stats};

/// Reads the statistics of the ring with this key in the folder `dir`, without joining the ring: maps its segment
/// read-only and takes no participant slot.
///
/// # Errors
///
/// As [`FrameBufferClient::open`](crate::FrameBufferClient::open), except those of joining.
pub fn stat(dir: &Path, key: &Key) -> Result<Stats, SegmentError> {
    let segment = Segment::open(dir, key, false)?;
    Ok(stats(&Ring::new(segment)))
}

/// A ring as it looks from outside, from [`inspect`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Inspection {
    /// Its statistics.
    pub stats: Stats,
    /// Whether a server owns it. One that is kept may be without for a while.
    pub has_owner: bool,
}

/// Checks the ring with this key in the folder `dir` from outside, as its owner does from inside
/// ([`FrameBufferServer::check`](crate::FrameBufferServer::check)). Changes nothing and takes no participant slot.
///
/// # Errors
///
/// As [`stat`], and if the ring is retired, or its head is where no allocation can have moved it.
pub fn inspect(dir: &Path, key: &Key) -> Result<Inspection, SegmentError> {
    let file = open_file(dir, key, false)?;
    let segment = Segment::open(dir, key, false)?;
    health::check_not_retired(&file)?;
    health::check_head(&segment, 0)?;
    let has_owner = has_owner(&file).map_err(SegmentError::io("look at the owner's lock"))?;
    Ok(Inspection { stats: stats(&Ring::new(segment)), has_owner })
}

/// Reads a ring's statistics.
pub(crate) fn stats(ring: &Ring<Segment>) -> Stats {
    let segment = ring.memory();
    let control = segment.control();
    let head = control.head.load(Ordering::Relaxed);
    let mut counters = Counters::default();
    for slot in 0..PARTICIPANTS {
        let words = &segment.slot(slot).counters.words;
        counters.add(|counter| words[counter as usize].load(Ordering::Relaxed));
    }
    Stats {
        size: segment.size(),
        capacity: segment.capacity(),
        head,
        laps: head / segment.capacity(),
        participants: ring.participants(),
        max_participants: PARTICIPANTS,
        pins: ring.pins(),
        huge_pages: control.huge.load(Ordering::Relaxed),
        created: SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_nanos(control.created.load(Ordering::Relaxed)))
            .unwrap_or(SystemTime::UNIX_EPOCH),
        counters,
    }
}
