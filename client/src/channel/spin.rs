//! Looking for a frame all the time, for a while, before sleeping.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::index::Index;

/// For how long a subscriber looks all the time before it sleeps, unless it is told otherwise. To wake a sleeper takes
/// about as long. Not on a machine with one processor, where nobody could send meanwhile.
const SPIN: Duration = Duration::from_micros(20);

/// For how long a subscriber looks all the time if it is not told otherwise.
pub(super) fn default_spin() -> Duration {
    /// Nanoseconds plus 1; 0 as long as nobody has asked for the number of processors, which takes a while.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    if let Some(nanoseconds) = KNOWN.load(Ordering::Relaxed).checked_sub(1) {
        return Duration::from_nanos(nanoseconds);
    }
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    let spin = if several { SPIN } else { Duration::ZERO };
    KNOWN.store(spin.as_nanos() as u64 + 1, Ordering::Relaxed);
    spin
}

/// Looks for the frame with this number all the time, for at most `limit`. Whether it is there.
pub(super) fn spin(index: Index<'_>, number: u64, limit: Duration) -> bool {
    if limit.is_zero() {
        return false;
    }
    let Some(word) = index.awaits(number) else { return true };
    let begun = Instant::now();
    loop {
        // To look at the clock takes longer than to look at the word.
        for _ in 0..32 {
            if index.word_of(number) != word {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() >= limit {
            return false;
        }
    }
}
