//! Pins: how a participant says "these bytes are in use", and how an allocation learns of it.

use super::participants::{SlotClaim, bits};
use super::{Ring, RingMemory};
use crate::layout::{FREE, PINS, PinWords, Slot};
use crate::sync::{Ordering, fence};

/// Stream positions `[start, end)` of a frame, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A pin that was taken. It protects nothing until [`Pin::protect`]; dropping it gives it back.
pub(crate) struct Pin<'r, M: RingMemory> {
    ring: &'r Ring<M>,
    slot: &'r Slot,
    claim: SlotClaim,
    index: usize,
}

impl<M: RingMemory> Ring<M> {
    /// Takes a free pin of the slot. `None` if all are in use.
    #[inline]
    pub(crate) fn take_pin(&self, claim: SlotClaim) -> Option<Pin<'_, M>> {
        let slot = self.memory.slot(claim.slot);
        let mut seen = slot.active.load(Ordering::Relaxed);
        loop {
            let index = seen.trailing_ones() as usize;
            if index >= PINS {
                return None;
            }
            // Acquire: the pin's last user is done with its bytes before its next user begins.
            seen = slot.active.fetch_or(1 << index, Ordering::Acquire);
            if seen & (1 << index) == 0 {
                return Some(Pin { ring: self, slot, claim, index });
            }
        }
    }

    /// The first pin, other than `own`, in the way of `candidate`, which is to be allocated by moving the head on from
    /// `head`: the slot it is in, and its range.
    ///
    /// A range that somebody may touch was allocated before, so it ends at `head` at the latest. Pins that end later
    /// are those of allocations that have yet to move the head and will fail to, or of readers that will find that they
    /// were promised too much: nobody touches those bytes. The same is true of half a pin, seen while it changes: its
    /// user's fence then comes after the caller's, so the user sees the caller's head and gives up.
    #[inline]
    pub(super) fn obstacle(&self, candidate: Range, head: u64, own: (usize, usize)) -> Option<(usize, Range)> {
        let capacity = self.memory.capacity();
        for slot_index in self.enrolled() {
            let slot = self.memory.slot(slot_index);
            // Acquire, pairs with the Release of `drop`: whoever finds the bit clear may overwrite the pinned bytes.
            for pin_index in bits(slot.active.load(Ordering::Acquire)) {
                if own == (slot_index, pin_index) || pin_index >= PINS {
                    continue;
                }
                let pinned = read(&slot.pins[pin_index]);
                let genuine = pinned.start < pinned.end && pinned.end <= head && pinned.end - pinned.start <= capacity;
                if genuine && overlap(candidate, pinned, capacity) {
                    return Some((slot_index, pinned));
                }
            }
        }
        None
    }

    /// The number of pins in use.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn pins(&self) -> usize {
        self.enrolled().map(|slot| self.memory.slot(slot).active.load(Ordering::Relaxed).count_ones() as usize).sum()
    }
}

impl<M: RingMemory> Pin<'_, M> {
    /// Announces `range` and returns the head as it is after that. The range is protected iff it is neither behind that
    /// head (`start + capacity < head`) nor beyond it.
    #[inline]
    pub(super) fn protect(&self, range: Range) -> u64 {
        self.announce(range);
        self.ring.memory.head().load(Ordering::Acquire)
    }

    /// Stores `range` so that every allocation whose fence comes after this one's sees it.
    #[inline]
    pub(super) fn announce(&self, range: Range) {
        let pin = &self.slot.pins[self.index];
        // Release both, pairs with the Acquire of `read`: whoever sees a word of this pin sees that its last user is
        // done.
        pin.end.store(range.end, Ordering::Release);
        pin.start.store(range.start, Ordering::Release);
        // SYNC POINT "pin and head": pairs with the fence of `Ring::reserve` between moving the head and looking for
        // pins. Of two fences one is first: either that allocation sees this pin, or we see its head.
        fence(Ordering::SeqCst);
    }

    /// Whether the participant still has its slot. Not if somebody saw its lock released, for instance because the
    /// program closed all its file descriptors: then nobody looks at this pin any more.
    #[inline]
    pub(super) fn has_slot(&self) -> bool {
        self.slot.incarnation.load(Ordering::Acquire) == self.claim.incarnation
    }

    /// The pin's slot, and its number there.
    #[inline]
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.claim.slot, self.index)
    }
}

impl<M: RingMemory> Drop for Pin<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.has_slot() {
            // Release, pairs with the Acquire of `obstacle` and `take_pin`: we are done with the bytes.
            self.slot.pins[self.index].start.store(FREE, Ordering::Release);
            self.slot.active.fetch_and(!(1 << self.index), Ordering::Release);
        }
    }
}

#[inline]
fn read(pin: &PinWords) -> Range {
    // Acquire both, pairs with the Release of `announce`. A free pin starts at FREE, which is after every end.
    let start = pin.start.load(Ordering::Acquire);
    Range { start, end: pin.end.load(Ordering::Acquire) }
}

/// Whether two ranges of the stream share bytes of the ring.
#[inline]
fn overlap(a: Range, b: Range, capacity: u64) -> bool {
    let (at, bt) = (a.start % capacity, b.start % capacity);
    let from_a_to_b = (bt + capacity - at) % capacity;
    let from_b_to_a = (at + capacity - bt) % capacity;
    from_a_to_b < a.end - a.start || from_b_to_a < b.end - b.start
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn two_ranges_overlap_if_they_share_a_byte_of_the_ring_in_any_lap() {
        let capacity = 16;
        for a_start in 0..40 {
            for b_start in 0..40 {
                for (a_len, b_len) in [(1, 1), (4, 1), (1, 4), (5, 7), (16, 1), (16, 16)] {
                    let a = Range { start: a_start, end: a_start + a_len };
                    let b = Range { start: b_start, end: b_start + b_len };
                    let shares = (a.start..a.end).any(|x| (b.start..b.end).any(|y| x % capacity == y % capacity));
                    assert_eq!(overlap(a, b, capacity), shares, "{a:?} {b:?}");
                }
            }
        }
    }
}
