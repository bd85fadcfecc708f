//! [`Model`]: a ring on the heap, with cells that loom watches, and the operations of a participant.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};

use crate::checksum::Checksum;
use crate::error::Error;
use crate::frame::Frame;
use crate::layout::{DESCRIPTOR_SIZE, FRAME_ALIGN, HEADER_SIZE, PARTICIPANTS};
use crate::ring::frame::{Checksummed, InitialState};
use crate::ring::heap::Heap;
use crate::ring::participants::{Liveness, SlotClaim, SlotLocks};
use crate::ring::pin::Pin;
use crate::ring::{Ring, RingMemory};

/// The locks of slots: whether each slot's participant lives, and whether somebody is setting or clearing its bit.
#[derive(Default)]
pub(super) struct Locks {
    life: [AtomicBool; PARTICIPANTS],
    repair: [AtomicBool; PARTICIPANTS],
}

fn take(lock: &AtomicBool) -> bool {
    lock.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl Locks {
    /// Somebody takes the lock for clearing a slot, and is stopped.
    pub(super) fn stall_repair(&self, slot: usize) {
        assert!(take(&self.repair[slot]));
    }
}

impl SlotLocks for Locks {
    fn liveness(&self, slot: usize) -> Liveness {
        if self.life[slot].load(Ordering::Acquire) { Liveness::Alive } else { Liveness::Dead }
    }

    fn recent_liveness(&self, slot: usize) -> Liveness {
        self.liveness(slot)
    }

    fn try_repair(&self, slot: usize, action: impl FnOnce()) {
        if take(&self.repair[slot]) {
            action();
            self.repair[slot].store(false, Ordering::Release);
        }
    }
}

/// A ring, its locks, and the operations of a participant.
pub(super) struct Model {
    pub(super) ring: Ring<Heap>,
    pub(super) locks: Locks,
    /// In place of payload, watched by loom: for each 64 bytes of the ring, the offset of the frame that is there.
    cells: Vec<UnsafeCell<u64>>,
}

impl Model {
    /// A ring of `units` times 64 bytes. A frame of one cell of payload takes two.
    pub(super) fn new(units: u64) -> Self {
        Self::with_window(units, units)
    }

    /// The same, of which the first `window` units of each lap are preferred.
    pub(super) fn with_window(units: u64, window: u64) -> Self {
        let cells = (0..units).map(|_| UnsafeCell::new(0)).collect();
        Self {
            ring: Ring::new(Heap::with_window(units * FRAME_ALIGN, window * FRAME_ALIGN)),
            locks: Locks::default(),
            cells,
        }
    }

    /// Claims the first free slot that nobody is clearing.
    pub(super) fn join(&self) -> SlotClaim {
        let claim = (0..PARTICIPANTS).find_map(|slot| {
            take(&self.locks.life[slot]).then_some(())?;
            let mut claim = None;
            self.locks.try_repair(slot, || claim = Some(self.ring.enroll(slot)));
            if claim.is_none() {
                self.locks.life[slot].store(false, Ordering::Release);
            }
            claim
        });
        claim.expect("a free slot")
    }

    /// The participant with this claim dies: its lock becomes free, and nothing else happens.
    pub(super) fn die(&self, claim: SlotClaim) {
        self.locks.life[claim.slot].store(false, Ordering::Release);
    }

    pub(super) fn take_pin(&self, claim: SlotClaim) -> Pin<'_, Heap> {
        self.ring.take_pin(claim).expect("a free pin")
    }

    pub(super) fn cell(&self, offset: u64) -> &UnsafeCell<u64> {
        &self.cells[(offset % self.ring.memory().capacity() / FRAME_ALIGN) as usize]
    }

    pub(super) fn fill_and_commit(&self, offset: u64, pin: &Pin<'_, Heap>) -> Result<Frame, Error> {
        // SAFETY: loom checks that nobody else touches the cell.
        self.cell(offset).with_mut(|cell| unsafe { *cell = offset });
        let frame = Frame {
            ring: Some(self.ring.memory().id()),
            ..Frame::new(offset, FRAME_ALIGN, Checksum::from_u64(offset))
        };
        self.ring.commit(&frame, Checksummed::Bytes, 0, pin)?;
        Ok(frame)
    }

    /// Allocates and writes a frame under one pin.
    pub(super) fn publish(&self, claim: SlotClaim) -> Result<Frame, Error> {
        let pin = self.take_pin(claim);
        let offset = self.ring.allocate(FRAME_ALIGN, InitialState::Writing, &pin, &self.locks)?;
        self.fill_and_commit(offset, &pin)
    }

    /// Reads a frame: its bytes, or why not.
    pub(super) fn read(&self, frame: &Frame, claim: SlotClaim) -> Result<u64, Error> {
        let pin = self.take_pin(claim);
        self.ring.begin_read(frame, &pin)?;
        // SAFETY: loom checks that nobody writes to the cell.
        Ok(self.cell(frame.offset).with(|cell| unsafe { *cell }))
    }

    /// Allocates and writes a frame of one channel with this number, and returns the pin on it and its beginning.
    pub(super) fn send(&self, number: u64, claim: SlotClaim) -> Result<(Pin<'_, Heap>, u64), Error> {
        let pin = self.take_pin(claim);
        let offset = self.ring.allocate_to_send(FRAME_ALIGN, 0, &pin, &self.locks)?;
        let start = offset - HEADER_SIZE - DESCRIPTOR_SIZE;
        self.ring.memory().descriptor(start).number.store(number, Ordering::Relaxed);
        self.fill_and_commit(offset, &pin)?;
        pin.vouch();
        Ok((pin, start))
    }

    /// As [`send`](Self::send), a frame of two cells, of which the second is filled. Returns it and its beginning.
    pub(super) fn send_two_cells(&self, number: u64, claim: SlotClaim) -> Result<(Frame, u64), Error> {
        let pin = self.take_pin(claim);
        let offset = self.ring.allocate_to_send(2 * FRAME_ALIGN, 0, &pin, &self.locks)?;
        let start = offset - HEADER_SIZE - DESCRIPTOR_SIZE;
        self.ring.memory().descriptor(start).number.store(number, Ordering::Relaxed);
        // SAFETY: loom checks that nobody else touches the cell.
        self.cell(offset + FRAME_ALIGN).with_mut(|cell| unsafe { *cell = offset });
        let frame = Frame::new(offset, 2 * FRAME_ALIGN, Checksum::from_u64(offset));
        self.ring.commit(&frame, Checksummed::Bytes, 0, &pin)?;
        Ok((frame, start))
    }

    /// Receives the frame with this number that begins at `start`: its bytes, if it is there.
    pub(super) fn receive(&self, start: u64, number: u64, claim: SlotClaim) -> Option<u64> {
        let pin = self.take_pin(claim);
        let received = self.ring.begin_receive(start, (0, number), 0, &pin).expect("it has its slot")?;
        // SAFETY: loom checks that nobody writes to the cell.
        Some(self.cell(received.frame.offset).with(|cell| unsafe { *cell }))
    }
}
