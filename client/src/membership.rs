//! [`Membership`]: a process's part in a ring. It holds the segment, the slots that this process has taken, and finds a
//! free pin for each operation.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::error::Error;
use crate::fork;
use crate::layout::PARTICIPANTS;
use crate::ring::{Pin, Ring, Seat};
use crate::segment::Segment;
use crate::segment::error::SegmentError;
use crate::segment::locks::{HeldLock, Probe};
use crate::segment::prefault::{Prefault, Prefaulting};

/// A ring that this process takes part in. Shared by all threads; its hot path takes no lock.
pub(crate) struct Membership {
    ring: Ring<Segment>,
    /// The seats of this process. A forked child replaces its parent's with its own.
    seats: AtomicPtr<Seats>,
    _prefaulting: Prefaulting,
}

/// The slots that one process holds.
struct Seats {
    /// See [`fork::generation`].
    generation: u64,
    taken: [OnceLock<TakenSeat>; PARTICIPANTS],
    /// Held while a slot is taken.
    taking: Mutex<()>,
    probe: Probe,
    /// The seats before these, or null. Other threads, and views that are still open, may be using them: they live as long
    /// as the membership.
    replaced: *mut Seats,
}

struct TakenSeat {
    seat: Seat,
    /// The lock that tells others that this participant lives. Boxed, because most places stay empty.
    _lock: Box<HeldLock>,
}

/// A pin for one operation.
pub(crate) struct Hold<'m> {
    /// `None` only while it is dropped.
    pin: Option<Pin<'m, Segment>>,
    generation: u64,
}

impl Membership {
    /// Joins the ring in `segment`.
    pub(crate) fn join(segment: Segment, prefault: Prefault, is_owner: bool) -> Result<Self, SegmentError> {
        let prefaulting = Prefaulting::start(segment.mapping(), prefault, is_owner);
        let ring = Ring::new(segment);
        let seats = Seats::take(&ring)?;
        Ok(Self { ring, seats: AtomicPtr::new(Box::into_raw(seats)), _prefaulting: prefaulting })
    }

    #[inline]
    pub(crate) fn ring(&self) -> &Ring<Segment> {
        &self.ring
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        self.ring.memory()
    }

    /// Runs `operation` with a pin of this process, which it may keep. If the participant turns out to be taken for dead, it
    /// joins anew and tries once more.
    #[inline]
    pub(crate) fn with_pin<'m, T>(
        &'m self,
        mut operation: impl FnMut(&'m Ring<Segment>, Hold<'m>, &Probe) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut joined_anew = false;
        loop {
            let seats = self.seats()?;
            let result = seats.claim(&self.ring).and_then(|pin| {
                let hold = Hold { pin: Some(pin), generation: seats.generation };
                operation(&self.ring, hold, &seats.probe)
            });
            match result {
                Err(Error::Unseated) if !joined_anew => {
                    self.replace_seats(self.seats.load(Ordering::Acquire))?;
                    joined_anew = true;
                }
                result => return result,
            }
        }
    }

    /// Clears the slots of dead participants.
    pub(crate) fn reap(&self) -> Result<usize, Error> {
        self.with_pin(|ring, hold, probe| Ok(ring.reap_all(hold.slot(), probe)))
    }

    /// This process's seats: new ones after a fork.
    #[inline]
    fn seats(&self) -> Result<&Seats, SegmentError> {
        let seats = self.seats.load(Ordering::Acquire);
        // SAFETY: never null, and what was stored once is freed only when `self` is dropped: see `replace_seats`.
        let current = unsafe { &*seats };
        if current.generation == fork::generation() { Ok(current) } else { self.replace_seats(seats) }
    }

    /// Takes new seats in place of `old`, which belong to the parent process or were taken for dead.
    fn replace_seats(&self, old: *mut Seats) -> Result<&Seats, SegmentError> {
        let mut new = Seats::take(&self.ring)?;
        new.replaced = old;
        let new = Box::into_raw(new);
        match self.seats.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as in `seats`.
            Ok(_) => Ok(unsafe { &*new }),
            Err(other) => {
                // SAFETY: `new` was never shared: another thread was faster.
                let new = unsafe { Box::from_raw(new) };
                new.leave(&self.ring);
                // SAFETY: as in `seats`.
                Ok(unsafe { &*other })
            }
        }
    }
}

impl Drop for Membership {
    #[inline]
    fn drop(&mut self) {
        let mut next = *self.seats.get_mut();
        while !next.is_null() {
            // SAFETY: made by `join` or `replace_seats` from a Box, each once in this list, and nobody else has `self` any more.
            let seats = unsafe { Box::from_raw(next) };
            next = seats.replaced;
            // In a forked child those of its parent are only forgotten: it is the parent who leaves them.
            if seats.generation == fork::generation() {
                seats.leave(&self.ring);
            }
        }
    }
}

impl Seats {
    /// Takes a first seat.
    fn take(ring: &Ring<Segment>) -> Result<Box<Self>, SegmentError> {
        let anew = || ring.memory().file().reopen().map_err(SegmentError::io("open the segment anew through /proc"));
        let seats = Box::new(Self {
            generation: fork::generation(),
            taken: [const { OnceLock::new() }; PARTICIPANTS],
            taking: Mutex::new(()),
            probe: Probe::new(anew()?),
            replaced: std::ptr::null_mut(),
        });
        seats.take_another(0, ring)?;
        Ok(seats)
    }

    /// Claims a pin in one of the seats; takes another seat if all their pins are in use.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a pin that is returned through memory costs more than all else here")]
    fn claim<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        match self.taken[0].get() {
            Some(first) if ring.is_seated(first.seat) => {
                ring.claim(first.seat).map_or_else(|| self.claim_later(ring), Ok)
            }
            _ => self.claim_later(ring),
        }
    }

    /// As [`claim`](Self::claim), when it is not as simple as that.
    #[cold]
    fn claim_later<'r>(&self, ring: &'r Ring<Segment>) -> Result<Pin<'r, Segment>, Error> {
        for (number, place) in self.taken.iter().enumerate() {
            let seat = match place.get() {
                Some(taken) => taken.seat,
                None => self.take_another(number, ring)?,
            };
            // Whoever has the slot now would keep the pin for as long as it lives, since we may not give it back.
            if !ring.is_seated(seat) {
                return Err(Error::Unseated);
            }
            if let Some(pin) = ring.claim(seat) {
                return Ok(pin);
            }
        }
        Err(SegmentError::ParticipantsFull { limit: PARTICIPANTS }.into())
    }

    /// Takes a free slot as this process's seat number `number`, unless another thread did meanwhile.
    fn take_another(&self, number: usize, ring: &Ring<Segment>) -> Result<Seat, SegmentError> {
        let _alone = self.taking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(taken) = self.taken[number].get() {
            return Ok(taken.seat);
        }
        let file = ring.memory().file().reopen().map_err(SegmentError::io("open the segment anew through /proc"))?;
        let taken = HeldLock::take_slot(file).map_err(SegmentError::io("lock a participant slot"))?;
        let (slot, lock) = taken.ok_or(SegmentError::ParticipantsFull { limit: PARTICIPANTS })?;
        let seat = ring.enroll(slot);
        Ok(self.taken[number].get_or_init(|| TakenSeat { seat, _lock: Box::new(lock) }).seat)
    }

    /// Gives all seats back.
    fn leave(self, ring: &Ring<Segment>) {
        for taken in self.taken.into_iter().filter_map(OnceLock::into_inner) {
            ring.withdraw(taken.seat);
        }
    }
}

impl<'m> Hold<'m> {
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

    /// Whether this was made before a fork and we are the child.
    #[inline]
    pub(crate) fn is_of_parent(&self) -> bool {
        self.generation != fork::generation()
    }
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_of_parent() {
            // The pin is the parent's: it is not ours to give back.
            std::mem::forget(self.pin.take());
        }
    }
}
