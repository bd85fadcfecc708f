//! Pins: how a participant says "these bytes are in use", and how an allocation learns of it.

use super::participants::{SlotClaim, is_taken, next_bit};
use super::{Ring, RingMemory};
use crate::layout::{ACTIVE_LINES, ENROLLED_WORDS, FREE, PINS, Slot};
use crate::sync::{AtomicU64, Ordering, fence};

/// The bits of `active` that stand for a pin.
const ALL_PINS: u64 = u64::MAX >> (64 - PINS);

/// Set in the `end` of a pin that vouches for its frame: its holder had the bytes pinned from their allocation on. A
/// position has the lower six bits free.
const VOUCHES: u64 = 1;

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
        let (slot, active) = (self.memory.slot(claim.slot), self.active(claim.slot));
        let mut seen = active.load(Ordering::Relaxed);
        loop {
            let index = seen.trailing_ones() as usize;
            if index >= PINS {
                return None;
            }
            // Acquire: the pin's last user is done with its bytes before its next user begins.
            seen = active.fetch_or(1 << index, Ordering::Acquire);
            if seen & (1 << index) == 0 {
                return Some(Pin { ring: self, slot, claim, index });
            }
        }
    }

    /// Whether a pin, other than `own`, is in the way of `candidate`, which is to be allocated by moving the head on
    /// from `head`.
    #[inline]
    pub(super) fn is_obstructed(&self, candidate: Range, head: u64, own: (usize, usize)) -> bool {
        let capacity = self.memory.capacity();
        self.any_pin(head, harmless_from(candidate, capacity), own, |_, pinned| obstructs(pinned, candidate, capacity))
    }

    /// Whether `test` holds for a pin's slot and range, of all pins but `own` that begin before `before` and count for
    /// an allocation that moves the head on from `head`.
    ///
    /// A range that somebody may touch was allocated before, so it ends at `head` at the latest. Pins that end later
    /// are those of allocations that have yet to move the head and will fail to, or of readers that will find that they
    /// were promised too much: nobody touches those bytes. The same is true of half a pin, seen while it changes: its
    /// user's fence then comes after the caller's, so the user sees the caller's head and gives up.
    #[inline]
    pub(super) fn any_pin(
        &self,
        head: u64,
        before: u64,
        own: (usize, usize),
        mut test: impl FnMut(usize, Range) -> bool,
    ) -> bool {
        // Every allocation runs this twice. Plain loops: iterators of iterators took twice the instructions.
        let (mut lines, is_crowded) = self.lines();
        if is_crowded {
            return self.any_pin_in_crowd(lines, head, before, own, test);
        }
        while let Some(slot) = next_bit(&mut lines) {
            // Acquire, pairs with the Release of `give_back`: whoever finds the bit clear may overwrite the bytes.
            let active = self.memory.active(slot).words[0].load(Ordering::Acquire) & ALL_PINS;
            if active != 0 && self.any_pin_of(slot, active, head, before, own, &mut test) {
                return true;
            }
        }
        false
    }

    /// As [`any_pin`](Self::any_pin), where a slot has another place in its line than the first.
    #[inline(never)]
    fn any_pin_in_crowd(
        &self,
        mut lines: u64,
        head: u64,
        before: u64,
        own: (usize, usize),
        mut test: impl FnMut(usize, Range) -> bool,
    ) -> bool {
        while let Some(line) = next_bit(&mut lines) {
            // Most participants have no pin most of the time: one test for all in the line.
            let words = &self.memory.active(line).words;
            if words.iter().fold(0, |any, word| any | word.load(Ordering::Acquire)) == 0 {
                continue;
            }
            for (word, active) in words.iter().enumerate() {
                let active = active.load(Ordering::Acquire) & ALL_PINS;
                if active != 0 && self.any_pin_of(word * ACTIVE_LINES + line, active, head, before, own, &mut test) {
                    return true;
                }
            }
        }
        false
    }

    /// As [`any_pin`](Self::any_pin), of the pins of one slot that are `active`.
    #[inline]
    fn any_pin_of(
        &self,
        slot_index: usize,
        mut active: u64,
        head: u64,
        before: u64,
        own: (usize, usize),
        test: &mut impl FnMut(usize, Range) -> bool,
    ) -> bool {
        let (slot, capacity) = (self.memory.slot(slot_index), self.memory.capacity());
        // Acquire, pairs with "end": whoever sees that a participant is gone may overwrite what it pinned.
        if !is_taken(slot.incarnation.load(Ordering::Acquire)) {
            return false;
        }
        while let Some(index) = next_bit(&mut active) {
            let pin = &slot.pins[index];
            // Acquire both, pairs with the Release of `announce`. A free pin starts at FREE, which is after all.
            let start = pin.start.load(Ordering::Acquire);
            if start >= before {
                continue;
            }
            let end = pin.end.load(Ordering::Acquire) & !VOUCHES;
            let genuine = start < end && end <= head && end - start <= capacity;
            if genuine && own != (slot_index, index) && test(slot_index, Range { start, end }) {
                return true;
            }
        }
        false
    }

    /// The lines of `active` in which a slot is enrolled, a bit for each; and whether one of them has another place in
    /// its line than the first.
    #[inline]
    fn lines(&self) -> (u64, bool) {
        let (mut lines, mut others) = (0, 0);
        for word in 0..ENROLLED_WORDS {
            let enrolled = self.memory.enrolled(word).load(Ordering::Acquire);
            (0..64).step_by(ACTIVE_LINES).for_each(|from| lines |= enrolled >> from);
            others |= if word == 0 { enrolled >> ACTIVE_LINES } else { enrolled };
        }
        (lines & ((1 << ACTIVE_LINES) - 1), others != 0)
    }

    /// The word with a bit for each pin of the slot that is taken.
    #[inline]
    pub(super) fn active(&self, slot: usize) -> &AtomicU64 {
        &self.memory.active(slot % ACTIVE_LINES).words[slot / ACTIVE_LINES]
    }

    /// Whether a pin, other than `own`, begins at `start` and [vouches](Pin::vouch) for its frame.
    pub(super) fn is_vouched_for(&self, start: u64, own: (usize, usize)) -> bool {
        self.enrolled().any(|index| {
            let slot = self.memory.slot(index);
            // Acquire: whoever sees the slot's next participant sees that the pins are free.
            if !is_taken(slot.incarnation.load(Ordering::Acquire)) {
                return false;
            }
            let mut active = self.active(index).load(Ordering::Acquire) & ALL_PINS;
            std::iter::from_fn(|| next_bit(&mut active)).any(|pin| {
                let words = &slot.pins[pin];
                (index, pin) != own
                    && words.start.load(Ordering::Acquire) == start
                    && words.end.load(Ordering::Acquire) & VOUCHES != 0
            })
        })
    }

    /// The number of pins of the participant's slot that are in use.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn pins_in(&self, claim: SlotClaim) -> usize {
        self.active(claim.slot).load(Ordering::Relaxed).count_ones() as usize
    }

    /// Takes all pins of a slot at once, so that it can be given back. False if one is in use.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn close(&self, claim: SlotClaim) -> bool {
        // Acquire, as in `take_pin`. The pins themselves are free, so nobody sees anything in the way.
        self.active(claim.slot).compare_exchange(0, u64::MAX, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The number of pins in use.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn pins(&self) -> usize {
        self.taken().map(|claim| self.pins_in(claim)).sum()
    }
}

impl<'r, M: RingMemory> Pin<'r, M> {
    /// Announces `range` and returns the head as it is after that. The range is protected iff it is neither behind that
    /// head (`start + capacity < head`) nor beyond it.
    #[inline]
    pub(super) fn protect(&self, range: Range) -> u64 {
        self.announce(range);
        self.ring.memory.head().load(Ordering::Acquire)
    }

    /// Moves the end of the range that was [protected](Self::protect) further on, and returns the head as it is after
    /// that. What was protected stays so: whoever looks sees one end or the other.
    #[inline]
    pub(super) fn widen(&self, end: u64) -> u64 {
        self.slot.pins[self.index].end.store(end, Ordering::Release);
        // SYNC POINT "pin and head", as in `announce`.
        fence(Ordering::SeqCst);
        self.ring.memory.head().load(Ordering::Acquire)
    }

    /// Lets others [share](Self::share) the pin, which is that of the frame's allocation: not only announced, but known
    /// to protect the frame.
    #[inline]
    pub(crate) fn vouch(&self) {
        let end = &self.slot.pins[self.index].end;
        // Only we write it.
        end.store(end.load(Ordering::Relaxed) | VOUCHES, Ordering::Release);
    }

    /// Whether another pin that [vouches](Self::vouch) for its frame begins at `start`, where this one does, and was
    /// still there after this one was announced: then the frame there is protected, however far the head has moved past
    /// it.
    ///
    /// SYNC POINT "handover": an allocation for these bytes has seen the other pin gone before it moved the head. If
    /// its fence came before ours, we see the pin gone too: its `FREE`, or its slot's next incarnation. If ours came
    /// first, it sees this pin when it looks once more.
    #[cold]
    pub(super) fn share(&self, start: u64) -> bool {
        self.ring.is_vouched_for(start, self.place())
    }

    /// Stores `range` so that every allocation whose fence comes after this one's sees it.
    #[inline]
    pub(super) fn announce(&self, range: Range) {
        let pin = &self.slot.pins[self.index];
        // Release both, pairs with the Acquire of `any_pin`: whoever sees a word of this pin sees that its last user is
        // done.
        pin.end.store(range.end, Ordering::Release);
        pin.start.store(range.start, Ordering::Release);
        // SYNC POINT "pin and head": pairs with the fence of `Ring::reserve` between moving the head and looking for
        // pins. Of two fences one is first: either that allocation sees this pin, or we see its head.
        fence(Ordering::SeqCst);
    }

    /// The ring that it is a pin of.
    #[inline]
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn ring(&self) -> &'r Ring<M> {
        self.ring
    }

    /// Whether the participant still has its slot. Not if somebody saw its lock released, for instance because the
    /// program closed all its file descriptors: then nobody looks at this pin any more.
    #[inline]
    pub(crate) fn has_slot(&self) -> bool {
        self.slot.incarnation.load(Ordering::Acquire) == self.claim.incarnation
    }

    /// Gives the pin back, as dropping it does. True if it was the last of its slot in use.
    #[inline]
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn release(self) -> bool {
        let pin = std::mem::ManuallyDrop::new(self);
        pin.give_back()
    }

    #[inline]
    fn give_back(&self) -> bool {
        let own = 1 << self.index;
        self.has_slot() && {
            // Release, pairs with the Acquire of `any_pin` and `take_pin`: we are done with the bytes.
            self.slot.pins[self.index].start.store(FREE, Ordering::Release);
            self.ring.active(self.claim.slot).fetch_and(!own, Ordering::Release) == own
        }
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
        self.give_back();
    }
}

/// A pin that begins here or later, and ends before `candidate` begins, shares no bytes of the ring with it: it begins
/// less than a lap before the candidate's end. That is true of nearly all pins.
#[inline]
fn harmless_from(candidate: Range, capacity: u64) -> u64 {
    candidate.end.saturating_sub(capacity)
}

/// Whether `candidate` shares bytes of the ring with `pinned`, which begins before it in the stream.
#[inline]
fn obstructs(pinned: Range, candidate: Range, capacity: u64) -> bool {
    let distance = candidate.start - pinned.start;
    // Most pins are in the last lap: a division is the most expensive step here.
    let behind = if distance < capacity { distance } else { distance % capacity };
    behind < pinned.end - pinned.start || capacity - behind < candidate.end - candidate.start
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pin_obstructs_a_range_if_they_share_a_byte_of_the_ring_in_any_lap() {
        let capacity = 16;
        for start in 0..40 {
            for pin_start in 0..start {
                for (len, pin_len) in [(1, 1), (4, 1), (1, 4), (5, 7), (16, 1), (16, 16)] {
                    let candidate = Range { start, end: start + len };
                    let pin = Range { start: pin_start, end: pin_start + pin_len };
                    let lies_on = |x| (pin.start..pin.end).any(|y| x % capacity == y % capacity);
                    let shares = (candidate.start..candidate.end).any(lies_on);
                    assert_eq!(obstructs(pin, candidate, capacity), shares, "{pin:?} {candidate:?}");
                    let is_passed_over = pin.end <= start && pin.start >= harmless_from(candidate, capacity);
                    assert!(!(is_passed_over && shares), "{pin:?} {candidate:?}");
                }
            }
        }
    }
}
