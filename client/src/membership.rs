//! [`Membership`]: a process's part in a ring. It has the segment and the slots that this process has claimed, and
//! finds a free pin for each operation.

use std::fs::File;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::layout::PARTICIPANTS;
use crate::os::fork;
use crate::ring::Ring;
use crate::ring::allocate::InitialState;
use crate::ring::participants::SlotClaim;
use crate::ring::pin::Pin;
use crate::segment::Segment;
use crate::segment::locks::{FileLock, Probe};
use crate::segment::prefault::{Prefault, Prefaulting};

/// A ring that this process takes part in. Shared by all threads; its hot path takes no lock.
pub(crate) struct Membership {
    ring: Ring<Segment>,
    /// The slots of this process. A forked child replaces its parent's with its own.
    slots: AtomicPtr<ClaimedSlots>,
    _prefaulting: Prefaulting,
}

/// The slots that one process has claimed.
struct ClaimedSlots {
    /// See [`fork::generation`].
    generation: u64,
    claimed: [OnceLock<ClaimedSlot>; PARTICIPANTS],
    /// Held while a slot is being claimed.
    claiming: Mutex<()>,
    probe: Probe,
    /// The slots before these, or null. Other threads and open views may still use them: they live as long as the
    /// membership.
    replaced: *mut ClaimedSlots,
}

struct ClaimedSlot {
    claim: SlotClaim,
    /// The lock that tells others that this participant lives. Boxed, because most elements stay empty.
    _lock: Box<FileLock>,
}

/// A pin for one operation.
pub(crate) struct PinGuard<'m> {
    /// `None` only while it is dropped.
    pin: Option<Pin<'m, Segment>>,
    generation: u64,
}

impl Membership {
    /// Joins the ring in `segment`.
    pub(crate) fn join(segment: Segment, prefault: Prefault, is_owner: bool) -> Result<Self, SegmentError> {
        let prefaulting = Prefaulting::start(segment.mapping(), prefault, is_owner);
        let ring = Ring::new(segment);
        let slots = ClaimedSlots::claim_first(&ring)?;
        Ok(Self { ring, slots: AtomicPtr::new(Box::into_raw(slots)), _prefaulting: prefaulting })
    }

    #[inline]
    pub(crate) fn ring(&self) -> &Ring<Segment> {
        &self.ring
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        self.ring.memory()
    }

    /// Runs `operation` with a pin of this process, which it may keep. If it turns out that the participant was taken
    /// for dead, joins again and retries once.
    #[inline]
    pub(crate) fn with_pin<'m, T>(
        &'m self,
        mut operation: impl FnMut(&'m Ring<Segment>, PinGuard<'m>, &Probe) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut joined_again = false;
        loop {
            let slots = self.slots()?;
            let result = slots.take_pin(&self.ring).and_then(|pin| {
                let guard = PinGuard { pin: Some(pin), generation: slots.generation };
                operation(&self.ring, guard, &slots.probe)
            });
            match result {
                Err(Error::ParticipantLost) if !joined_again => {
                    self.replace_slots(self.slots.load(Ordering::Acquire))?;
                    joined_again = true;
                }
                result => return result,
            }
        }
    }

    /// Allocates a frame to be written later, by whoever knows its offset.
    pub(crate) fn allocate(&self, size: u64) -> Result<u64, Error> {
        self.with_pin(|ring, guard, locks| ring.allocate(size, InitialState::Reserved, guard.pin(), locks))
    }

    /// Clears the slots of dead participants and returns their number.
    pub(crate) fn reap(&self) -> Result<usize, Error> {
        self.with_pin(|ring, guard, probe| Ok(ring.reap_all(guard.slot(), probe)))
    }

    /// This process's slots: new ones after a fork.
    #[inline]
    fn slots(&self) -> Result<&ClaimedSlots, SegmentError> {
        let slots = self.slots.load(Ordering::Acquire);
        // SAFETY: never null, and freed only when `self` is dropped: see `replace_slots`.
        let current = unsafe { &*slots };
        if current.generation == fork::generation() { Ok(current) } else { self.replace_slots(slots) }
    }

    /// Claims new slots in place of `old`, which belong to the parent process or whose participants were taken for
    /// dead.
    fn replace_slots(&self, old: *mut ClaimedSlots) -> Result<&ClaimedSlots, SegmentError> {
        let mut new = ClaimedSlots::claim_first(&self.ring)?;
        new.replaced = old;
        let new = Box::into_raw(new);
        match self.slots.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as in `slots`.
            Ok(_) => Ok(unsafe { &*new }),
            Err(other) => {
                // SAFETY: `new` was never shared: another thread was faster.
                let new = unsafe { Box::from_raw(new) };
                new.withdraw(&self.ring);
                // SAFETY: as in `slots`.
                Ok(unsafe { &*other })
            }
        }
    }
}

impl Drop for Membership {
    #[inline]
    fn drop(&mut self) {
        let mut next = *self.slots.get_mut();
        while !next.is_null() {
            // SAFETY: made by `join` or `replace_slots` from a Box, each once in this list, and nobody else has `self`
            // any more.
            let slots = unsafe { Box::from_raw(next) };
            next = slots.replaced;
            // A forked child only forgets its parent's slots: the parent withdraws from them.
            if slots.generation == fork::generation() {
                slots.withdraw(&self.ring);
            }
        }
    }
}

impl ClaimedSlots {
    /// Claims a first slot.
    fn claim_first(ring: &Ring<Segment>) -> Result<Box<Self>, SegmentError> {
        let slots = Box::new(Self {
            generation: fork::generation(),
            claimed: [const { OnceLock::new() }; PARTICIPANTS],
            claiming: Mutex::new(()),
            probe: Probe::new(reopen(ring)?),
            replaced: std::ptr::null_mut(),
        });
        slots.claim(0, ring)?;
        Ok(slots)
    }

    /// Takes a pin in one of the slots; claims another slot if all their pins are in use.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a pin that is returned through memory costs more than all else here")]
    fn take_pin<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        match self.claimed[0].get() {
            Some(first) if ring.has_slot(first.claim) => {
                ring.take_pin(first.claim).map_or_else(|| self.take_pin_slowly(ring), Ok)
            }
            _ => self.take_pin_slowly(ring),
        }
    }

    /// As [`take_pin`](Self::take_pin), beyond the simple case.
    #[cold]
    fn take_pin_slowly<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        for (number, slot) in self.claimed.iter().enumerate() {
            let claim = match slot.get() {
                Some(claimed) => claimed.claim,
                None => self.claim(number, ring)?,
            };
            // Whoever has the slot now would keep the pin for as long as it lives, since we may not give it back.
            if !ring.has_slot(claim) {
                return Err(Error::ParticipantLost);
            }
            if let Some(pin) = ring.take_pin(claim) {
                return Ok(pin);
            }
        }
        Err(SegmentError::ParticipantsFull { limit: PARTICIPANTS }.into())
    }

    /// Claims a free slot as this process's slot number `number`, unless another thread has done so meanwhile.
    fn claim(&self, number: usize, ring: &Ring<Segment>) -> Result<SlotClaim, SegmentError> {
        let _alone = self.claiming.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(claimed) = self.claimed[number].get() {
            return Ok(claimed.claim);
        }
        let locked = FileLock::take_slot(reopen(ring)?).map_err(SegmentError::io("lock a participant slot"))?;
        let (slot, lock) = locked.ok_or(SegmentError::ParticipantsFull { limit: PARTICIPANTS })?;
        let claim = ring.enroll(slot);
        Ok(self.claimed[number].get_or_init(|| ClaimedSlot { claim, _lock: Box::new(lock) }).claim)
    }

    /// Gives all slots back.
    fn withdraw(self, ring: &Ring<Segment>) {
        for claimed in self.claimed.into_iter().filter_map(OnceLock::into_inner) {
            ring.withdraw(claimed.claim);
        }
    }
}

/// A new file description of the ring's segment, for locks of its own.
fn reopen(ring: &Ring<Segment>) -> Result<File, SegmentError> {
    ring.memory().file().reopen().map_err(SegmentError::io("open the segment anew through /proc"))
}

impl<'m> PinGuard<'m> {
    /// The pin.
    #[inline]
    pub(crate) fn pin(&self) -> &Pin<'m, Segment> {
        self.pin.as_ref().expect("taken only by drop")
    }

    /// The slot that the pin is in.
    #[inline]
    pub(crate) fn slot(&self) -> usize {
        self.pin().place().0
    }

    /// Whether this was made before a fork, and this process is the child.
    #[inline]
    pub(crate) fn is_of_parent(&self) -> bool {
        self.generation != fork::generation()
    }
}

impl Drop for PinGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_of_parent() {
            // The pin is the parent's, and not ours to give back.
            std::mem::forget(self.pin.take());
        }
    }
}
