//! Touching a ring's pages before frames are written there, and backing the ring with huge pages.
//!
//! `fallocate` gives a segment its memory, but each process takes a page fault on its first access to a page, and the
//! first process of all also clears the page. That costs more than copying the page, so the owner's two threads do it
//! ahead, each for half of the ring.
//!
//! Only the first mapping of the ring is touched: of the second, only frames that cross the ring's end use a part.
//! Clients need no pages cleared, and with huge pages hardly take any faults; so they touch pages ahead only if asked
//! to. It would cost them page tables and resident memory for the whole ring, used or not.
//!
//! The owner also requests huge pages (`MADV_COLLAPSE`, Linux 6.1), which make later copies faster. Clients do not: the
//! new pages are charged to the control group of the process that requests them. Where there are none (older kernels,
//! no contiguous free memory, a limit too tight for one more huge page), pages stay small; [`Stats`](crate::Stats)
//! tells how many are huge.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use framebuffer_contract::segment::HUGE_PAGE;
use nix::errno::Errno;

use super::limits;
use super::mapping::{Advice, Mapping};
use crate::threads;

/// Bytes per request to the kernel: few enough to stop soon when told to, and whole huge pages.
const STEP: usize = 16 * HUGE_PAGE as usize;

/// Pause between two looks whether the threads have finished: a step takes some milliseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// When a process touches the pages of a ring. The first touch of a page may cost more than copying it.
///
/// The default of a server is `Background`: its threads also clear the pages, and move them into huge ones. Once they
/// have, the first touch costs a client little, so its default is `Off`. A client that must not be slow on its first
/// lap, on a machine without huge pages, gains by `Wait`. Both take page tables, 8 bytes for each page of 4 KiB, and
/// add the ring's size to the resident memory that the system reports for the process. Without room for the page
/// tables below the memory limits, nothing is touched ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefault {
    /// When a frame is first written or read there.
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
        if when != Prefault::Off && limits::have_room_for(page_tables(mapping)) {
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

    /// Stops it, and waits until its threads have finished the step that they are at. Not for a forked child, which has
    /// no such threads.
    pub(crate) fn finish(&self) {
        self.stop.store(true, Ordering::Relaxed);
        while Arc::strong_count(&self.stop) > 1 {
            thread::sleep(PAUSE);
        }
    }
}

/// Bytes of page tables that prefaulting fills, at most. They are charged to this process's control group; without room
/// for them, the kernel would kill.
fn page_tables(mapping: &Mapping) -> u64 {
    mapping.capacity() as u64 / 4096 * 8
}

impl Drop for Prefaulting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Prefaults a part of the ring in a thread.
fn spawn(mapping: &Arc<Mapping>, part: Range<usize>, is_owner: bool, stop: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let (mapping, stop) = (Arc::clone(mapping), Arc::clone(stop));
    let work = move || prefault(&mapping, part, is_owner, &stop);
    // Without the thread (because of a limit on threads, say), pages are touched on demand.
    let spawned = threads::spawn("framebuffer-prefault", work);
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
        let populate = if is_owner { Advice::Clear } else { Advice::Populate };
        if mapping.advise(step.start, step.len(), populate).is_err() {
            return;
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
