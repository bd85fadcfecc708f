//! When to store past the caches.
//!
//! A store to a line that is in no cache first reads it from memory. A non-temporal store does not, but leaves the
//! bytes in memory, from where their next reader must fetch them. Which is better depends on where the destination is
//! now:
//!
//! - *Writing into a ring.* A ring much smaller than the last cache stays in it, and the reader finds the frame there.
//!   In a larger one, the destination was written a lap ago and has left the caches, however small the frame is.
//!   Measured one way, from one core to another (AMD Zen 4, 32 MiB of L3, 2026-11-24, time to a frame read out,
//!   ordinary against streamed): ring of 8 MiB: 4 KiB 1.0 against 1.2 us, 256 KiB 14 against 26, 1 MiB 52 against 89.
//!   Ring of 32 MiB: 3.4 against 1.9 us, 37 against 28, 114 against 97. Ring of 512 MiB: 3.4 against 2.0 us, 38 against
//!   30, 127 against 112. Rings of 12 to 24 MiB were sometimes better off with one, sometimes with the other. (A
//!   program that is not kept here forced both settings in turn; `cargo xtask bench -- --ring MIB` shows the result.)
//! - *Reading out of a ring* into the caller's buffer. That is usually in a cache if it fits there, and the caller goes
//!   on to look at it. From 1 MiB on streaming is at least as fast even with that (512 MiB ring, copied out and summed
//!   up: 261 us ordinary, 256 streamed), and far faster into a buffer that is cold; below, and out of a ring in the
//!   cache, it is slower.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames of at least this size, in bytes, are read past the caches: the L2 cache of a current server core.
const READ_FROM: usize = 1 << 20;

/// The size of the last cache, in bytes, where the system does not report it.
const ASSUMED_CACHE: u64 = 32 << 20;

/// The frame sizes, in bytes, from which a ring's frames are stored past the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streaming {
    /// On their way in.
    pub(crate) write_from: usize,
    /// On their way out.
    pub(crate) read_from: usize,
}

/// The last cache of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caching {
    /// Bytes.
    last_cache: u64,
}

impl Caching {
    /// That of this machine.
    pub(crate) fn of_this_machine() -> Self {
        // 0 before the first call. Concurrent first calls find the same.
        static CACHE: AtomicU64 = AtomicU64::new(0);
        let last_cache = match CACHE.load(Ordering::Relaxed) {
            0 => last_cache(Path::new(CACHES)).unwrap_or(ASSUMED_CACHE),
            known => known,
        };
        CACHE.store(last_cache, Ordering::Relaxed);
        Self { last_cache }
    }

    /// For a ring of which `window` bytes are in use again and again. It shares the cache with everything else on the
    /// machine, so half of it is assumed to be available.
    #[inline]
    pub(crate) fn streaming(self, window: u64) -> Streaming {
        if window > self.last_cache / 2 {
            Streaming { write_from: 0, read_from: READ_FROM }
        } else {
            Streaming { write_from: usize::MAX, read_from: usize::MAX }
        }
    }

    /// The window of a ring that is to stay in the cache, in bytes: see the measurements above, where rings of 12 MiB
    /// were the largest of which that is certain with a cache of 32.
    pub(crate) fn window(self) -> u64 {
        self.last_cache / 8 * 3
    }
}

/// Where Linux describes the caches of the first processor: a folder for each.
const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";

/// The size of the largest cache, in bytes.
fn last_cache(caches: &Path) -> Option<u64> {
    let sizes = fs::read_dir(caches).ok()?.flatten().filter_map(|cache| {
        let size = fs::read_to_string(cache.path().join("size")).ok()?;
        // "32768K"
        size.trim().strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
    });
    sizes.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_stays_in_the_cache_is_written_and_read_through_it() {
        let small = Caching { last_cache: 32 << 20 }.streaming(8 << 20);
        assert_eq!(small, Streaming { write_from: usize::MAX, read_from: usize::MAX });
    }

    #[test]
    fn a_larger_ring_is_written_past_the_cache_and_large_frames_are_read_past_it() {
        let large = Caching { last_cache: 32 << 20 }.streaming(512 << 20);
        assert_eq!(large, Streaming { write_from: 0, read_from: READ_FROM });
    }

    #[test]
    fn the_last_cache_is_the_largest_that_the_system_lists() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [("index0", "32K\n"), ("index3", "32768K\n"), ("index2", "1024K\n"), ("other", "x")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("size"), size).unwrap();
        }
        assert_eq!(last_cache(dir.path()), Some(32 << 20));
        assert_eq!(last_cache(&dir.path().join("absent")), None);
    }
}
