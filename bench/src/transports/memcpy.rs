//! Bare `memcpy`, in one process: from one private buffer to ever new places of a region as large as the ring.

use std::hint::black_box;

use super::{Copier, Ends, Transport, built_in};
use crate::wait::Waiting;

/// Bytes of the region.
const REGION: usize = 512 << 20;

pub(super) const MEMCPY: Transport = Transport {
    id: "memcpy",
    name: "memcpy, once, in one process",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Spin,
    ends: Ends::Alone { copier },
    server: None,
    available: built_in,
};

fn copier() -> Copier {
    // Not zeros: pages that were never written to are not there yet.
    let mut region = vec![1_u8; REGION];
    let mut at = 0;
    Box::new(move |payload| {
        if at + payload.len() > region.len() {
            at = 0;
        }
        region[at..at + payload.len()].copy_from_slice(black_box(payload));
        black_box(&region[at..]);
        // As frames lie in the ring: aligned to cache lines, a header between them.
        at = (at + payload.len() + 64).next_multiple_of(64);
    })
}
