//! [`Stats`]: what a ring says about itself.

use std::time::SystemTime;

/// A snapshot of a ring. The figures are read one after the other while the ring is in use, so they are
/// each right but not of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Payload that the ring keeps, in bytes, and the size of the largest frame.
    pub size: u64,
    /// Bytes of the data ring: `size` and room for headers.
    pub capacity: u64,
    /// Stream position up to which the ring has been allocated, in bytes.
    pub head: u64,
    /// How many times the ring has been filled.
    pub laps: u64,
    /// Participants now: each client or server that has the ring open is at least one.
    pub participants: usize,
    /// How many participants there can be.
    pub max_participants: usize,
    /// Ranges held now by views, loans and operations under way.
    pub pins: usize,
    /// Bytes of the ring that are in huge pages: as many as its owner could get since it started, in rings of 64 MiB and more.
    pub huge_pages: u64,
    /// When the segment was created.
    pub created: SystemTime,
    /// Counters since then, summed over all participants, past and present.
    pub counters: Counters,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $variant:ident,)*) => {
        /// Counters of a ring since its creation, summed over all participants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The counters' places in a participant's slot.
        #[derive(Debug, Clone, Copy)]
        #[repr(usize)]
        pub(crate) enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counters {
            /// Sums `value(counter)` into each counter.
            pub(crate) fn add(&mut self, value: impl Fn(Counter) -> u64) {
                $(self.$field = self.$field.wrapping_add(value(Counter::$variant));)*
            }
        }
    };
}

counters! {
    /// Frames allocated, whether written or not.
    allocations = Allocations,
    /// Bytes allocated for them, without headers.
    allocated_bytes = AllocatedBytes,
    /// Times that an allocation went past a range that somebody held.
    hops = Hops,
    /// Allocations given up because the whole ring was held.
    exhausted = Exhausted,
    /// Frames committed.
    frames_written = FramesWritten,
    /// Bytes committed.
    bytes_written = BytesWritten,
    /// Frames copied out.
    frames_read = FramesRead,
    /// Bytes copied out.
    bytes_read = BytesRead,
    /// Frames viewed in place.
    views = Views,
    /// Timeouts because the frame was overwritten.
    timeouts_overwritten = TimeoutsOverwritten,
    /// Timeouts because the frame was not written.
    timeouts_not_written = TimeoutsNotWritten,
    /// Timeouts because the frame has another size or checksum.
    timeouts_mismatch = TimeoutsMismatch,
    /// Dead participants whose slots were cleared.
    reaped = Reaped,
}
