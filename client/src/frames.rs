//! [`Frames`]: the frames that are in a ring now, as it looks from outside.
//!
//! Frames lie one behind the other, and each header names its own place. So whoever looks at a ring from the oldest
//! position on goes from frame to frame by their lengths, and where no frame begins (what a writer has just allocated,
//! or had to leave to somebody who holds it), line by line until one does. No list of frames is needed, and plain
//! frames are found as those of channels are.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::channel::descriptor::Descriptor;
use crate::channel::directory::Directory;
use crate::channel::index::Index;
use crate::checksum::Checksum;
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::{CHANNELS, FRAME_ALIGN, state};
use crate::ring::peek::Peek;
use crate::ring::{Ring, RingMemory};
use crate::segment::{Segment, health};

/// The frames of a ring, oldest first, except that those which somebody holds for longer than a lap come where they
/// lie. From [`frames`].
///
/// The ring is in use meanwhile: a frame was there when it was looked at, and what is allocated since is not listed.
pub struct Frames {
    ring: Ring<Segment>,
    position: u64,
    end: u64,
    /// The names of the channels that frames were found of, by their places.
    names: Vec<Option<String>>,
}

/// A frame as it looks from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// Stream offset of its first byte.
    pub offset: u64,
    /// Bytes: as many as were written, or, until they are, as many as were asked for.
    pub size: u64,
    /// How far its writer is.
    pub state: FrameState,
    /// Whether somebody holds it: a view, a loan, a publisher that keeps it, an operation under way.
    pub in_use: bool,
    /// Its checksum, once it is written.
    pub checksum: Option<Checksum>,
    /// When it was committed.
    pub committed: Option<SystemTime>,
    /// The channel that it was allocated for; `None` for plain frames. Empty if a program has written over the name.
    pub channel: Option<String>,
    /// Its number in the channel. `None` if it was not sent (yet), or is not among the channel's last 1,024.
    pub number: Option<u64>,
    /// What the writer says of it, if it was sent.
    pub descriptor: Option<Descriptor>,
}

/// How far the writer of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameState {
    /// Allocated, not yet written.
    Reserved,
    /// Its writer is writing, or has given up or died.
    Writing,
    /// Written, with the checksum of its bytes.
    Committed,
    /// Written, and not hashed: the checksum only identifies the frame.
    Unhashed,
}

impl FrameState {
    /// The state in one word, for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Writing => "writing",
            Self::Committed => "committed",
            Self::Unhashed => "unhashed",
        }
    }
}

/// The frames that are in the ring with this key in the folder `dir`, without joining the ring: maps its segment
/// read-only and takes no participant slot. Going through them takes time for each frame, and reads through what lies
/// between them.
///
/// # Errors
///
/// As [`stat`](crate::stat), and if the ring's head is where no allocation can have moved it.
pub fn frames(dir: &Path, key: &Key) -> Result<Frames, SegmentError> {
    let segment = Segment::open(dir, key, false)?;
    let end = health::check_head(&segment, 0)?;
    let position = end.saturating_sub(segment.capacity());
    Ok(Frames { ring: Ring::new(segment), position, end, names: vec![None; CHANNELS] })
}

impl Frames {
    /// The name of the channel at this place. A channel never changes its name.
    fn name(&mut self, place: usize) -> String {
        let Self { ring, names, .. } = self;
        let directory = Directory { channels: ring.memory().channels() };
        let name = || directory.list().find(|(found, _)| *found == place).map(|(_, name)| name.as_str());
        let known = &mut names[place];
        if known.is_none() {
            *known = name();
        }
        known.clone().unwrap_or_default()
    }

    /// The frame that was looked at, if it was there meanwhile.
    fn describe(&mut self, seen: &Peek) -> Option<FrameInfo> {
        let descriptor = Descriptor::load(self.ring.memory().descriptor(seen.start));
        let number = seen.sent.and_then(|(place, number)| {
            let memory = self.ring.memory();
            let index = Index::of(&memory.channels()[place], memory.index(place));
            (seen.is_committed() && index.position_of(number) == Some(seen.start)).then_some(number)
        });
        let in_this_lap = self.ring.is_in_this_lap(seen);
        let in_use = self.ring.is_pinned(seen);
        let is_same = || self.ring.peek(seen.start).is_some_and(|again| again.start == seen.start);
        // One that the head has moved past is there for as long as it is held.
        let is_there = in_this_lap || (in_use && is_same());
        if !is_there {
            return None;
        }
        let committed = |value: u64| seen.is_committed().then_some(value);
        Some(FrameInfo {
            offset: seen.offset,
            size: if seen.is_committed() { seen.length } else { seen.allocated },
            state: match seen.state {
                state::RESERVED => FrameState::Reserved,
                state::WRITING => FrameState::Writing,
                state::COMMITTED => FrameState::Committed,
                _ => FrameState::Unhashed,
            },
            in_use,
            checksum: committed(seen.checksum).map(Checksum::from_u64),
            committed: committed(seen.committed).map(|ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)),
            channel: seen.sent.map(|(place, _)| self.name(place)),
            number,
            descriptor: number.map(|_| descriptor),
        })
    }
}

impl Iterator for Frames {
    type Item = FrameInfo;

    fn next(&mut self) -> Option<FrameInfo> {
        while self.position < self.end {
            // Writers may be faster: nothing is left of what they have moved past.
            let head = self.ring.memory().head().load(std::sync::atomic::Ordering::Acquire);
            self.position =
                self.position.max(head.saturating_sub(self.ring.memory().capacity()) / FRAME_ALIGN * FRAME_ALIGN);
            let seen = self.ring.peek(self.position);
            match seen.and_then(|seen| Some((self.describe(&seen)?, seen.end() - seen.start))) {
                Some((frame, length)) => {
                    self.position = self.position.saturating_add(length);
                    return Some(frame);
                }
                None => self.position += FRAME_ALIGN,
            }
        }
        None
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("position", &self.position).field("end", &self.end).finish_non_exhaustive()
    }
}
