//! [`ClaimedSlots`]: the participant slots of a process, and [`PinGuard`]: a pin in one of them.
//!
//! A process has one slot, and further ones while it has more pins than fit into it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachments::{Attachments, Role};
use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::layout::{PARTICIPANTS, PINS};
use crate::os::fork;
use crate::ring::participants::SlotClaim;
use crate::ring::pin::Pin;
use crate::ring::{Ring, RingMemory};
use crate::segment::Segment;
use crate::segment::locks::{LifeLocks, Probe};

/// The owner's own slot: clients leave it free, so that however many there are, the owner can join.
const OWNERS_SLOT: usize = 0;
/// Slots that a client with many views leaves free for others.
const LEFT_FOR_OTHERS: usize = 4;

/// The slots that one process has claimed.
pub(crate) struct ClaimedSlots {
    /// See [`fork::generation`].
    generation: u64,
    /// The slot that all pins are taken from, while it has free ones.
    first: SlotClaim,
    /// Further slots, claimed while there are more pins, and given back when there are few again.
    further: Mutex<Vec<SlotClaim>>,
    /// Whether the last pin of a further slot was given back, or all slots are to be.
    some_idle: AtomicBool,
    /// Whether the ring is retired, and to be left as soon as no pin is in use.
    leaving: AtomicBool,
    locks: LifeLocks,
    probe: Probe,
    attachments: Attachments,
    /// The slots before these, or null. Other threads and open views may still use them: they live as long as the
    /// membership.
    pub(crate) replaced: AtomicPtr<ClaimedSlots>,
}

/// A pin for one operation.
pub(crate) struct PinGuard<'m> {
    /// `None` only while it is dropped.
    pin: Option<Pin<'m, Segment>>,
    slots: &'m ClaimedSlots,
}
impl ClaimedSlots {
    /// Opens what is needed to take part, and claims a first slot: the owner its own, if that is free.
    pub(crate) fn claim_first(ring: &Ring<Segment>, is_owner: bool) -> Result<Self, SegmentError> {
        let reopen = || ring.memory().file().reopen();
        let locks = LifeLocks::new(reopen).map_err(cannot_reopen)?;
        let probe = Probe::new(reopen).map_err(cannot_reopen)?;
        let of_owner = if is_owner { claim_slot(OWNERS_SLOT, ring, &locks, &probe)? } else { None };
        let first = match of_owner {
            Some(claim) => claim,
            None => claim_free_slot(&[], ring, &locks, &probe)?,
        };
        let further = Mutex::default();
        let (some_idle, leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        let (attachments, replaced) = (Attachments::default(), AtomicPtr::default());
        let generation = fork::generation();
        Ok(Self { generation, first, further, some_idle, leaving, locks, probe, attachments, replaced })
    }

    /// Takes a pin in one of the slots; claims another slot if all their pins are in use.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a pin that is returned through memory costs more than all else here")]
    pub(crate) fn take_pin<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        if !ring.has_slot(self.first) {
            return Err(Error::ParticipantLost);
        }
        ring.take_pin(self.first).map_or_else(|| self.take_further_pin(ring), Ok)
    }

    /// As [`take_pin`](Self::take_pin), once all pins of the first slot are in use.
    #[cold]
    fn take_further_pin<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        let mut further = self.further();
        if self.is_leaving() {
            return Err(Error::Retired);
        }
        // The last ones are those that were claimed for the lack of free pins in the others.
        for &claim in further.iter().rev() {
            // Whoever has the slot now would keep the pin for as long as it lives, since we may not give it back.
            if !ring.has_slot(claim) {
                return Err(Error::ParticipantLost);
            }
            if let Some(pin) = ring.take_pin(claim) {
                return Ok(pin);
            }
        }
        let pins = (further.len() + 1) * PINS;
        if ring.participants() + LEFT_FOR_OTHERS >= PARTICIPANTS {
            return Err(SegmentError::PinsFull { pins, participants: PARTICIPANTS, left: LEFT_FOR_OTHERS }.into());
        }
        let own: Vec<usize> = further.iter().chain([&self.first]).map(|claim| claim.slot).collect();
        let claim = claim_free_slot(&own, ring, &self.locks, &self.probe)?;
        further.push(claim);
        ring.take_pin(claim).ok_or(Error::ParticipantLost)
    }

    /// Gives back the further slots that are not in use, once the first one can do for a while.
    #[cold]
    fn give_back_idle(&self, ring: &Ring<Segment>) {
        if self.is_leaving() {
            return self.leave_if_idle(ring);
        }
        if ring.pins_in(self.first) > PINS / 2 {
            return;
        }
        self.some_idle.store(false, Ordering::Relaxed);
        self.further().retain(|&claim| !self.give_back(claim, ring));
    }

    /// Whether these are the slots of this process: not in a forked child, which has those of its parent.
    #[inline]
    pub(crate) fn are_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// The first slot: what stands for this process.
    #[inline]
    pub(crate) fn first(&self) -> SlotClaim {
        self.first
    }

    /// Notes in the first slot what is done with the channel at this place, for as long as what is returned lives.
    pub(crate) fn attach<'m>(&'m self, ring: &'m Ring<Segment>, role: Role, place: usize) -> Attachment<'m> {
        self.attachments.add(&ring.memory().slot(self.first.slot).attached, role, place);
        Attachment { slots: self, ring, role, place }
    }

    /// Finds out who lives.
    #[inline]
    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Takes no more pins from now on. Once the last one is given back, gives back all slots and the segment's memory.
    pub(crate) fn leave(&self, ring: &Ring<Segment>) {
        self.leaving.store(true, Ordering::Relaxed);
        self.some_idle.store(true, Ordering::Relaxed);
        self.leave_if_idle(ring);
    }

    /// Whether [`leave`](Self::leave) was called.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Gives back all slots, and the segment's memory, if no pin is in use.
    ///
    /// All that reads or writes frames has a pin. So once every slot is closed, nobody has an address in the ring, and
    /// nobody gets one. A thread that was stalled before it took a pin finds an empty segment, which has no frame and
    /// where this participant is none.
    fn leave_if_idle(&self, ring: &Ring<Segment>) {
        let mut further = self.further();
        further.retain(|&claim| !self.give_back(claim, ring));
        if further.is_empty() && self.give_back(self.first, ring) {
            self.locks.close();
            self.probe.close();
            ring.memory().abandon();
        }
    }

    /// Gives a slot back if none of its pins is in use.
    fn give_back(&self, claim: SlotClaim, ring: &Ring<Segment>) -> bool {
        let is_idle = ring.has_slot(claim) && ring.close(claim);
        if is_idle {
            ring.withdraw(claim, &self.probe);
            self.locks.release(claim.slot);
        }
        is_idle
    }

    fn further(&self) -> MutexGuard<'_, Vec<SlotClaim>> {
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives all slots back.
    pub(crate) fn withdraw(mut self, ring: &Ring<Segment>) {
        let further = std::mem::take(self.further.get_mut().unwrap_or_else(PoisonError::into_inner));
        for claim in further.into_iter().chain([self.first]) {
            ring.withdraw(claim, &self.probe);
        }
    }
}

/// Claims a free slot other than the owner's and `own`.
fn claim_free_slot(
    own: &[usize],
    ring: &Ring<Segment>,
    locks: &LifeLocks,
    probe: &Probe,
) -> Result<SlotClaim, SegmentError> {
    for slot in (0..PARTICIPANTS).filter(|slot| *slot != OWNERS_SLOT && !own.contains(slot)) {
        if let Some(claim) = claim_slot(slot, ring, locks, probe)? {
            return Ok(claim);
        }
    }
    Err(SegmentError::ParticipantsFull { limit: PARTICIPANTS })
}

/// Claims a slot. `None` if it is taken, or somebody is clearing it.
fn claim_slot(
    slot: usize,
    ring: &Ring<Segment>,
    locks: &LifeLocks,
    probe: &Probe,
) -> Result<Option<SlotClaim>, SegmentError> {
    let failed = |source| SegmentError::Io { action: "lock a participant slot", source };
    if !locks.take(slot).map_err(failed)? {
        return Ok(None);
    }
    let claim = probe.repair(slot, || ring.enroll(slot)).map_err(failed)?;
    if claim.is_none() {
        locks.release(slot);
    }
    Ok(claim)
}

/// The error of whoever cannot open the segment's file a second time.
fn cannot_reopen(source: io::Error) -> SegmentError {
    SegmentError::Io {
        action: "open the segment anew through /proc, which a process needs once to take part, a forked child at its \
                 first operation (before it drops privileges or leaves /proc)",
        source,
    }
}

/// Something that this process does with a channel.
pub(crate) struct Attachment<'m> {
    slots: &'m ClaimedSlots,
    ring: &'m Ring<Segment>,
    role: Role,
    place: usize,
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        let Self { slots, ring, role, place } = *self;
        if slots.are_own() && ring.has_slot(slots.first) {
            slots.attachments.remove(&ring.memory().slot(slots.first.slot).attached, role, place);
        }
    }
}

impl<'m> PinGuard<'m> {
    /// Guards a pin in one of `slots`.
    #[inline]
    pub(crate) fn new(pin: Pin<'m, Segment>, slots: &'m ClaimedSlots) -> Self {
        Self { pin: Some(pin), slots }
    }

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
        !self.slots.are_own()
    }

    /// Whether others see the pin. Not once the participant was taken for dead.
    #[inline]
    pub(crate) fn is_protected(&self) -> bool {
        // What was read before this was read before the answer.
        std::sync::atomic::fence(Ordering::Acquire);
        self.pin().has_slot()
    }
}

impl Drop for PinGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(pin) = self.pin.take() else { return };
        if self.is_of_parent() {
            // The pin is the parent's, and not ours to give back.
            std::mem::forget(pin);
            return;
        }
        let (ring, slots) = (pin.ring(), self.slots);
        let is_further = pin.place().0 != slots.first.slot;
        let is_last = pin.release();
        if is_further && is_last {
            slots.some_idle.store(true, Ordering::Relaxed);
        }
        if slots.some_idle.load(Ordering::Relaxed) {
            slots.give_back_idle(ring);
        }
    }
}
