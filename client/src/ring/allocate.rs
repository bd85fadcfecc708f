//! Allocation: moving the head on, past whatever somebody holds.

use super::participants::Holder;
use super::pin::{Pin, Range};
use super::{Ring, RingMemory, SlotLocks};
use crate::error::Error;
use crate::layout::{FRAME_ALIGN, HEADER_SIZE, PARTICIPANTS, PINS, state};
use crate::stats::Counter;
use crate::sync::{Ordering, fence};

/// Stream positions beyond this are not reached in any ring's life (at 100 GB/s in 2.9 years): a head there is damage.
const MAX_POSITION: u64 = 1 << 63;

/// Each pin can be in the way once, each slot be cleared once. More than that is somebody scribbling on the slots.
const MOST_OBSTACLES: usize = PARTICIPANTS * (PINS + 1);

impl<M: RingMemory> Ring<M> {
    /// Allocates a frame of `size` bytes and returns its payload's stream offset. `pin` holds the frame afterwards.
    ///
    /// The header says [`state::RESERVED`], or `WRITING` if the caller goes on to write the frame under this pin.
    #[inline]
    pub(crate) fn allocate(
        &self,
        size: u64,
        initial_state: u64,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<u64, Error> {
        let slot = pin.place().0;
        let range = self.reserve(size, pin, locks).inspect_err(|error| {
            if matches!(error, Error::Exhausted { .. }) {
                self.count(slot, Counter::Exhausted, 1);
            }
        })?;
        let offset = range.start + HEADER_SIZE;
        let header = self.memory.header(range.start);
        header.allocated.store(size, Ordering::Relaxed);
        header.length.store(0, Ordering::Relaxed);
        header.state.store(initial_state, Ordering::Relaxed);
        // Release, pairs with the Acquire of `lookup`: whoever finds its offset here finds the rest of the header.
        header.offset.store(offset, Ordering::Release);
        self.count(slot, Counter::Allocations, 1);
        self.count(slot, Counter::AllocatedBytes, size);
        Ok(offset)
    }

    /// Moves the head over a range for a frame of `size` bytes that nobody else touches while `pin` holds it.
    #[inline]
    fn reserve(&self, size: u64, pin: &Pin<'_, M>, locks: &impl SlotLocks) -> Result<Range, Error> {
        let length = self.frame_length(size)?;
        let mut abandoned = 0;
        loop {
            // Acquire, pairs with the Release below: whose head we see, their pins we see.
            let head = self.memory.head().load(Ordering::Acquire);
            let range = self.find_room(head, length, size, pin, locks)?;
            pin.publish(range);
            // Release: whoever moves the head on from here sees our pin. Failure costs a retry: somebody else allocated.
            if self.memory.head().compare_exchange(head, range.end, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SYNC POINT "pin and head", see `Pin::publish`: pins published before this are seen from here on, and who
            // publishes later sees our head.
            fence(Ordering::SeqCst);
            if !pin.is_seated() {
                return Err(Error::Unseated);
            }
            if self.obstacle(range, head, pin.place()).is_none() {
                return Ok(range);
            }
            // Somebody pinned these bytes between the look and the move. They are lost to the stream: go on behind them.
            abandoned += length;
            if abandoned > self.memory.capacity() {
                return Err(self.exhausted(size));
            }
            self.count(pin.place().0, Counter::Hops, 1);
        }
    }

    /// The first range of `length` bytes at or after `head` that no pin is in the way of, at most a lap away.
    ///
    /// Looking before the head moves means that a ring that is full of pins loses no frame by the attempt.
    #[inline]
    fn find_room(
        &self,
        head: u64,
        length: u64,
        size: u64,
        pin: &Pin<'_, M>,
        locks: &impl SlotLocks,
    ) -> Result<Range, Error> {
        let capacity = self.memory.capacity();
        if !head.is_multiple_of(FRAME_ALIGN) || head > MAX_POSITION {
            return Err(Error::Corrupt { what: "head", value: head });
        }
        let mut start = head;
        for _ in 0..MOST_OBSTACLES {
            if start - head >= capacity {
                break;
            }
            let range = Range { start, end: start + length };
            let Some((slot, held)) = self.obstacle(range, head, pin.place()) else {
                return Ok(range);
            };
            match self.reap(slot, locks) {
                Holder::Alive => {
                    start += distance_past(held, start, capacity).next_multiple_of(FRAME_ALIGN);
                    self.count(pin.place().0, Counter::Hops, 1);
                }
                Holder::Gone => {}
                Holder::Dead => self.count(pin.place().0, Counter::Reaped, 1),
            }
        }
        Err(self.exhausted(size))
    }

    /// Nowhere is room for `size` bytes. The caller's own pin is not what is in the way.
    fn exhausted(&self, size: u64) -> Error {
        Error::Exhausted { size, pins: self.pins().saturating_sub(1) }
    }

    /// Bytes of the ring that a frame of `size` bytes takes.
    #[inline]
    fn frame_length(&self, size: u64) -> Result<u64, Error> {
        let limit = self.memory.size();
        if size > limit {
            return Err(Error::LargerThanRing { size, limit });
        }
        Ok((HEADER_SIZE + size).next_multiple_of(FRAME_ALIGN))
    }
}

/// How far it is from `start` to where the bytes of `held` end, in the ring. A lap if that is where `start` is.
fn distance_past(held: Range, start: u64, capacity: u64) -> u64 {
    let distance = (held.end % capacity + capacity - start % capacity) % capacity;
    if distance == 0 { capacity } else { distance }
}

/// The states that an allocation may begin in; named here so that callers need not know the layout.
pub(crate) const TO_BE_WRITTEN: u64 = state::RESERVED;
/// See [`TO_BE_WRITTEN`].
pub(crate) const BEING_WRITTEN: u64 = state::WRITING;
