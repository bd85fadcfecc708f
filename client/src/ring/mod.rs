//! PLACEHOLDER
mod allocate;
mod frame;
#[cfg(all(test, loom))]
mod models;
mod participants;
mod pin;

pub(crate) use allocate::{BEING_WRITTEN, TO_BE_WRITTEN};
pub(crate) use participants::{Seat, SlotLocks};
pub(crate) use pin::Pin;

use crate::layout::{FrameHeader, Slot};
use crate::sync::AtomicU64;

/// What the protocol needs of memory. A mapped segment has it, and so has the heap that the loom models run on.
pub(crate) trait RingMemory {
    /// Size of the largest frame in bytes.
    fn size(&self) -> u64;
    /// Bytes of the data ring, a multiple of 64.
    fn capacity(&self) -> u64;
    /// Stream position up to which the ring is allocated.
    fn head(&self) -> &AtomicU64;
    /// Word number `word` of the bitmap of slots in use.
    fn enrolled(&self, word: usize) -> &AtomicU64;
    /// Slot number `index`, below `PARTICIPANTS`.
    fn slot(&self, index: usize) -> &Slot;
    /// The header of the frame that starts at this stream position, a multiple of 64.
    fn header(&self, start: u64) -> &FrameHeader;
}

/// The protocol over some memory.
pub(crate) struct Ring<M> {
    memory: M,
}

impl<M: RingMemory> Ring<M> {
    pub(crate) fn new(memory: M) -> Self {
        Self { memory }
    }

    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }
}
