//! [`Stats`]: a ring's statistics.

use std::time::UNIX_EPOCH;

use crate::error::Failure;
use crate::growing::put_members;

/// A snapshot of a ring. The figures are read one after the other while the ring is in use: each is right, but they are
/// not of one instant. The counters are sums over all participants, past and present, since the ring was created.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Stats {
    /// Bytes of payload that the ring keeps, and the size of the largest frame.
    pub size: u64,
    /// Bytes of the data ring: `size`, and room for frame headers.
    pub capacity: u64,
    /// Stream position up to which the ring has been allocated, in bytes.
    pub head: u64,
    /// Times the ring has been filled.
    pub laps: u64,
    /// Participants now: each client or server that has the ring open is at least one.
    pub participants: u64,
    /// Participants that the ring has room for.
    pub max_participants: u64,
    /// Ranges of the ring that views, loans and operations in progress pin now.
    pub pins: u64,
    /// Bytes of the ring in huge pages.
    pub huge_pages: u64,
    /// When the ring was created, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Frames allocated, whether written or not.
    pub allocations: u64,
    /// Bytes allocated for frames, without headers.
    pub allocated_bytes: u64,
    /// Times an allocation skipped a pinned range.
    pub hops: u64,
    /// Allocations given up because the whole ring was pinned.
    pub exhausted: u64,
    /// Frames committed.
    pub frames_written: u64,
    /// Bytes committed.
    pub bytes_written: u64,
    /// Frames copied out.
    pub frames_read: u64,
    /// Bytes copied out.
    pub bytes_read: u64,
    /// Frames viewed in place.
    pub views: u64,
    /// Timeouts because the frame was overwritten.
    pub timeouts_overwritten: u64,
    /// Timeouts because the frame was not written.
    pub timeouts_not_written: u64,
    /// Timeouts because the frame has another size or checksum.
    pub timeouts_mismatch: u64,
    /// Dead participants whose slots were cleared.
    pub reaped: u64,
}

impl From<&framebuffer::Stats> for Stats {
    fn from(stats: &framebuffer::Stats) -> Self {
        // Without `..`: a new figure does not compile before it has a member here, at the end.
        let framebuffer::Stats {
            size,
            capacity,
            head,
            laps,
            participants,
            max_participants,
            pins,
            huge_pages,
            created,
            counters,
        } = *stats;
        let framebuffer::Counters {
            allocations,
            allocated_bytes,
            hops,
            exhausted,
            frames_written,
            bytes_written,
            frames_read,
            bytes_read,
            views,
            timeouts_overwritten,
            timeouts_not_written,
            timeouts_mismatch,
            reaped,
        } = counters;
        Self {
            size,
            capacity,
            head,
            laps,
            participants: participants as u64,
            max_participants: max_participants as u64,
            pins: pins as u64,
            huge_pages,
            created_ns: created.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64,
            allocations,
            allocated_bytes,
            hops,
            exhausted,
            frames_written,
            bytes_written,
            frames_read,
            bytes_read,
            views,
            timeouts_overwritten,
            timeouts_not_written,
            timeouts_mismatch,
            reaped,
        }
    }
}

/// Writes the figures that the caller's struct has members for, and zeros to members beyond.
///
/// # Safety
///
/// `to` is NULL or valid for writes of `size` bytes.
pub(crate) unsafe fn put_stats(stats: &framebuffer::Stats, to: *mut Stats, size: usize) -> Result<(), Failure> {
    // SAFETY: the caller guarantees it, and a struct of numbers of 8 bytes has no padding.
    unsafe { put_members("stats", &Stats::from(stats), to, size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> framebuffer::Stats {
        let server = framebuffer::FrameBufferServer::options(1 << 16).start().expect("a ring");
        server.stats().expect("stats")
    }

    #[test]
    fn a_caller_with_an_older_header_gets_the_members_that_it_knows_and_no_byte_more() {
        let mut words = [7_u64; 3];
        // SAFETY: the array has more than two words.
        unsafe { put_stats(&stats(), words.as_mut_ptr().cast(), 16) }.unwrap();
        assert_eq!(words[0], 1 << 16);
        assert_eq!(words[2], 7);
    }

    #[test]
    fn members_of_a_newer_header_are_zero() {
        let mut words = [7_u64; size_of::<Stats>() / 8 + 2];
        // SAFETY: the size is that of the array.
        unsafe { put_stats(&stats(), words.as_mut_ptr().cast(), size_of_val(&words)) }.unwrap();
        assert_eq!(words[..2], [1 << 16, stats().capacity]);
        assert_eq!(words[words.len() - 2..], [0, 0]);
    }
}
