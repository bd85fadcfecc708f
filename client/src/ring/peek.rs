//! Looking at headers and descriptors without a pin, and without writing: from outside, where nobody is a participant.
//!
//! Look, then ask whether the frame was there all the time: after an Acquire fence, the head has not moved past it, or
//! a pin holds it. Whoever writes over a header has moved the head before, with a fence in between, so whoever has read
//! what was written over sees that head. Payload is never looked at this way.

use super::{Ring, RingMemory};
use crate::layout::{CHANNELS, DESCRIPTOR_SIZE, FRAME_ALIGN, FREE, HEADER_SIZE, PARTICIPANTS, state};
use crate::sync::{Ordering, fence};

/// What the header of a frame says. It is true only if the frame is found [there](Ring::is_there) afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peek {
    /// Stream position of its beginning: of its descriptor, if it has one, or else its header.
    pub(crate) start: u64,
    /// Stream offset of its payload.
    pub(crate) offset: u64,
    /// Bytes allocated for the payload.
    pub(crate) allocated: u64,
    /// Bytes committed.
    pub(crate) length: u64,
    /// One of [`state`].
    pub(crate) state: u64,
    pub(crate) checksum: u64,
    /// When it was committed, in nanoseconds since 1970.
    pub(crate) committed: u64,
    /// The place of the channel that it is for, and the number in its descriptor.
    pub(crate) sent: Option<(usize, u64)>,
}

impl Peek {
    pub(crate) fn is_committed(&self) -> bool {
        matches!(self.state, state::COMMITTED | state::COMMITTED_UNHASHED)
    }

    /// Whether the checksum is that of the bytes.
    pub(crate) fn is_hashed(&self) -> bool {
        self.state == state::COMMITTED
    }

    /// Stream position of its end.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.allocated).checked_next_multiple_of(FRAME_ALIGN).unwrap_or(u64::MAX)
    }
}

/// No pin's place.
const NOBODY: (usize, usize) = (PARTICIPANTS, 0);

impl<M: RingMemory> Ring<M> {
    /// Looks for a frame that begins where stream position `position` lies in the ring, in the lap of that position or
    /// one before. A frame is known by its header, which names its own place.
    pub(crate) fn peek(&self, position: u64) -> Option<Peek> {
        self.peek_behind(DESCRIPTOR_SIZE, position).or_else(|| self.peek_behind(0, position))
    }

    /// As [`peek`](Self::peek), for a frame with `front` bytes before its header.
    fn peek_behind(&self, front: u64, position: u64) -> Option<Peek> {
        let position = position.saturating_add(front);
        let header = self.memory.header(position);
        // Acquire, pairs with the Release of `allocate`.
        let offset = header.offset.load(Ordering::Acquire);
        let laps_behind = position.saturating_add(HEADER_SIZE).checked_sub(offset)?;
        let start = offset.checked_sub(HEADER_SIZE + front)?;
        if !laps_behind.is_multiple_of(self.memory.capacity()) {
            return None;
        }
        // SYNC POINT "commit", see `Ring::commit`.
        let state = header.state.load(Ordering::Acquire);
        let [allocated, length, checksum, committed, channel] =
            [&header.allocated, &header.length, &header.checksum, &header.committed, &header.channel]
                .map(|word| word.load(Ordering::Relaxed));
        let is_sound = (state::RESERVED..=state::COMMITTED_UNHASHED).contains(&state)
            && length <= allocated
            && allocated <= self.memory.size()
            && channel <= CHANNELS as u64
            && (channel == 0) == (front == 0);
        let number = || self.memory.descriptor(start).number.load(Ordering::Relaxed);
        let sent = (channel as usize).checked_sub(1).map(|place| (place, number()));
        is_sound.then_some(Peek { start, offset, allocated, length, state, checksum, committed, sent })
    }

    /// Whether the frame was there when it was looked at, for whoever asks for it: the ring has not moved past it, or
    /// its sender keeps it.
    pub(crate) fn is_there(&self, peek: &Peek) -> bool {
        self.is_in_this_lap(peek) || self.is_vouched_for(peek.start, NOBODY)
    }

    /// Whether the ring has not moved past the frame since it was looked at.
    pub(crate) fn is_in_this_lap(&self, peek: &Peek) -> bool {
        // What was read before this was read before the head.
        fence(Ordering::Acquire);
        let head = self.memory.head().load(Ordering::Acquire);
        peek.end() <= head && peek.start.saturating_add(self.memory.capacity()) >= head
    }

    /// Whether somebody has pinned the frame.
    pub(crate) fn is_pinned(&self, peek: &Peek) -> bool {
        fence(Ordering::Acquire);
        let head = self.memory.head().load(Ordering::Acquire);
        let header = peek.offset - HEADER_SIZE;
        self.any_pin(head, FREE, NOBODY, |_, pinned| (pinned.start..pinned.end).contains(&header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::ring::frame::{Checksummed, InitialState};
    use crate::ring::heap::Heap;
    use crate::ring::participants::{Liveness, SlotLocks};

    /// Everybody lives.
    struct NoLocks;

    impl SlotLocks for NoLocks {
        fn liveness(&self, _: usize) -> Liveness {
            Liveness::Alive
        }
        fn recent_liveness(&self, _: usize) -> Liveness {
            Liveness::Alive
        }
        fn try_repair(&self, _: usize, action: impl FnOnce()) {
            action();
        }
    }

    #[test]
    fn a_frame_is_there_until_the_ring_has_moved_past_it_or_for_as_long_as_its_sender_keeps_it() {
        let ring = Ring::new(Heap::new(1024));
        let claim = ring.enroll(1);
        let pin = || ring.take_pin(claim).expect("a pin");
        let kept = pin();
        let offset = ring.allocate_to_send(100, 5, &kept, &NoLocks).expect("room");
        let seen = ring.peek(0).expect("a frame");
        assert_eq!((seen.offset, seen.allocated, seen.sent, seen.is_committed()), (128, 100, Some((5, 0)), false));
        assert!(ring.is_there(&seen) && ring.is_pinned(&seen) && ring.peek(64).is_none());

        let frame = Frame::new(offset, 100, crate::Checksum::of(b""));
        ring.commit(&frame, Checksummed::Bytes, 77, &kept).expect("it has its slot");
        kept.vouch();
        for _ in 0..8 {
            ring.allocate(100, InitialState::Writing, &pin(), &NoLocks).expect("room beside it");
        }
        let seen = ring.peek(2048).expect("a frame of two laps before");
        assert_eq!((seen.offset, seen.length, seen.committed, seen.is_hashed()), (128, 100, 77, true));
        assert!(!ring.is_in_this_lap(&seen) && ring.is_there(&seen) && ring.is_pinned(&seen));
        drop(kept);
        assert!(!ring.is_there(&seen) && !ring.is_pinned(&seen));
    }

    #[test]
    fn what_only_looks_like_a_header_is_no_frame() {
        let ring = Ring::new(Heap::new(1024));
        let claim = ring.enroll(1);
        let pin = ring.take_pin(claim).expect("a pin");
        ring.allocate(100, InitialState::Writing, &pin, &NoLocks).expect("room");
        let header = ring.memory().header(0);
        assert!(ring.peek(0).is_some());
        let words = [&header.offset, &header.allocated, &header.length, &header.state, &header.channel];
        for word in words {
            for scribbled in [u64::MAX, u64::MAX - 63, 1 << 40, 65 + 64 * 1024] {
                let before = word.load(Ordering::Relaxed);
                word.store(scribbled, Ordering::Relaxed);
                assert_eq!(ring.peek(0), None, "{scribbled}");
                assert_eq!(ring.peek(u64::MAX / 64 * 64).map(|peek| ring.is_there(&peek)), None);
                word.store(before, Ordering::Relaxed);
            }
        }
    }
}
