//! Participants: taking a slot, giving it back, and ending the incarnations of the dead.

use super::{Ring, RingMemory};
use crate::layout::{AttachedWords, ENROLLED_WORDS, FREE, PARTICIPANTS, Slot};
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
    /// Its participant lives.
    Alive,
    /// As [`Liveness::AliveRecently`].
    AliveRecently,
    /// It has no participant: that one has withdrawn, or was declared dead by somebody else.
    Vacant,
    /// Its participant was dead, and is now declared dead.
    Dead,
}

/// Whether a slot's participant lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It does, or that cannot be found out.
    Alive,
    /// It did a moment ago.
    #[cfg_attr(loom, allow(dead_code))]
    AliveRecently,
    /// It does not: nobody holds the lock of its life.
    Dead,
}

/// The locks of slots. A participant holds that of its life for as long as it lives, and nobody else ever takes it, so
/// whoever finds it free knows that the participant is dead. A second lock belongs to whoever sets or clears the
/// slot's bit in `enrolled`.
pub(crate) trait SlotLocks {
    /// Whether the participant in `slot` lives.
    fn liveness(&self, slot: usize) -> Liveness;
    /// The same, from memory where that is fresh enough.
    fn recent_liveness(&self, slot: usize) -> Liveness;
    /// Runs `action` while holding the second lock of `slot`. Does nothing if somebody else holds it.
    fn try_repair(&self, slot: usize, action: impl FnOnce());
}

impl<M: RingMemory> Ring<M> {
    /// Makes the caller, who holds both locks of `slot`, its participant.
    pub(crate) fn enroll(&self, slot: usize) -> SlotClaim {
        let words = self.memory.slot(slot);
        // A participant that died here unnoticed. Whoever else declares it dead at the same time is welcome.
        let seen = words.incarnation.load(Ordering::Acquire);
        if is_taken(seen) {
            let _ = self.end_incarnation(slot, seen);
        }
        // From here on nobody looks at the pins, and nobody else changes the slot: it has no participant.
        self.clear(slot);
        words.process.store(std::process::id().into(), std::sync::atomic::Ordering::Relaxed);
        // Release: whoever sees this incarnation sees the pins free.
        let incarnation = words.incarnation.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        // Release, pairs with the Acquire of `enrolled`. That an allocation sees this bit when it must see a pin of
        // this slot follows from the fences, as for the pin itself.
        self.memory.enrolled(slot / 64).fetch_or(1 << (slot % 64), Ordering::AcqRel);
        SlotClaim { slot, incarnation }
    }

    /// Gives a slot back, none of whose pins is in use. The caller holds its life's lock, and may release it then.
    pub(crate) fn withdraw(&self, claim: SlotClaim, locks: &impl SlotLocks) {
        if self.end_incarnation(claim.slot, claim.incarnation) {
            self.tidy(claim.slot, locks);
        }
    }

    /// Whether the participant still has its slot. Not if it was declared dead.
    #[inline]
    pub(crate) fn has_slot(&self, claim: SlotClaim) -> bool {
        self.memory.slot(claim.slot).incarnation.load(Ordering::Acquire) == claim.incarnation
    }

    /// Declares the participant in `slot` dead if it is, and returns the state that the slot was found in.
    ///
    /// `liveness` tells whether it lives, and is asked after the incarnation was seen: so if that participant's lock
    /// is free, it has died, whoever may come into the slot meanwhile.
    pub(super) fn reap_if(
        &self,
        slot: usize,
        liveness: impl FnOnce() -> Liveness,
        locks: &impl SlotLocks,
    ) -> SlotState {
        let seen = self.memory.slot(slot).incarnation.load(Ordering::Acquire);
        let mut found = SlotState::Vacant;
        if is_taken(seen) {
            match liveness() {
                Liveness::Alive => return SlotState::Alive,
                Liveness::AliveRecently => return SlotState::AliveRecently,
                Liveness::Dead if self.end_incarnation(slot, seen) => found = SlotState::Dead,
                Liveness::Dead => {}
            }
        }
        self.tidy(slot, locks);
        found
    }

    /// As [`reap_if`](Self::reap_if), asking the kernel whether it lives.
    pub(crate) fn reap(&self, slot: usize, locks: &impl SlotLocks) -> SlotState {
        self.reap_if(slot, || locks.liveness(slot), locks)
    }

    /// Declares all dead participants dead and returns their number. `counted_in` is the caller's slot.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn reap_all(&self, counted_in: usize, locks: &impl SlotLocks) -> usize {
        let reaped = self.enrolled().filter(|&slot| self.reap(slot, locks) == SlotState::Dead).count();
        self.count(counted_in, Counter::Reaped, reaped as u64);
        reaped
    }

    /// The number of slots that have a participant, dead or alive.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn participants(&self) -> usize {
        self.taken().count()
    }

    /// The participants, dead or alive.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn taken(&self) -> impl Iterator<Item = SlotClaim> {
        self.enrolled().map(|slot| self.claim(slot)).filter(|claim| is_taken(claim.incarnation))
    }

    /// The slot as it is now.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn claim(&self, slot: usize) -> SlotClaim {
        SlotClaim { slot, incarnation: self.memory.slot(slot).incarnation.load(Ordering::Acquire) }
    }

    /// Ends an incarnation: the slot has no participant, and its pins do not count. False if it has ended already.
    fn end_incarnation(&self, slot: usize, incarnation: u64) -> bool {
        let word = &self.memory.slot(slot).incarnation;
        // SYNC POINT "end": whoever sees the next number does not look at the pins; whoever had the slot sees that it
        // lost it. Release and Acquire: all that the one who withdraws did with pinned bytes comes before.
        word.compare_exchange(incarnation, incarnation.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Clears a slot without a participant, so that nobody needs to look at it. If somebody else is at the slot, they
    /// do, or it can wait.
    fn tidy(&self, slot: usize, locks: &impl SlotLocks) {
        locks.try_repair(slot, || {
            // Whoever enrolls needs the lock that we hold, so it stays vacant meanwhile.
            if !is_taken(self.memory.slot(slot).incarnation.load(Ordering::Acquire)) {
                self.memory.enrolled(slot / 64).fetch_and(!(1 << (slot % 64)), Ordering::AcqRel);
                self.clear(slot);
            }
        });
    }

    /// Frees all pins of a slot without a participant, detaches it from all channels, and forgets its process.
    fn clear(&self, slot: usize) {
        let Slot { pins, attached, process, .. } = self.memory.slot(slot);
        for pin in pins {
            pin.start.store(FREE, Ordering::Relaxed);
        }
        // Release: whoever finds no pin here may overwrite what the last participant had pinned.
        self.active(slot).store(0, Ordering::Release);
        let AttachedWords { subscribed, publishing, keeping_none } = attached;
        for word in [subscribed, publishing, keeping_none, process] {
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The slots that may have a participant, dead or alive.
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
}

/// Whether a slot with this incarnation has a participant, dead or alive: joining and ending count one each.
#[inline]
pub(super) fn is_taken(incarnation: u64) -> bool {
    incarnation % 2 == 1
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || next_bit(&mut word))
}

/// Clears the lowest bit that is set, and returns its number.
#[inline]
pub(super) fn next_bit(word: &mut u64) -> Option<usize> {
    let bit = word.trailing_zeros();
    *word &= word.wrapping_sub(1);
    (bit < 64).then_some(bit as usize)
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
