//! Touching a ring's memory before frames come to lie there, and backing it with huge pages.
//!
//! `fallocate` gives a segment its memory, but a process meets each page with a page fault, and the first of all processes also
//! clears it. That costs about as much as copying the page, so it is done ahead, by two threads: each takes half of the ring, in
//! both of its mappings, so that neither finds the other's pages missing.
//!
//! The owner also asks for huge pages (`MADV_COLLAPSE`, Linux 6.1), which make later copies faster. The others do not: the
//! new pages are charged to the control group of who asks. Where there are none (older kernels, no free memory in one
//! piece, a limit that is too tight for one more of them) pages stay small; [`Stats`](crate::Stats) says how many are huge.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use framebuffer_contract::segment::HUGE_PAGE;
use nix::errno::Errno;

use super::mapping::{Advice, Mapping};

/// How much is asked of the kernel at once: little enough to stop soon when asked to, and whole huge pages.
const STEP: usize = 16 * HUGE_PAGE as usize;

/// When the pages of a ring are touched: the first touch of a page costs about as much as copying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefault {
    /// When a frame first comes to lie there.
    Off,
    /// By threads of their own, while frames already flow.
    #[default]
    Background,
    /// Before the call returns.
    Wait,
}

/// The prefaulting under way; dropping it ends it.
pub(crate) struct Prefaulting {
    stop: Arc<AtomicBool>,
}

impl Prefaulting {
    /// Begins to prefault, as the ring's owner with huge pages if they are to be had.
    pub(crate) fn start(mapping: &Arc<Mapping>, when: Prefault, is_owner: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        if is_owner {
            // What an earlier owner has told.
            mapping.control_block().huge.store(0, Ordering::Relaxed);
        }
        if when != Prefault::Off {
            let middle = (mapping.capacity() / 2).next_multiple_of(STEP).min(mapping.capacity());
            let halves = [0..middle, middle..mapping.capacity()];
            let threads: Vec<_> = halves.into_iter().map(|half| spawn(mapping, half, is_owner, &stop)).collect();
            if when == Prefault::Wait {
                // One that has panicked has touched less, and no more.
                threads.into_iter().flatten().for_each(|thread| _ = thread.join());
            }
        }
        Self { stop }
    }
}

impl Drop for Prefaulting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Prefaults a part of the ring in a thread.
fn spawn(
    mapping: &Arc<Mapping>,
    part: Range<usize>,
    is_owner: bool,
    stop: &Arc<AtomicBool>,
) -> Option<thread::JoinHandle<()>> {
    let (mapping, stop) = (Arc::clone(mapping), Arc::clone(stop));
    let work = move || prefault(&mapping, part, is_owner, &stop);
    // Without the thread (a limit on threads, say) pages are touched when they are needed.
    let spawned = thread::Builder::new().name("framebuffer-prefault".to_owned()).spawn(work);
    spawned.inspect_err(|error| tracing::debug!(%error, "no thread for prefaulting")).ok()
}

/// Fills this process's page tables for a part of the ring, so that later accesses meet no page fault. Stops early when `stop`
/// is set, and where the kernel cannot do it.
fn prefault(mapping: &Mapping, part: Range<usize>, is_owner: bool, stop: &AtomicBool) {
    let mut may_be_huge = is_owner && mapping.is_aligned_to_huge_pages();
    for at in part.clone().step_by(STEP) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let step = at..part.end.min(at + STEP);
        if may_be_huge {
            may_be_huge = collapse(mapping, step.clone());
        }
        for first in [step.start, mapping.capacity() + step.start] {
            if mapping.advise(first, step.len(), Advice::Populate).is_err() {
                return;
            }
        }
    }
}

/// Gets huge pages for a part of the ring. Returns whether it is worth trying the next part.
fn collapse(mapping: &Mapping, part: Range<usize>) -> bool {
    for at in part.step_by(HUGE_PAGE as usize) {
        match mapping.advise(at, HUGE_PAGE as usize, Advice::Collapse) {
            Ok(()) => _ = mapping.control_block().huge.fetch_add(HUGE_PAGE, Ordering::Relaxed),
            // No memory in one piece, or a page is in use by somebody: so here, but not everywhere.
            Err(Errno::ENOMEM | Errno::EAGAIN | Errno::EBUSY) => {}
            Err(error) => {
                tracing::debug!(%error, "no huge pages");
                return false;
            }
        }
    }
    true
}
