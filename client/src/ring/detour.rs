//! [`Detour`]: an allocation's way past the ranges that are in use, once one of them is in its way.
//!
//! All pins are collected in one scan and sorted by their distance from the head; one walk along them finds the first
//! gap that is large enough. So an allocation past `n` pins takes `n log n` steps, and it asks about each slot at most
//! twice whether its participant lives: once, from memory if possible, when a pin of it is the first thing in the
//! way, and once more before it says that there is no room.
//!
//! Pins come and go meanwhile. The allocation looks at all of them once more after it has moved the head, as ever.

use super::participants::{SlotLocks, SlotState};
use super::pin::Range;
use super::{Ring, RingMemory};
use crate::layout::{FRAME_ALIGN, PARTICIPANTS};

/// What is in the way, seen from the head.
pub(super) struct Detour {
    head: u64,
    capacity: u64,
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

impl Detour {
    /// Collects all pins but `own`.
    pub(super) fn collect<M: RingMemory>(ring: &Ring<M>, head: u64, own: (usize, usize)) -> Self {
        let capacity = ring.memory().capacity();
        let mut obstacles = Vec::new();
        ring.any_pin(head, own, |slot, Range { start, end }| {
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
        Self { head, capacity, obstacles, known: [None; PARTICIPANTS], hops: 0, reaped: 0 }
    }

    /// The position of the first gap of `length` bytes, less than a lap from the head; or the length of the largest
    /// gap, when all that is in the way is known to be alive.
    pub(super) fn find<M: RingMemory>(
        &mut self,
        length: u64,
        ring: &Ring<M>,
        locks: &impl SlotLocks,
    ) -> Result<u64, u64> {
        let from_memory = |slot| ring.reap_if(slot, || locks.recent_liveness(slot), locks);
        // Before it says that there is no room, it asks about those that it only remembers.
        self.walk(length, from_memory, |_| false)
            .or_else(|_| self.walk(length, |slot| ring.reap(slot, locks), |known| known == SlotState::AliveRecently))
    }

    /// Walks along the obstacles. Asks `state_of` each slot that is not known, or that is to be asked `again`.
    fn walk(
        &mut self,
        length: u64,
        state_of: impl Fn(usize) -> SlotState,
        again: impl Fn(SlotState) -> bool,
    ) -> Result<u64, u64> {
        let (mut at, mut largest) = (0, 0);
        for Obstacle { from, to, slot } in &self.obstacles {
            if *from >= at + length {
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
            if matches!(state, SlotState::Dead | SlotState::Vacant) {
                continue;
            }
            self.hops += 1;
            largest = largest.max(from.saturating_sub(at));
            at = to.next_multiple_of(FRAME_ALIGN);
            if at >= self.capacity {
                return Err(largest);
            }
        }
        Ok(self.head + at)
    }

    /// The number of pins that count.
    pub(super) fn pins(&self) -> usize {
        // Each has one obstacle that begins in the second lap.
        let pins = self.obstacles.iter().filter(|obstacle| obstacle.from >= self.capacity);
        pins.filter(|pin| !matches!(self.known[pin.slot], Some(SlotState::Dead | SlotState::Vacant))).count()
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Error;
    use crate::frame::RingId;
    use crate::layout::{ENROLLED_WORDS, FREE, FrameHeader, HEADER_SIZE, PINS, Slot};
    use crate::ring::frame::InitialState;
    use crate::ring::participants::{Liveness, SlotClaim};
    use crate::sync::{AtomicU64, Ordering};

    const CAPACITY: u64 = 64 << 20;

    /// A ring without payload.
    struct Heap {
        head: AtomicU64,
        enrolled: [AtomicU64; ENROLLED_WORDS],
        slots: Vec<Slot>,
        header: FrameHeader,
    }

    impl RingMemory for Heap {
        fn id(&self) -> RingId {
            RingId::of_segment([1, 0])
        }
        fn size(&self) -> u64 {
            CAPACITY / 2
        }
        fn capacity(&self) -> u64 {
            CAPACITY
        }
        fn head(&self) -> &AtomicU64 {
            &self.head
        }
        fn enrolled(&self, word: usize) -> &AtomicU64 {
            &self.enrolled[word]
        }
        fn slot(&self, index: usize) -> &Slot {
            &self.slots[index]
        }
        fn header(&self, _start: u64) -> &FrameHeader {
            &self.header
        }
    }

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
        let heap = Heap {
            head: AtomicU64::new(CAPACITY),
            enrolled: Default::default(),
            slots: (0..PARTICIPANTS).map(|_| Slot::vacant()).collect(),
            header: FrameHeader::default(),
        };
        let ring = Ring::new(heap);
        let claims: Vec<_> = (0..PARTICIPANTS).map(|slot| ring.enroll(slot)).collect();
        let slots = ring.memory().slots.iter().skip(1);
        for (number, pin) in slots.flat_map(|slot| &slot.pins).enumerate() {
            assert_eq!(pin.start.load(Ordering::Relaxed), FREE);
            pin.start.store(number as u64 * bytes, Ordering::Relaxed);
            pin.end.store((number as u64 + 1) * bytes, Ordering::Relaxed);
        }
        ring.memory().slots.iter().skip(1).for_each(|slot| slot.active.store(u64::MAX, Ordering::Relaxed));
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
        let counters = &ring.memory().slots[0].counters.words;
        assert_eq!(counters[crate::stats::Counter::Hops as usize].load(std::sync::atomic::Ordering::Relaxed), CROWD);
    }

    #[test]
    fn a_ring_full_of_pins_is_exhausted_after_each_slot_was_asked_about_once_and_says_what_would_fit() {
        let (ring, claim) = crowd(CAPACITY / CROWD / 64 * 64);
        let free = CAPACITY - CAPACITY / CROWD / 64 * 64 * CROWD;
        let locks = census(PARTICIPANTS);
        let pin = ring.take_pin(claim).expect("a pin");
        let error = ring.allocate(8 << 20, InitialState::Writing, &pin, &locks).expect_err("there is no room");
        let Error::Exhausted { size, pins, largest_free } = error else { panic!("{error}") };
        assert_eq!((size, pins as u64, largest_free), (8 << 20, CROWD, free - HEADER_SIZE));
        assert!(locks.asked.iter().all(|asked| asked.get() <= 1));
        ring.allocate(largest_free, InitialState::Writing, &pin, &locks).expect("that much fits");
    }

    #[test]
    fn the_pins_of_the_dead_are_no_obstacle_however_many_they_are() {
        let (ring, claim) = crowd(64);
        let locks = census(1);
        let pin = ring.take_pin(claim).expect("a pin");
        let offset = ring.allocate(16 << 20, InitialState::Writing, &pin, &locks).expect("nobody else lives");
        assert_eq!(offset, CAPACITY + HEADER_SIZE);
        assert!(locks.asked.iter().all(|asked| asked.get() <= 1));
    }
}
