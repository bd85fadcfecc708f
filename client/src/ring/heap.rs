//! [`Heap`]: the memory of a ring on the heap, for tests and models. It has headers and no payload.

use super::RingMemory;
use crate::frame::RingId;
use crate::layout::{
    ACTIVE_LINES, ActiveLine, DescriptorWords, ENROLLED_WORDS, FRAME_ALIGN, FrameHeader, HEADER_SIZE, PARTICIPANTS,
    Slot,
};
use crate::sync::AtomicU64;

pub(crate) struct Heap {
    capacity: u64,
    window: u64,
    head: AtomicU64,
    enrolled: [AtomicU64; ENROLLED_WORDS],
    active: [ActiveLine; ACTIVE_LINES],
    slots: Vec<Slot>,
    headers: Vec<FrameHeader>,
    descriptors: Vec<DescriptorWords>,
}

impl Heap {
    /// An empty ring of `capacity` bytes, a multiple of 64.
    pub(crate) fn new(capacity: u64) -> Self {
        Self::with_window(capacity, capacity)
    }

    /// The same, of which the first `window` bytes of each lap are preferred.
    pub(crate) fn with_window(capacity: u64, window: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            capacity,
            window,
            head: zero(),
            enrolled: std::array::from_fn(|_| zero()),
            active: std::array::from_fn(|_| ActiveLine::default()),
            slots: (0..PARTICIPANTS).map(|_| Slot::vacant()).collect(),
            headers: (0..capacity / FRAME_ALIGN).map(|_| FrameHeader::default()).collect(),
            descriptors: (0..capacity / FRAME_ALIGN).map(|_| DescriptorWords::default()).collect(),
        }
    }
}

impl RingMemory for Heap {
    fn id(&self) -> RingId {
        RingId::of_segment([1, 0])
    }
    fn size(&self) -> u64 {
        self.capacity - HEADER_SIZE
    }
    fn capacity(&self) -> u64 {
        self.capacity
    }
    fn window_for(&self, _length: u64) -> u64 {
        self.window
    }
    fn head(&self) -> &AtomicU64 {
        &self.head
    }
    fn enrolled(&self, word: usize) -> &AtomicU64 {
        &self.enrolled[word]
    }
    fn active(&self, line: usize) -> &ActiveLine {
        &self.active[line]
    }
    fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }
    fn header(&self, position: u64) -> &FrameHeader {
        &self.headers[(position % self.capacity / FRAME_ALIGN) as usize]
    }
    fn descriptor(&self, position: u64) -> &DescriptorWords {
        &self.descriptors[(position % self.capacity / FRAME_ALIGN) as usize]
    }
}
