//! Frames: the life of a header, from reserved through writing to committed, and finding it again.

use super::pin::{Pin, Range};
use super::{Ring, RingMemory};
use crate::checksum::Checksum;
use crate::error::{Error, FrameBufferTimeout, TimeoutReason};
use crate::frame::Frame;
use crate::layout::{DESCRIPTOR_SIZE, FRAME_ALIGN, FrameHeader, HEADER_SIZE, state};
use crate::stats::Counter;
use crate::sync::Ordering;

/// The state that an allocation begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum InitialState {
    /// To be written later, under another pin.
    Reserved = state::RESERVED,
    /// The caller goes on to write the frame under the pin of the allocation.
    Writing = state::WRITING,
}

/// The input of a committed frame's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Checksummed {
    /// The bytes of the frame.
    Bytes = state::COMMITTED,
    /// The frame's identity: its bytes were not hashed.
    Identity = state::COMMITTED_UNHASHED,
}

/// A frame that was found through the index of its channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) frame: Frame,
    pub(crate) checksummed: Checksummed,
    /// When it was committed, in nanoseconds since 1970.
    pub(crate) committed: u64,
}

impl<M: RingMemory> Ring<M> {
    /// Pins the frame at `offset` to write `len` bytes into it, and makes the caller its one writer.
    #[inline]
    pub(crate) fn begin_write(&self, offset: u64, len: u64, pin: &Pin<'_, M>) -> Result<(), Error> {
        let header = self.lookup(offset, len, pin)?;
        // Whatever the header says: no frame is larger than the ring, and nothing beyond that is mapped.
        let allocated = header.allocated.load(Ordering::Relaxed).min(self.memory.size());
        if len > allocated {
            return Err(Error::TooLarge { len, allocated });
        }
        // Only the one who makes this step may write the payload. Orders nothing: the pin makes the bytes ours.
        match header.state.compare_exchange(state::RESERVED, state::WRITING, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::AlreadyWritten { offset }),
        }
    }

    /// Commits the frame, which `pin` protects and whose writer is the caller: from here on it can be read, and no
    /// longer changed. Not if the participant was declared dead meanwhile: others may have the bytes then.
    #[inline]
    pub(crate) fn commit(
        &self,
        frame: &Frame,
        checksummed: Checksummed,
        nanoseconds_since_1970: u64,
        pin: &Pin<'_, M>,
    ) -> Result<(), Error> {
        if !pin.has_slot() {
            return Err(Error::ParticipantLost);
        }
        let slot = pin.place().0;
        let header = self.memory.header(frame.offset - HEADER_SIZE);
        header.length.store(frame.size, Ordering::Relaxed);
        header.checksum.store(frame.checksum.to_u64(), Ordering::Relaxed);
        header.committed.store(nanoseconds_since_1970, Ordering::Relaxed);
        // SYNC POINT "commit": pairs with the Acquire of `begin_read`. Payload and header are complete before this.
        header.state.store(checksummed as u64, Ordering::Release);
        self.count(slot, Counter::FramesWritten, 1);
        self.count(slot, Counter::BytesWritten, frame.size);
        Ok(())
    }

    /// Pins the promised frame, which must be committed. Its payload may be read for as long as `pin` lives.
    #[inline]
    pub(crate) fn begin_read(&self, promised: &Frame, pin: &Pin<'_, M>) -> Result<Checksummed, Error> {
        let found = self.check_promise(promised, pin);
        if let Err(Error::Timeout(timeout)) = &found {
            self.count_timeout(pin.place().0, timeout.reason);
        }
        found
    }

    #[inline]
    fn check_promise(&self, promised: &Frame, pin: &Pin<'_, M>) -> Result<Checksummed, Error> {
        let Frame { offset, size, checksum, ring } = *promised;
        // Before all else: what the description says is about another ring's frames.
        if let Some(frame) = ring.filter(|frame| *frame != self.memory.id()) {
            return Err(Error::OtherRing { frame, ring: self.memory.id() });
        }
        let limit = self.memory.size();
        if size > limit {
            return Err(Error::LargerThanRing { size, limit });
        }
        let timeout = |reason| Err(FrameBufferTimeout { offset, reason }.into());
        let header = self.lookup(offset, size, pin)?;
        // SYNC POINT "commit", see `commit`.
        let checksummed = match header.state.load(Ordering::Acquire) {
            state::COMMITTED => Checksummed::Bytes,
            state::COMMITTED_UNHASHED => Checksummed::Identity,
            _ => return timeout(TimeoutReason::NotWritten),
        };
        let committed = header.length.load(Ordering::Relaxed);
        if committed != size {
            return timeout(TimeoutReason::SizeMismatch { promised: size, committed });
        }
        let found = Checksum::from_u64(header.checksum.load(Ordering::Relaxed));
        if found != checksum {
            return timeout(TimeoutReason::ChecksumMismatch { promised: checksum, found });
        }
        Ok(checksummed)
    }

    /// Pins the frame that starts, with its descriptor, at this stream position, if it is the one with this number in
    /// the channel at this place. Its bytes may be read for as long as `pin` lives. `None` if it is gone.
    ///
    /// `expected` bytes are pinned at first: if the frame is no larger than that, it takes one step, otherwise two.
    #[inline]
    pub(crate) fn begin_receive(
        &self,
        start: u64,
        (channel, number): (usize, u64),
        expected: u64,
        pin: &Pin<'_, M>,
    ) -> Result<Option<Received>, Error> {
        let offset = start.saturating_add(DESCRIPTOR_SIZE + HEADER_SIZE);
        let head = self.memory.head().load(Ordering::Acquire);
        // A pin that ends behind the head would not count.
        if offset > head {
            return Ok(None);
        }
        let end_of = |size: u64| offset.saturating_add(size).checked_next_multiple_of(FRAME_ALIGN).unwrap_or(u64::MAX);
        // What the ring has moved past is there for as long as somebody else has it pinned: who sent it, say.
        let is_gone = |head| start.saturating_add(self.memory.capacity()) < head && !pin.share(start);
        let protected = end_of(expected).min(head);
        let head_then = pin.protect(Range { start, end: protected });
        if !pin.has_slot() {
            return Err(Error::ParticipantLost);
        }
        if is_gone(head_then) {
            return Ok(None);
        }
        let header = self.memory.header(offset - HEADER_SIZE);
        // Acquire, pairs with the Release of `allocate`.
        let is_here = header.offset.load(Ordering::Acquire) == offset
            && header.channel.load(Ordering::Relaxed) == channel as u64 + 1
            && self.memory.descriptor(start).number.load(Ordering::Relaxed) == number;
        // SYNC POINT "commit", see `commit`.
        let checksummed = match header.state.load(Ordering::Acquire) {
            state::COMMITTED if is_here => Checksummed::Bytes,
            state::COMMITTED_UNHASHED if is_here => Checksummed::Identity,
            _ => return Ok(None),
        };
        let size = header.length.load(Ordering::Relaxed);
        if size > self.memory.size() || end_of(size) > head {
            return Ok(None);
        }
        if end_of(size) > protected && is_gone(pin.widen(end_of(size))) {
            return Ok(None);
        }
        let checksum = Checksum::from_u64(header.checksum.load(Ordering::Relaxed));
        let frame = Frame { offset, size, checksum, ring: Some(self.memory.id()) };
        let committed = header.committed.load(Ordering::Relaxed);
        Ok(Some(Received { frame, checksummed, committed }))
    }

    /// Pins `len` bytes at `offset` (fewer if they reach beyond the head) and finds their header.
    #[inline]
    fn lookup(&self, offset: u64, len: u64, pin: &Pin<'_, M>) -> Result<&FrameHeader, Error> {
        let head = self.memory.head().load(Ordering::Acquire);
        let never = Error::NeverAllocated { offset, head };
        if offset < HEADER_SIZE || !offset.is_multiple_of(FRAME_ALIGN) || offset > head {
            return Err(never);
        }
        let start = offset - HEADER_SIZE;
        let end = offset.saturating_add(len).checked_next_multiple_of(FRAME_ALIGN).map_or(head, |end| end.min(head));
        let head = pin.protect(Range { start, end });
        if !pin.has_slot() {
            return Err(Error::ParticipantLost);
        }
        let kept_until = start.saturating_add(self.memory.capacity());
        // What the ring has moved past is there for as long as its sender keeps it.
        let is_kept = || start.checked_sub(DESCRIPTOR_SIZE).is_some_and(|sent| pin.share(sent));
        if kept_until < head && !is_kept() {
            let laps = (head - start - 1) / self.memory.capacity();
            let reason = TimeoutReason::Overwritten { behind: head - kept_until, laps };
            return Err(FrameBufferTimeout { offset, reason }.into());
        }
        let header = self.memory.header(start);
        // Acquire, pairs with the Release of `allocate`.
        if header.offset.load(Ordering::Acquire) != offset {
            return Err(never);
        }
        Ok(header)
    }

    /// Counts a timeout by its reason.
    pub(crate) fn count_timeout(&self, slot: usize, reason: TimeoutReason) {
        let counter = match reason {
            TimeoutReason::Overwritten { .. } => Counter::TimeoutsOverwritten,
            TimeoutReason::NotWritten => Counter::TimeoutsNotWritten,
            TimeoutReason::SizeMismatch { .. }
            | TimeoutReason::ChecksumMismatch { .. }
            | TimeoutReason::Unprotected => Counter::TimeoutsMismatch,
        };
        self.count(slot, counter, 1);
    }
}
