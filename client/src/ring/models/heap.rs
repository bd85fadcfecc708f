//! [`Model`]: a ring on the heap, and the operations of a participant.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};

use crate::checksum::Checksum;
use crate::error::Error;
use crate::frame::Frame;
use crate::layout::{ENROLLED_WORDS, FRAME_ALIGN, FrameHeader, HEADER_SIZE, PARTICIPANTS, Slot};
use crate::ring::allocate::InitialState;
use crate::ring::frame::Checksummed;
use crate::ring::participants::{SlotClaim, SlotLocks};
use crate::ring::pin::Pin;
use crate::ring::{Ring, RingMemory};
use crate::sync::AtomicU64;

/// A ring on the heap, with cells that loom watches in place of payloads.
pub(super) struct Heap {
    capacity: u64,
    head: AtomicU64,
    enrolled: [AtomicU64; ENROLLED_WORDS],
    slots: [Slot; PARTICIPANTS],
    headers: Vec<FrameHeader>,
    /// For each 64 bytes of the ring: the offset of the frame whose payload is there.
    cells: Vec<UnsafeCell<u64>>,
}

/// Slot locks: whether each slot's participant lives, or somebody is probing.
#[derive(Default)]
pub(super) struct Locks {
    taken: [AtomicBool; PARTICIPANTS],
}

impl Locks {
    fn take(&self, slot: usize) -> bool {
        self.taken[slot].compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn release(&self, slot: usize) {
        self.taken[slot].store(false, Ordering::Release);
    }
}

impl SlotLocks for Locks {
    fn with_lock(&self, slot: usize, action: impl FnOnce()) {
        if self.take(slot) {
            action();
            self.release(slot);
        }
    }
}

impl RingMemory for Heap {
    fn size(&self) -> u64 {
        self.capacity - HEADER_SIZE
    }
    fn capacity(&self) -> u64 {
        self.capacity
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
    fn header(&self, start: u64) -> &FrameHeader {
        &self.headers[(start % self.capacity / FRAME_ALIGN) as usize]
    }
}

/// A ring, its locks, and the operations of a participant.
pub(super) struct Model {
    pub(super) ring: Ring<Heap>,
    pub(super) locks: Locks,
}

impl Model {
    /// A ring of `units` times 64 bytes. A frame of one cell of payload takes two.
    pub(super) fn new(units: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let heap = Heap {
            capacity: units * FRAME_ALIGN,
            head: zero(),
            enrolled: std::array::from_fn(|_| zero()),
            slots: std::array::from_fn(|_| Slot::vacant()),
            headers: (0..units).map(|_| FrameHeader::default()).collect(),
            cells: (0..units).map(|_| UnsafeCell::new(0)).collect(),
        };
        Self { ring: Ring::new(heap), locks: Locks::default() }
    }

    /// Claims the first free slot.
    pub(super) fn join(&self) -> SlotClaim {
        let slot = (0..PARTICIPANTS).find(|&slot| self.locks.take(slot)).expect("a free slot");
        self.ring.enroll(slot)
    }

    /// The participant with this claim dies: its lock becomes free, and nothing else happens.
    pub(super) fn die(&self, claim: SlotClaim) {
        self.locks.release(claim.slot);
    }

    pub(super) fn take_pin(&self, claim: SlotClaim) -> Pin<'_, Heap> {
        self.ring.take_pin(claim).expect("a free pin")
    }

    pub(super) fn cell(&self, offset: u64) -> &UnsafeCell<u64> {
        &self.ring.memory().cells[(offset % self.ring.memory().capacity / FRAME_ALIGN) as usize]
    }

    pub(super) fn fill_and_commit(&self, offset: u64, claim: SlotClaim) -> Frame {
        // SAFETY: loom checks that nobody else touches the cell.
        self.cell(offset).with_mut(|cell| unsafe { *cell = offset });
        let frame = Frame { offset, size: FRAME_ALIGN, checksum: Checksum::from_u64(offset) };
        self.ring.commit(&frame, Checksummed::Bytes, 0, claim.slot);
        frame
    }

    /// Allocates and writes a frame under one pin.
    pub(super) fn publish(&self, claim: SlotClaim) -> Result<Frame, Error> {
        let pin = self.take_pin(claim);
        let offset = self.ring.allocate(FRAME_ALIGN, InitialState::Writing, &pin, &self.locks)?;
        Ok(self.fill_and_commit(offset, claim))
    }

    /// Reads a frame: its bytes, or why not.
    pub(super) fn read(&self, frame: &Frame, claim: SlotClaim) -> Result<u64, Error> {
        let pin = self.take_pin(claim);
        self.ring.begin_read(frame, &pin)?;
        // SAFETY: loom checks that nobody writes to the cell.
        Ok(self.cell(frame.offset).with(|cell| unsafe { *cell }))
    }
}
