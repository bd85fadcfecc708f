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
        for (slot, Range { start, end }) in ring.pinned(head, own) {
            // The pin lies behind the head, and so many bytes before it comes round again.
            let from = (capacity - (head - start) % capacity) % capacity;
            let to = from + (end - start);
            obstacles.push(Obstacle { from, to, slot });
            obstacles.push(Obstacle { from: from + capacity, to: to + capacity, slot });
            // What reaches over the lap's end lies at its beginning, too.
            if to > capacity {
                obstacles.push(Obstacle { from: 0, to: to - capacity, slot });
            }
        }
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
