//! [`Model`]: a ring on the heap, and what a participant does with it.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::layout::{
    ENROLLED_WORDS, FRAME_ALIGN, FREE, FrameHeader, HEADER_SIZE, PARTICIPANTS, PINS, Pin as PinWords, Slot,
};
use crate::ring::{BEING_WRITTEN, Checksummed, Pin, Ring, RingMemory, Seat, SlotLocks};
use crate::sync::AtomicU64;
use crate::{Checksum, Frame};

/// A ring on the heap, with what loom watches in the place of payloads.
pub(super) struct Heap {
    capacity: u64,
    head: AtomicU64,
    enrolled: [AtomicU64; ENROLLED_WORDS],
    slots: [Slot; PARTICIPANTS],
    headers: Vec<FrameHeader>,
    /// For each 64 bytes of the ring: the offset of the frame whose payload is there.
    cells: Vec<UnsafeCell<u64>>,
}

/// Slot locks: whether each slot's holder lives, and whether somebody is asking.
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

/// A ring, its locks, and what a participant does with them.
pub(super) struct Model {
    pub(super) ring: Ring<Heap>,
    pub(super) locks: Locks,
}

impl Model {
    /// A ring of `units` times 64 bytes. A frame of one cell of payload takes two.
    pub(super) fn new(units: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let pin = |_| PinWords { start: AtomicU64::new(FREE), end: zero() };
        let slot = |_| Slot {
            active: zero(),
            incarnation: zero(),
            pins: std::array::from_fn::<_, PINS, _>(pin),
            counters: Default::default(),
        };
        let header = |_| FrameHeader {
            offset: zero(),
            allocated: zero(),
            length: zero(),
            state: zero(),
            checksum: zero(),
            committed: zero(),
        };
        let heap = Heap {
            capacity: units * FRAME_ALIGN,
            head: zero(),
            enrolled: std::array::from_fn(|_| zero()),
            slots: std::array::from_fn(slot),
            headers: (0..units).map(header).collect(),
            cells: (0..units).map(|_| UnsafeCell::new(0)).collect(),
        };
        Self { ring: Ring::new(heap), locks: Locks::default() }
    }

    /// Takes the first free slot.
    pub(super) fn join(&self) -> Seat {
        let slot = (0..PARTICIPANTS).find(|&slot| self.locks.take(slot)).expect("a free slot");
        self.ring.enroll(slot)
    }

    /// The process of this seat dies: all that happens is that its lock is free.
    pub(super) fn die(&self, seat: Seat) {
        self.locks.release(seat.slot);
    }

    pub(super) fn claim(&self, seat: Seat) -> Pin<'_, Heap> {
        self.ring.claim(seat).expect("a free pin")
    }

    pub(super) fn cell(&self, offset: u64) -> &UnsafeCell<u64> {
        &self.ring.memory().cells[(offset % self.ring.memory().capacity / FRAME_ALIGN) as usize]
    }

    pub(super) fn fill_and_commit(&self, offset: u64, seat: Seat) -> Frame {
        // SAFETY: loom checks that nobody else touches the cell.
        self.cell(offset).with_mut(|cell| unsafe { *cell = offset });
        let frame = Frame { offset, size: FRAME_ALIGN, checksum: Checksum::from_u64(offset) };
        self.ring.commit(&frame, Checksummed::Bytes, 0, seat.slot);
        frame
    }

    /// Allocates and writes a frame under one pin.
    pub(super) fn publish(&self, seat: Seat) -> Result<Frame, Error> {
        let pin = self.claim(seat);
        let offset = self.ring.allocate(FRAME_ALIGN, BEING_WRITTEN, &pin, &self.locks)?;
        Ok(self.fill_and_commit(offset, seat))
    }

    /// Reads a frame: its bytes, or why not.
    pub(super) fn read(&self, frame: &Frame, seat: Seat) -> Result<u64, Error> {
        let pin = self.claim(seat);
        self.ring.begin_read(frame, &pin)?;
        // SAFETY: loom checks that nobody writes to the cell.
        Ok(self.cell(frame.offset).with(|cell| unsafe { *cell }))
    }
}
