//! Whether a segment is in order: the checks of its owner, once a second or so, and of whoever looks from outside.
//!
//! What needs only the file is read through the file: it may have been cut short, and then touching a mapping of it
//! ends the process (SIGBUS).

use std::fs::File;
use std::sync::atomic::{Ordering, fence};

use framebuffer_contract::Geometry;

use super::{Segment, identity};
use crate::error::segment::SegmentError;
use crate::layout::{FRAME_ALIGN, PARTICIPANTS};
use crate::ring::RingMemory;
use crate::ring::allocate::MAX_POSITION;
use crate::stats::Counter;

/// What a segment is known to be, to tell it from another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    geometry: Geometry,
    id: [u64; 2],
}

impl Known {
    /// Learns it from a segment that is in order.
    pub(crate) fn of(file: &File) -> Result<Self, SegmentError> {
        Ok(Self { geometry: identity::check(file)?, id: identity::id(file)? })
    }

    /// Whether `file` is this segment, and nobody has written over its identity or given it up.
    pub(crate) fn check(&self, file: &File) -> Result<(), SegmentError> {
        check_not_retired(file)?;
        let found = Self::of(file)?;
        let expect = |what, found, expected| {
            if found == expected { Ok(()) } else { Err(SegmentError::Damaged { what, found, expected }) }
        };
        expect("ring size", found.geometry.size, self.geometry.size)?;
        (0..2).try_for_each(|word| expect("id", found.id[word], self.id[word]))
    }

    /// Whether the file still has its length, so that a mapping of it can be touched.
    pub(crate) fn check_length(&self, file: &File) -> Result<(), SegmentError> {
        let found = file.metadata().map_err(SegmentError::io("look at the segment"))?.len();
        let expected = self.geometry.file_length();
        if found == expected { Ok(()) } else { Err(SegmentError::Damaged { what: "file length", found, expected }) }
    }
}

/// An error if an owner has given the segment up: nobody finds what is published there.
pub(crate) fn check_not_retired(file: &File) -> Result<(), SegmentError> {
    if identity::is_retired(file)? {
        return Err(SegmentError::Damaged { what: "mark of retirement", found: 1, expected: 0 });
    }
    Ok(())
}

/// Returns the head, which is not below `seen`, a head of before, nor below the sum of all allocations.
pub(crate) fn check_head(segment: &Segment, seen: u64) -> Result<u64, SegmentError> {
    let allocated = |slot| segment.slot(slot).counters.words[Counter::AllocatedBytes as usize].load(Ordering::Relaxed);
    let allocated = (0..PARTICIPANTS).map(allocated).fold(0_u64, u64::saturating_add);
    // Pairs with the fence behind the move of the head in `Ring::allocate`: whoever counted has moved it before.
    fence(Ordering::Acquire);
    let found = segment.head().load(Ordering::Relaxed);
    let least = seen.max(allocated);
    if found.is_multiple_of(FRAME_ALIGN) && (least..=MAX_POSITION).contains(&found) {
        return Ok(found);
    }
    Err(SegmentError::Head { found, least })
}
