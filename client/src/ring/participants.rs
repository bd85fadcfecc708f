//! Participants: taking a slot, giving it back, and clearing the slots of the dead.

use super::{Ring, RingMemory};
use crate::layout::{ENROLLED_WORDS, FREE, PARTICIPANTS};
use crate::stats::Counter;
use crate::sync::Ordering;

/// A participant's claim to a slot, from [`Ring::enroll`] to [`Ring::withdraw`] or its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotClaim {
    pub(crate) slot: usize,
    pub(crate) incarnation: u64,
}

/// The state in which [`Ring::reap`] finds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// Its participant lives, or whether it does is unknown.
    Alive,
    /// Its participant has withdrawn, or somebody else has cleared the slot.
    Gone,
    /// Its participant was dead, and the slot is now clear.
    Dead,
}

/// Tells who lives: a participant holds the lock of its slot for as long as it lives.
pub(crate) trait SlotLocks {
    /// Runs `action` while holding the lock of `slot`; not if somebody else holds it, or that is unknown.
    fn with_lock(&self, slot: usize, action: impl FnOnce());
}

impl<M: RingMemory> Ring<M> {
    /// Makes the caller, who holds the lock of `slot`, its participant.
    pub(crate) fn enroll(&self, slot: usize) -> SlotClaim {
        let incarnation = self.clear(slot);
        // Release, pairs with the Acquire of `enrolled`. That an allocation sees this bit when it must see a pin of
        // this slot follows from the fences, as for the pin itself.
        self.memory.enrolled(slot / 64).fetch_or(1 << (slot % 64), Ordering::AcqRel);
        SlotClaim { slot, incarnation }
    }

    /// Gives a slot back. The caller still holds its lock, and none of its pins is in use.
    pub(crate) fn withdraw(&self, claim: SlotClaim) {
        if self.memory.slot(claim.slot).incarnation.load(Ordering::Relaxed) == claim.incarnation {
            self.vacate(claim.slot);
        }
    }

    /// Whether the participant still has its slot. Not if it was taken for dead.
    #[inline]
    pub(crate) fn has_slot(&self, claim: SlotClaim) -> bool {
        self.memory.slot(claim.slot).incarnation.load(Ordering::Acquire) == claim.incarnation
    }

    /// Clears the slot if its participant is dead, and returns the state it was found in.
    ///
    /// The slot's lock is held meanwhile, so no new participant can enroll there and lose its pins.
    pub(crate) fn reap(&self, slot: usize, locks: &impl SlotLocks) -> SlotState {
        let mut found = SlotState::Alive;
        locks.with_lock(slot, || {
            let is_enrolled = self.memory.enrolled(slot / 64).load(Ordering::Acquire) & 1 << (slot % 64) != 0;
            found = if is_enrolled { SlotState::Dead } else { SlotState::Gone };
            if is_enrolled {
                self.vacate(slot);
            }
        });
        found
    }

    /// Clears the slots of all dead participants and returns their number. `counted_in` is the caller's slot.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn reap_all(&self, counted_in: usize, locks: &impl SlotLocks) -> usize {
        let reaped = self.enrolled().filter(|&slot| self.reap(slot, locks) == SlotState::Dead).count();
        self.count(counted_in, Counter::Reaped, reaped as u64);
        reaped
    }

    /// The slots that have a participant, dead or alive.
    #[inline]
    pub(crate) fn enrolled(&self) -> impl Iterator<Item = usize> {
        (0..ENROLLED_WORDS).flat_map(|word| {
            let enrolled = self.memory.enrolled(word).load(Ordering::Acquire);
            bits(enrolled).map(move |bit| word * 64 + bit).filter(|&slot| slot < PARTICIPANTS)
        })
    }

    /// Adds to one of the slot's counters.
    #[inline]
    pub(crate) fn count(&self, slot: usize, counter: Counter, by: u64) {
        let words = &self.memory.slot(slot).counters.words;
        words[counter as usize].fetch_add(by, std::sync::atomic::Ordering::Relaxed);
    }

    fn vacate(&self, slot: usize) {
        // First no allocation looks at the pins any more, then they are freed: so they vanish all at once.
        self.memory.enrolled(slot / 64).fetch_and(!(1 << (slot % 64)), Ordering::AcqRel);
        self.clear(slot);
    }

    /// Frees all pins of a slot, whose lock the caller holds, and begins a new incarnation.
    fn clear(&self, slot: usize) -> u64 {
        let slot = self.memory.slot(slot);
        let incarnation = slot.incarnation.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        for pin in &slot.pins {
            pin.start.store(FREE, Ordering::Relaxed);
        }
        slot.active.store(0, Ordering::Release);
        incarnation
    }
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bits_lists_the_bits_that_are_set() {
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!(bits(u64::MAX).count(), 64);
    }
}
