//! Participants: taking a slot, giving it back, and clearing the slots of the dead.

use super::pin::bits;
use super::{Ring, RingMemory};
use crate::layout::{ENROLLED_WORDS, FREE, PARTICIPANTS};
use crate::stats::Counter;
use crate::sync::Ordering;

/// A participant's right to a slot, from [`Ring::enroll`] to [`Ring::withdraw`] or its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) slot: usize,
    pub(crate) incarnation: u64,
}

/// What has become of a slot's participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It lives, or it cannot be known.
    Alive,
    /// It has given the slot back, or somebody else has cleared it.
    Gone,
    /// It was dead, and the slot is clear now.
    Dead,
}

/// Who lives: a slot's holder has the slot's lock for as long as it does.
pub(crate) trait SlotLocks {
    /// Runs `action` while holding the lock of `slot`. Does not if somebody else holds the lock, or it cannot be known.
    fn with_lock(&self, slot: usize, action: impl FnOnce());
}

impl<M: RingMemory> Ring<M> {
    /// Makes the caller, who holds the lock of `slot`, its participant.
    pub(crate) fn enroll(&self, slot: usize) -> Seat {
        let incarnation = self.clear(slot);
        // Release, pairs with the Acquire of `enrolled`. That an allocation sees this bit when it must see a pin of this
        // slot follows from the fences, as for the pin itself.
        self.memory.enrolled(slot / 64).fetch_or(1 << (slot % 64), Ordering::AcqRel);
        Seat { slot, incarnation }
    }

    /// Gives back a slot. The caller still holds its lock, and none of its pins is in use.
    pub(crate) fn withdraw(&self, seat: Seat) {
        if self.memory.slot(seat.slot).incarnation.load(Ordering::Relaxed) == seat.incarnation {
            self.vacate(seat.slot);
        }
    }

    /// Whether the slot is still that participant's: not so if it was taken for dead.
    #[inline]
    pub(crate) fn is_seated(&self, seat: Seat) -> bool {
        self.memory.slot(seat.slot).incarnation.load(Ordering::Acquire) == seat.incarnation
    }

    /// Clears the slot if its participant is dead, and says what has become of it.
    ///
    /// The slot's lock is held meanwhile, so a new participant cannot enrol there and lose its pins to this.
    pub(crate) fn reap(&self, slot: usize, locks: &impl SlotLocks) -> Holder {
        let mut found = Holder::Alive;
        locks.with_lock(slot, || {
            let is_enrolled = self.memory.enrolled(slot / 64).load(Ordering::Acquire) & 1 << (slot % 64) != 0;
            found = if is_enrolled { Holder::Dead } else { Holder::Gone };
            if is_enrolled {
                self.vacate(slot);
            }
        });
        found
    }

    /// Clears the slots of all dead participants and returns how many there were. `counted_in` is the caller's slot.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn reap_all(&self, counted_in: usize, locks: &impl SlotLocks) -> usize {
        let reaped = self.enrolled().filter(|&slot| self.reap(slot, locks) == Holder::Dead).count();
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
        // First nobody looks at the pins, then they go: so they go all at once.
        self.memory.enrolled(slot / 64).fetch_and(!(1 << (slot % 64)), Ordering::AcqRel);
        self.clear(slot);
    }

    /// Frees all pins of a slot whose lock the caller holds, and begins a new incarnation.
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
