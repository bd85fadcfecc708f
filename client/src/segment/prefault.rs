//! Touching a ring's pages before frames are written there, and backing the ring with huge pages.
//!
//! `fallocate` gives a segment its memory, but each process takes a page fault on its first access to a page, and the
//! first process of all also clears the page. That costs about as much as copying the page, so two threads do it ahead:
//! each takes half of the ring, in both of its mappings, so that neither finds the other's pages missing.
//!
//! The owner also requests huge pages (`MADV_COLLAPSE`, Linux 6.1), which make later copies faster. Clients do not: the
//! new pages are charged to the control group of the process that requests them. Where there are none (older kernels,
//! no contiguous free memory, a limit too tight for one more huge page), pages stay small; [`Stats`](crate::Stats)
//! tells how many are huge.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use framebuffer_contract::segment::HUGE_PAGE;
use nix::errno::Errno;

use super::mapping::{Advice, Mapping};

/// Bytes per request to the kernel: few enough to stop soon when told to, and whole huge pages.
const STEP: usize = 16 * HUGE_PAGE as usize;

/// Pause between two looks whether the threads have finished: a step takes some milliseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// When the pages of a ring are touched. The first touch of a page costs about as much as copying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefault {
    /// When a frame is first written there.
    Off,
    /// By background threads, while frames already flow.
    #[default]
    Background,
    /// Before the call returns.
    Wait,
}

/// Prefaulting in progress; dropping it stops it.
pub(crate) struct Prefaulting {
    stop: Arc<AtomicBool>,
}

impl Prefaulting {
    /// Starts prefaulting; as the ring's owner, with huge pages where possible.
    pub(crate) fn start(mapping: &Arc<Mapping>, when: Prefault, is_owner: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        if is_owner {
            // The figure of an earlier owner.
            mapping.control_block().huge.store(0, Ordering::Relaxed);
        }
        if when != Prefault::Off {
            let middle = (mapping.capacity() / 2).next_multiple_of(STEP).min(mapping.capacity());
            let halves = [0..middle, middle..mapping.capacity()];
            let threads: Vec<_> = halves.into_iter().map(|half| spawn(mapping, half, is_owner, &stop)).collect();
            if when == Prefault::Wait {
                // A thread that panicked has touched fewer pages; there is nothing to repair.
                threads.into_iter().flatten().for_each(|thread| _ = thread.join());
            }
        }
        Self { stop }
    }
}

impl Prefaulting {
    /// Stops it, and waits until its threads have finished the step that they are at.
    pub(crate) fn finish(&self) {
        self.stop.store(true, Ordering::Relaxed);
        while Arc::strong_count(&self.stop) > 1 {
            thread::sleep(PAUSE);
        }
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
    // Without the thread (because of a limit on threads, say), pages are touched on demand.
    let spawned = thread::Builder::new().name("framebuffer-prefault".to_owned()).spawn(work);
    spawned.inspect_err(|error| tracing::debug!(%error, "no thread for prefaulting")).ok()
}

/// Fills this process's page tables for a part of the ring, so that later accesses take no page fault. Stops early when
/// `stop` is set, and where the kernel cannot do it.
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

/// Requests huge pages for a part of the ring. Returns whether it is worth trying the next part.
fn collapse(mapping: &Mapping, part: Range<usize>) -> bool {
    for at in part.step_by(HUGE_PAGE as usize) {
        match mapping.advise(at, HUGE_PAGE as usize, Advice::Collapse) {
            Ok(()) => _ = mapping.control_block().huge.fetch_add(HUGE_PAGE, Ordering::Relaxed),
            // No contiguous memory, or a page is in use: true here, but not everywhere.
            Err(Errno::ENOMEM | Errno::EAGAIN | Errno::EBUSY) => {}
            Err(error) => {
                tracing::debug!(%error, "no huge pages");
                return false;
            }
        }
    }
    true
}
