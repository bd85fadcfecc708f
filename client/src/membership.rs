//! [`Membership`]: a process's part in a ring. It has the segment and the slots that this process has claimed, and
//! finds a free pin for each operation.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::ring::Ring;
use crate::ring::frame::InitialState;
use crate::segment::Segment;
use crate::segment::locks::Probe;
use crate::segment::prefault::{Prefault, Prefaulting};
use crate::slots::{ClaimedSlots, PinGuard};

/// How often a writer looks whether the ring still has a name.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A ring that this process takes part in. Shared by all threads; its hot path takes no lock.
pub(crate) struct Membership {
    ring: Ring<Segment>,
    /// The slots of this process. A forked child replaces its parent's with its own.
    slots: AtomicPtr<ClaimedSlots>,
    is_owner: bool,
    /// When the segment's name was last looked at, in nanoseconds since 1970.
    last_look: AtomicU64,
    prefaulting: Prefaulting,
}

impl Membership {
    /// Joins the ring in `segment`.
    pub(crate) fn join(segment: Segment, prefault: Prefault, is_owner: bool) -> Result<Self, SegmentError> {
        let prefaulting = Prefaulting::start(segment.mapping(), prefault, is_owner);
        let ring = Ring::new(segment);
        let slots = ClaimedSlots::claim_first(&ring, is_owner)?;
        let (slots, last_look) = (AtomicPtr::new(Box::into_raw(Box::new(slots))), AtomicU64::new(0));
        Ok(Self { ring, slots, is_owner, last_look, prefaulting })
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
            let result = slots
                .take_pin(&self.ring)
                .and_then(|pin| operation(&self.ring, PinGuard::new(pin, slots), slots.probe()));
            match result {
                // Whatever went wrong, this is why: the segment may be gone.
                Err(_) if slots.is_leaving() => return Err(Error::Retired),
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

    /// Before a frame is committed at this time: whether anybody will find it. Not if the ring has no owner any more
    /// and somebody has removed its name. Looks every [`LOOK_EVERY`] at most, so this takes a nanosecond.
    #[inline]
    pub(crate) fn check_name(&self, nanoseconds_since_1970: u64) -> Result<(), Error> {
        let last = self.last_look.load(Ordering::Relaxed);
        if nanoseconds_since_1970.wrapping_sub(last) < LOOK_EVERY.as_nanos() as u64 {
            return Ok(());
        }
        self.last_look.store(nanoseconds_since_1970, Ordering::Relaxed);
        self.look_at_name()
    }

    #[cold]
    fn look_at_name(&self) -> Result<(), Error> {
        if self.is_owner || !self.segment().is_orphaned() {
            return Ok(());
        }
        self.segment().control().retired.store(1, Ordering::Release);
        Err(Error::Retired)
    }

    /// Leaves a ring that is retired: takes no more pins, and once the last one is given back, gives back the slots and
    /// the memory. Not in a forked child of the process that joined: it may have views that its parent has pinned.
    pub(crate) fn retire(&self) {
        let slots = self.slots.load(Ordering::Acquire);
        // SAFETY: as in `slots`.
        let slots = unsafe { &*slots };
        if slots.are_own() && slots.replaced.load(Ordering::Relaxed).is_null() {
            self.prefaulting.finish();
            slots.leave(&self.ring);
        }
    }

    /// Gives all slots back. The last thing that a membership does.
    pub(crate) fn leave(&mut self) {
        let mut next = std::mem::replace(self.slots.get_mut(), std::ptr::null_mut());
        while !next.is_null() {
            // SAFETY: made by `join` or `replace_slots` from a Box, each once in this list, and nobody else has `self`
            // any more.
            let slots = unsafe { Box::from_raw(next) };
            next = slots.replaced.load(Ordering::Relaxed);
            // A forked child only forgets its parent's slots: the parent withdraws from them.
            if slots.are_own() {
                slots.withdraw(&self.ring);
            }
        }
    }

    /// This process's slots: new ones after a fork.
    #[inline]
    pub(crate) fn slots(&self) -> Result<&ClaimedSlots, SegmentError> {
        let slots = self.slots.load(Ordering::Acquire);
        // SAFETY: never null, and freed only when `self` is dropped: see `replace_slots`.
        let current = unsafe { &*slots };
        if current.are_own() { Ok(current) } else { self.replace_slots(slots) }
    }

    /// Claims new slots in place of `old`, which belong to the parent process or whose participants were taken for
    /// dead.
    #[cold]
    fn replace_slots(&self, old: *mut ClaimedSlots) -> Result<&ClaimedSlots, SegmentError> {
        let mut new = Box::new(ClaimedSlots::claim_first(&self.ring, self.is_owner)?);
        new.replaced = AtomicPtr::new(old);
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
        self.leave();
    }
}
