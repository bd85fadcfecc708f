//! Allocation: moving the head on, past every range that is in use.

use super::detour::Detour;
use super::frame::InitialState;
use super::participants::SlotLocks;
use super::pin::{Pin, Range};
use super::{Ring, RingMemory};
use crate::error::Error;
use crate::layout::{DESCRIPTOR_SIZE, FRAME_ALIGN, HEADER_SIZE};
use crate::stats::Counter;
use crate::sync::{Ordering, fence};

/// No ring reaches stream positions beyond this (at 100 GB/s it takes 2.9 years): a head there is damage.
pub(crate) const MAX_POSITION: u64 = 1 << 63;

/// How much of the ring an allocation may lose to pins that came between its search and its move, in laps. Each of them
/// is another operation's success.
const MOST_LAPS_LOST: u64 = 8;

impl<M: RingMemory> Ring<M> {
    /// Allocates a frame of `size` bytes and returns its payload's stream offset. `pin` protects the frame afterwards.
    #[inline]
    pub(crate) fn allocate(
        &self,
        size: u64,
        initial_state: InitialState,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<u64, Error> {
        self.allocate_behind(0, size, initial_state, pin, locks)
    }

    /// As [`allocate`](Self::allocate), a frame that is to be sent over the channel at this place: in front of its
    /// header there is room for a descriptor. The caller goes on to write it under `pin`.
    #[inline]
    pub(crate) fn allocate_to_send(
        &self,
        size: u64,
        channel: usize,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<u64, Error> {
        self.allocate_behind(channel as u64 + 1, size, InitialState::Writing, pin, locks)
    }

    /// Allocates a frame for the channel at place `channel` - 1; without a descriptor if that is 0.
    #[inline]
    fn allocate_behind(
        &self,
        channel: u64,
        size: u64,
        initial_state: InitialState,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<u64, Error> {
        let slot = pin.place().0;
        let front = if channel == 0 { HEADER_SIZE } else { DESCRIPTOR_SIZE + HEADER_SIZE };
        let range = self.reserve(front, size, pin, locks).inspect_err(|error| {
            if matches!(error, Error::Exhausted { .. }) {
                self.count(slot, Counter::Exhausted, 1);
            }
        })?;
        let offset = range.start + front;
        let header = self.memory.header(offset - HEADER_SIZE);
        header.allocated.store(size, Ordering::Relaxed);
        header.channel.store(channel, Ordering::Relaxed);
        header.length.store(0, Ordering::Relaxed);
        header.state.store(initial_state as u64, Ordering::Relaxed);
        // Release, pairs with the Acquire of `lookup`: whoever finds its offset here finds the rest of the header.
        header.offset.store(offset, Ordering::Release);
        self.count(slot, Counter::Allocations, 1);
        self.count(slot, Counter::AllocatedBytes, size);
        Ok(offset)
    }

    /// Moves the head over a range for a frame of `size` bytes, with `front` bytes before it, that nobody else touches
    /// while `pin` protects it.
    #[inline]
    fn reserve(&self, front: u64, size: u64, pin: &Pin<'_, M>, locks: &impl SlotLocks) -> Result<Range, Error> {
        let length = self.frame_length(front, size)?;
        let mut abandoned = 0;
        loop {
            // Acquire, pairs with the Release below: if we see somebody's head, we see their pin.
            let head = self.memory.head().load(Ordering::Acquire);
            let range = self.find_room(head, length, size, pin, locks)?;
            pin.announce(range);
            // Release: whoever moves the head on from here sees our pin. It fails if somebody else allocated: retry.
            if self.memory.head().compare_exchange(head, range.end, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SYNC POINT "pin and head", see `Pin::announce`: pins announced before this are seen from here on, and
            // whoever announces one later sees our head.
            fence(Ordering::SeqCst);
            if !pin.has_slot() {
                return Err(Error::ParticipantLost);
            }
            if !self.is_obstructed(range, head, pin.place()) {
                return Ok(range);
            }
            // Somebody pinned these bytes between the search and the move. They are lost to the stream: go on behind
            // them.
            abandoned += length;
            if abandoned / MOST_LAPS_LOST > self.memory.capacity() {
                return Err(Detour::new(self, range.end, pin.place()).exhausted(size));
            }
            self.count(pin.place().0, Counter::Hops, 1);
        }
    }

    /// The first range of `length` bytes at or after `head` that no pin is in the way of, at most a lap away.
    ///
    /// Searching before the head moves means that the attempt loses no frame when the ring is full of pins.
    #[inline]
    fn find_room(
        &self,
        head: u64,
        length: u64,
        size: u64,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<Range, Error> {
        if !head.is_multiple_of(FRAME_ALIGN) || head > MAX_POSITION {
            return Err(Error::Corrupt { what: "head", value: head });
        }
        let window = self.memory.window_for(length);
        let range = Range { start: head, end: head + length };
        if self.is_in_window(range, window) && !self.is_obstructed(range, head, pin.place()) {
            return Ok(range);
        }
        self.find_detour(head, length, window, size, pin, locks)
    }

    /// Whether a range does not leave the first `window` bytes of its lap.
    #[inline]
    fn is_in_window(&self, range: Range, window: u64) -> bool {
        let capacity = self.memory.capacity();
        // Before the division: most rings have none.
        window >= capacity || range.start % capacity + (range.end - range.start) <= window
    }

    /// As [`find_room`](Self::find_room), once there is something in the way, or the window ends.
    #[cold]
    fn find_detour(
        &self,
        head: u64,
        length: u64,
        window: u64,
        size: u64,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<Range, Error> {
        let slot = pin.place().0;
        let mut detour = Detour::new(self, head, pin.place());
        let windows = (window < self.memory.capacity()).then(|| detour.windows(window));
        let found = detour.find(length, windows, self, locks);
        self.count(slot, Counter::Hops, detour.hops());
        self.count(slot, Counter::Reaped, detour.reaped());
        match found {
            Some(start) => Ok(Range { start, end: start + length }),
            None => Err(detour.exhausted(size)),
        }
    }

    /// Bytes of the ring that a frame of `size` bytes takes, with `front` bytes before it.
    #[inline]
    fn frame_length(&self, front: u64, size: u64) -> Result<u64, Error> {
        let limit = self.memory.size();
        if size > limit {
            return Err(Error::LargerThanRing { size, limit });
        }
        Ok((front + size).next_multiple_of(FRAME_ALIGN))
    }
}
