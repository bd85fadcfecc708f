//! [`Detour`]: an allocation's way past the ranges that are in use, once one of them is in its way.
//!
//! All pins are collected in one scan and sorted by their distance from the head; one walk along them finds the first
//! gap that is large enough. So an allocation past `n` pins takes `n log n` steps, and it asks about each slot at most
//! twice whether its participant lives: once, from memory if possible, when a pin of it is the first thing in the
//! way, and once more before it says that there is no room, for which it scans the pins a second time.
//!
//! Pins come and go meanwhile. The allocation looks at all of them once more after it has moved the head, as ever.

use super::participants::{SlotLocks, SlotState};
use super::pin::Range;
use super::{Ring, RingMemory};
use crate::error::Error;
use crate::layout::{FRAME_ALIGN, FREE, HEADER_SIZE, PARTICIPANTS};

/// What is in the way, seen from the head.
pub(super) struct Detour {
    head: u64,
    capacity: u64,
    /// The pin of the one who asks: its slot, and its number there.
    own: (usize, usize),
    /// Sorted by distance. Each pin is there twice, the second time a lap further away.
    obstacles: Vec<Obstacle>,
    /// What is known of each slot.
    known: [Option<SlotState>; PARTICIPANTS],
    hops: u64,
    reaped: u64,
}

/// The bytes that a pin occupies, as distances from the head, and its slot.
struct Obstacle {
    from: u64,
    to: u64,
    slot: usize,
}

/// Longer than any gap.
const ENDLESS: u64 = 1 << 62;

/// All places where a frame may begin, as distances from the head.
const LAP: Range = Range { start: 0, end: u64::MAX };

impl Detour {
    /// From `head` on, past all pins but `own`.
    pub(super) fn new<M: RingMemory>(ring: &Ring<M>, head: u64, own: (usize, usize)) -> Self {
        let capacity = ring.memory().capacity();
        let known = [None; PARTICIPANTS];
        let mut new = Self { head, capacity, own, obstacles: Vec::new(), known, hops: 0, reaped: 0 };
        new.collect(ring);
        new
    }

    /// Collects all pins as they are now.
    fn collect<M: RingMemory>(&mut self, ring: &Ring<M>) {
        let Self { head, capacity, own, ref mut obstacles, .. } = *self;
        obstacles.clear();
        ring.any_pin(head, FREE, own, |slot, Range { start, end }| {
            // The pin lies behind the head, and so many bytes before it comes round again.
            let from = (capacity - (head - start) % capacity) % capacity;
            let to = from + (end - start);
            obstacles.push(Obstacle { from, to, slot });
            obstacles.push(Obstacle { from: from + capacity, to: to + capacity, slot });
            // What reaches over the lap's end lies at its beginning, too.
            if to > capacity {
                obstacles.push(Obstacle { from: 0, to: to - capacity, slot });
            }
            false
        });
        obstacles.sort_unstable_by_key(|obstacle| obstacle.from);
    }

    /// Where to look for room first, as distances from the head: what is left of the window in this lap, and the window
    /// of the next one. It has `window` bytes that nobody holds, so that frames stay as long however much of it is
    /// held.
    pub(super) fn windows(&self, window: u64) -> [Range; 2] {
        let at = self.head % self.capacity;
        let next = self.capacity - at;
        let (mut end, mut free) = (next, 0);
        for Obstacle { from, to, .. } in &self.obstacles {
            if *from > end && free + (from - end) >= window {
                break;
            }
            free += from.saturating_sub(end);
            end = end.max(*to);
        }
        let window = (end + (window - free) - next).min(self.capacity);
        [Range { start: 0, end: window.saturating_sub(at) }, Range { start: next, end: next + window.min(at) }]
    }

    /// The position of the first gap of `length` bytes, less than a lap from the head: in one of the `windows`, which
    /// are distances from the head, or else anywhere. `None` only if all that is in the way is known to be alive.
    pub(super) fn find<M: RingMemory>(
        &mut self,
        length: u64,
        windows: Option<[Range; 2]>,
        ring: &Ring<M>,
        locks: &impl SlotLocks,
    ) -> Option<u64> {
        let from_memory = |slot| ring.reap_if(slot, || locks.recent_liveness(slot), locks);
        for window in windows.into_iter().flatten() {
            if let Ok(found) = self.walk(length, window, from_memory, |_| false) {
                return Some(found);
            }
        }
        self.walk(length, LAP, from_memory, |_| false)
            .or_else(|_| {
                // Before it says that there is no room, it looks again: pins have come and gone, the slots of the dead
                // may have new participants, and some it only remembers.
                self.known.iter_mut().for_each(|known| *known = known.filter(|state| !is_empty(*state)));
                self.collect(ring);
                self.walk(length, LAP, |slot| ring.reap(slot, locks), |known| known == SlotState::AliveRecently)
            })
            .ok()
    }

    /// The error for a frame of `size` bytes, for which there is no gap.
    pub(super) fn exhausted(mut self, size: u64) -> Error {
        let pins = self.pins();
        let largest = self.walk(ENDLESS, LAP, |_| SlotState::Alive, |_| false).err().unwrap_or(self.capacity);
        Error::Exhausted { size, pins, largest_free: largest.saturating_sub(HEADER_SIZE) }
    }

    /// Walks along the obstacles to the first gap of `length` bytes `within` a range of distances; or returns the
    /// length of the largest. Asks `state_of` each slot that is not known, or that is to be asked `again`.
    fn walk(
        &mut self,
        length: u64,
        within: Range,
        state_of: impl Fn(usize) -> SlotState,
        again: impl Fn(SlotState) -> bool,
    ) -> Result<u64, u64> {
        let (mut at, mut largest) = (within.start, 0);
        for Obstacle { from, to, slot } in &self.obstacles {
            if *from >= at + length || at + length > within.end {
                break;
            }
            if *to <= at {
                continue;
            }
            let state = match self.known[*slot] {
                Some(state) if !again(state) => state,
                _ => {
                    let state = state_of(*slot);
                    self.reaped += u64::from(state == SlotState::Dead);
                    *self.known[*slot].insert(state)
                }
            };
            if is_empty(state) {
                continue;
            }
            self.hops += 1;
            largest = largest.max(from.saturating_sub(at));
            at = to.next_multiple_of(FRAME_ALIGN);
            if at >= self.capacity {
                return Err(largest);
            }
        }
        if at < self.capacity && at + length <= within.end { Ok(self.head + at) } else { Err(largest) }
    }

    /// The number of pins that count.
    fn pins(&self) -> usize {
        // Each has one obstacle that begins in the second lap.
        let pins = self.obstacles.iter().filter(|obstacle| obstacle.from >= self.capacity);
        pins.filter(|pin| !self.known[pin.slot].is_some_and(is_empty)).count()
    }

    /// The number of pins that the way led past.
    pub(super) fn hops(&self) -> u64 {
        self.hops
    }

    /// The number of participants that were found dead.
    pub(super) fn reaped(&self) -> u64 {
        self.reaped
    }
}

/// Whether the pins of a slot in this state do not count.
fn is_empty(state: SlotState) -> bool {
    matches!(state, SlotState::Dead | SlotState::Vacant)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::layout::PINS;
    use crate::ring::frame::InitialState;
    use crate::ring::heap::Heap;
    use crate::ring::participants::{Liveness, SlotClaim};
    use crate::sync::Ordering;

    const CAPACITY: u64 = 4 << 20;

    /// Counts how often each slot is asked about. The first `living` participants live.
    struct Census {
        living: usize,
        asked: Vec<Cell<usize>>,
    }

    impl SlotLocks for Census {
        fn liveness(&self, slot: usize) -> Liveness {
            self.asked[slot].set(self.asked[slot].get() + 1);
            if slot < self.living { Liveness::Alive } else { Liveness::Dead }
        }
        fn recent_liveness(&self, slot: usize) -> Liveness {
            self.liveness(slot)
        }
        fn try_repair(&self, _slot: usize, action: impl FnOnce()) {
            action();
        }
    }

    /// A ring in which every slot has a participant, and all but the first have all their pins on `bytes` bytes each,
    /// from position 0 on.
    fn crowd(bytes: u64) -> (Ring<Heap>, SlotClaim) {
        let ring = Ring::new(Heap::new(CAPACITY));
        ring.memory().head().store(CAPACITY, Ordering::Relaxed);
        let claims: Vec<_> = (0..PARTICIPANTS).map(|slot| ring.enroll(slot)).collect();
        let slots = (1..PARTICIPANTS).map(|slot| ring.memory().slot(slot));
        for (number, pin) in slots.flat_map(|slot| &slot.pins).enumerate() {
            assert_eq!(pin.start.load(Ordering::Relaxed), FREE);
            pin.start.store(number as u64 * bytes, Ordering::Relaxed);
            pin.end.store((number as u64 + 1) * bytes, Ordering::Relaxed);
        }
        (1..PARTICIPANTS).for_each(|slot| ring.active(slot).store(u64::MAX, Ordering::Relaxed));
        (ring, claims[0])
    }

    fn census(living: usize) -> Census {
        Census { living, asked: vec![Cell::new(0); PARTICIPANTS] }
    }

    const CROWD: u64 = (PARTICIPANTS as u64 - 1) * PINS as u64;

    #[test]
    fn an_allocation_past_all_pins_there_can_be_asks_about_each_slot_once() {
        let (ring, claim) = crowd(64);
        let locks = census(PARTICIPANTS);
        let pin = ring.take_pin(claim).expect("a pin");
        let offset = ring.allocate(4096, InitialState::Writing, &pin, &locks).expect("there is room behind the crowd");
        assert_eq!(offset, CAPACITY + CROWD * 64 + HEADER_SIZE);
        assert!(locks.asked.iter().skip(1).all(|asked| asked.get() == 1));
        let counters = &ring.memory().slot(0).counters.words;
        assert_eq!(counters[crate::stats::Counter::Hops as usize].load(std::sync::atomic::Ordering::Relaxed), CROWD);
    }

    #[test]
    fn a_ring_full_of_pins_is_exhausted_after_each_slot_was_asked_about_once_and_says_what_would_fit() {
        let (ring, claim) = crowd(CAPACITY / CROWD / 64 * 64);
        let free = CAPACITY - CAPACITY / CROWD / 64 * 64 * CROWD;
        let locks = census(PARTICIPANTS);
        let pin = ring.take_pin(claim).expect("a pin");
        let error = ring.allocate(1 << 20, InitialState::Writing, &pin, &locks).expect_err("there is no room");
        let Error::Exhausted { size, pins, largest_free } = error else { panic!("{error}") };
        assert_eq!((size, pins as u64, largest_free), (1 << 20, CROWD, free - HEADER_SIZE));
        assert!(locks.asked.iter().all(|asked| asked.get() <= 1));
        ring.allocate(largest_free, InitialState::Writing, &pin, &locks).expect("that much fits");
    }

    /// Everybody is remembered as alive, and dead.
    struct Memories(Cell<usize>);

    impl SlotLocks for Memories {
        fn liveness(&self, _slot: usize) -> Liveness {
            self.0.set(self.0.get() + 1);
            Liveness::Dead
        }
        fn recent_liveness(&self, _slot: usize) -> Liveness {
            Liveness::AliveRecently
        }
        fn try_repair(&self, _slot: usize, action: impl FnOnce()) {
            action();
        }
    }

    #[test]
    fn a_ring_is_not_exhausted_by_those_that_are_only_remembered_as_alive() {
        let (ring, claim) = crowd(CAPACITY / CROWD / 64 * 64);
        let locks = Memories(Cell::new(0));
        let pin = ring.take_pin(claim).expect("a pin");
        ring.allocate(1 << 20, InitialState::Writing, &pin, &locks).expect("they are dead");
        assert!(locks.0.get() > 0 && locks.0.get() < PARTICIPANTS);
    }

    #[test]
    fn the_pins_of_the_dead_are_no_obstacle_however_many_they_are() {
        let (ring, claim) = crowd(64);
        let locks = census(1);
        let pin = ring.take_pin(claim).expect("a pin");
        let offset = ring.allocate(1 << 20, InitialState::Writing, &pin, &locks).expect("nobody else lives");
        assert_eq!(offset, CAPACITY + HEADER_SIZE);
        assert!(locks.asked.iter().all(|asked| asked.get() <= 1));
    }
}
