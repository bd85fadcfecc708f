//! [`Window`]: how much of a ring is in use while nobody holds frames.
//!
//! A large ring is patient, but each frame goes to memory and comes back from there: by the time that its bytes are
//! overwritten, they have left the caches. A window makes allocations prefer the first bytes of each lap, so that the
//! same few megabytes are used again and again, and stay in the last cache. Frames in use (views, frames that a
//! publisher keeps, those that a lossless subscriber has yet to receive) stay where they are and do not count: the
//! window ends where so many bytes are not in use, if need be with the whole ring, and is short again once they are
//! gone.
//!
//! A lap counts as a whole, however few of its bytes are used, and positions end at 2^63: so a window is at least a
//! 64th of its ring. At 10 GB/s, day and night, that lasts for five months.
//!
//! To the protocol, the end of the window is an obstacle like any other, which allocations go around by moving the
//! head on to the next lap. So a lap is over after fewer bytes, and frames that nobody holds stay for as many bytes as
//! the window has.

use crate::checksum::Caching;
use crate::layout::Control;
use crate::sync::{AtomicU64, Ordering};

/// Frames of the largest size lately that a window holds at least.
const FEWEST: u64 = 4;

/// A window is at least this part of its ring.
const SMALLEST_PART: u64 = 64;

/// How much of a ring is in use while nobody holds frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Window {
    /// All of it: a frame that nobody holds is there until a whole ring of bytes was allocated after it.
    #[default]
    Whole,
    /// As much as stays in the last cache, by what the system says of it: 3/8 of its size. The whole ring if that is
    /// more than 64 times as large.
    Auto,
    /// So many bytes, but at least a 64th of the ring, and four of the largest frames lately.
    Bytes(u64),
}

impl Window {
    /// Its bytes in a ring of `capacity` bytes on this machine; `None`: all of them.
    pub(crate) fn bytes(self, capacity: u64) -> Option<u64> {
        match self {
            Self::Whole => None,
            Self::Auto => Some(Caching::of_this_machine().window()).filter(|bytes| *bytes >= capacity / SMALLEST_PART),
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// The words of a segment's window.
pub(crate) struct WindowWords<'s> {
    window: &'s AtomicU64,
    /// See [`Control::largest`].
    largest: &'s [AtomicU64; 2],
}

impl<'s> WindowWords<'s> {
    pub(crate) fn of(control: &'s Control) -> Self {
        Self { window: &control.window, largest: &control.largest }
    }

    /// The window of a ring of `capacity` bytes: what was set, or more if frames are large; at most the whole ring,
    /// whatever the words say.
    #[inline]
    pub(crate) fn bytes(&self, capacity: u64) -> u64 {
        self.with(0, capacity)
    }

    /// The window that an allocation of `length` bytes would have.
    #[inline]
    pub(crate) fn with(&self, length: u64, capacity: u64) -> u64 {
        // Relaxed, all of them: every window is a good one.
        match self.window.load(Ordering::Relaxed) {
            0 => capacity,
            window => {
                let [now, before] = self.largest.each_ref().map(|largest| largest.load(Ordering::Relaxed));
                window.max(now.max(before).max(length).saturating_mul(FEWEST)).min(capacity)
            }
        }
    }

    /// The same for an allocation of `length` bytes, which counts as one of the largest.
    #[inline]
    pub(crate) fn grow(&self, length: u64, capacity: u64) -> u64 {
        if self.window.load(Ordering::Relaxed) == 0 {
            return capacity;
        }
        let [now, _] = self.largest;
        if length > now.load(Ordering::Relaxed) {
            now.fetch_max(length, Ordering::Relaxed);
        }
        self.bytes(capacity)
    }

    /// Sets the window, in bytes; `None`: the whole ring.
    pub(crate) fn set(&self, bytes: Option<u64>, capacity: u64) {
        let bounded = bytes.map_or(0, |bytes| bytes.clamp(capacity.div_ceil(SMALLEST_PART), capacity));
        self.window.store(bounded, Ordering::Relaxed);
    }

    /// Forgets the largest allocation of the time before the last.
    pub(crate) fn age(&self) {
        let [now, before] = self.largest;
        before.store(now.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> (AtomicU64, [AtomicU64; 2]) {
        Default::default()
    }

    #[test]
    fn without_a_window_all_of_the_ring_is_preferred() {
        let (window, largest) = words();
        let words = WindowWords { window: &window, largest: &largest };
        assert_eq!((words.bytes(1000), words.grow(900, 1000)), (1000, 1000));
        words.set(Some(100), 1000);
        assert_eq!(words.bytes(1000), 100);
        words.set(None, 1000);
        assert_eq!(words.bytes(1000), 1000);
    }

    #[test]
    fn a_window_holds_four_of_the_largest_frames_until_they_are_long_gone() {
        let (window, largest) = words();
        let words = WindowWords { window: &window, largest: &largest };
        words.set(Some(100), 1000);
        assert_eq!((words.grow(10, 1000), words.grow(50, 1000), words.grow(10, 1000)), (100, 200, 200));
        words.age();
        assert_eq!(words.grow(10, 1000), 200, "the last time counts as well");
        words.age();
        assert_eq!(words.grow(10, 1000), 100);
        assert_eq!(words.grow(400, 1000), 1000, "no more than there is");
    }

    #[test]
    fn words_that_somebody_has_overwritten_are_bounded() {
        let (window, largest) = words();
        let words = WindowWords { window: &window, largest: &largest };
        words.set(Some(0), 1000);
        assert_eq!(words.bytes(1000), 16);
        words.set(Some(u64::MAX), 1000);
        assert_eq!(words.bytes(1000), 1000);
        window.store(1, Ordering::Relaxed);
        largest[1].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(words.bytes(1000), 1000);
    }
}
