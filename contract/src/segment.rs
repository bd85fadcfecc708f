//! [`Geometry`]: the sizes of a segment, the file in shared memory that holds a ring. All follow from the ring's size
//! and the machine's page size.
//!
//! ```text
//!  +-------------------------+------------------+-----------------------------------------------+
//!  | control, 937,984 bytes  | up to a page     | data ring, `capacity` bytes                   |
//!  +-------------------------+------------------+-----------------------------------------------+
//!  0                                            `ring_offset`                      `file_length`
//! ```

use thiserror::Error;

/// Size of a huge page on x86-64, and on aarch64 with pages of 4 KiB, in bytes.
pub const HUGE_PAGE: u64 = 2 << 20;

/// The largest page of Linux on 64-bit little-endian machines, in bytes: for calculations for an unknown machine.
pub const LARGEST_PAGE: u64 = 64 << 10;

/// Bytes of control block, participant slots and channels, in front of the ring.
pub const CONTROL_LENGTH: u64 = 937_984;

/// Bytes of a frame's header, and of the unit in which frames are allocated.
pub const FRAME_HEADER: u64 = 64;

/// The largest ring in bytes: mapped twice, it fits into a 47-bit address space.
pub const SIZE_LIMIT: u64 = 1 << 45;

/// Rings from this size on, in bytes, are aligned to huge pages.
const HUGE_FROM: u64 = 64 << 20;

/// The sizes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Payload that the ring keeps, in bytes, as the user asked for it.
    pub size: u64,
    /// Bytes of the data ring.
    pub capacity: u64,
    /// Offset of the data ring in the file.
    pub ring_offset: u64,
}

/// A size that no ring can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSize {
    /// No bytes.
    #[error("the ring's size is 0 bytes, it needs at least 1")]
    Zero,
    /// More than can be mapped.
    #[error("a ring of {size} bytes is larger than the limit of {SIZE_LIMIT} bytes")]
    TooLarge {
        /// Bytes asked for.
        size: u64,
    },
}

impl Geometry {
    /// The geometry for a ring of `size` bytes on a machine with pages of `page` bytes: room for `size` bytes of
    /// payload, and on top of it 64 KiB or a 256th, whichever is more, for headers and alignment. So ten frames of a
    /// tenth always fit, and one of `size`; and `size` bytes of frames of 32 KiB and more, each with at most 127 bytes
    /// of header and padding.
    ///
    /// # Errors
    ///
    /// [`InvalidSize`]: 0, or above [`SIZE_LIMIT`].
    pub const fn new(size: u64, page: u64) -> Result<Self, InvalidSize> {
        if size == 0 {
            return Err(InvalidSize::Zero);
        }
        if size > SIZE_LIMIT {
            return Err(InvalidSize::TooLarge { size });
        }
        let headers = if size / 256 > 64 << 10 { size / 256 } else { 64 << 10 };
        let huge = size >= HUGE_FROM;
        let page = if huge { HUGE_PAGE } else { page };
        let ring_offset = if huge { HUGE_PAGE } else { CONTROL_LENGTH.next_multiple_of(page) };
        Ok(Self { size, capacity: (size + headers).next_multiple_of(page), ring_offset })
    }

    /// The number of frames of `size` bytes, one behind the other, that lie in the ring at once.
    pub const fn frames_kept(self, size: u64) -> u64 {
        if size > self.size { 0 } else { self.capacity / (FRAME_HEADER + size).next_multiple_of(FRAME_HEADER) }
    }

    /// Bytes of the whole file.
    pub const fn file_length(self) -> u64 {
        self.ring_offset + self.capacity
    }
}

/// Bytes of shared memory that a ring of `size` bytes takes, all told, on a machine with pages of `page` bytes.
///
/// # Errors
///
/// As [`Geometry::new`].
pub const fn segment_length(size: u64, page: u64) -> Result<u64, InvalidSize> {
    match Geometry::new(size, page) {
        Ok(geometry) => Ok(geometry.file_length()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    #[test]
    fn small_frames_take_more_than_their_bytes_as_the_readme_says() {
        let size = 500 << 20;
        let geometry = Geometry::new(size, PAGE).unwrap();
        let percent = |frame| geometry.frames_kept(frame) * frame * 100 / size;
        assert_eq!([4096, 1000, 64].map(percent), [98, 92, 50]);
    }

    #[test]
    fn a_ring_keeps_its_size_in_frames_of_32_kib_and_more() {
        for size in [32 << 10, (1 << 20) + 1, 16 << 20, 100_000_000, 512 << 20, 3 << 40] {
            let geometry = Geometry::new(size, 4096).unwrap();
            for frame in [32 << 10, (32 << 10) + 1, 100_001, 6_220_800].into_iter().filter(|&frame| frame <= size) {
                let kept = geometry.frames_kept(frame);
                assert!(kept >= size / frame, "a ring of {size} bytes keeps {kept} frames of {frame}");
                assert!(kept * (64 + frame) <= geometry.capacity);
            }
        }
    }

    #[test]
    fn small_rings_are_made_of_pages_and_large_ones_of_huge_pages() {
        let small = Geometry::new(1 << 20, PAGE).unwrap();
        assert_eq!(small, Geometry { size: 1 << 20, capacity: (1 << 20) + (64 << 10), ring_offset: CONTROL_LENGTH });
        assert_eq!(Geometry::new(1, LARGEST_PAGE).unwrap().ring_offset, 15 * LARGEST_PAGE);
        let large = Geometry::new(500 << 20, PAGE).unwrap();
        assert_eq!(large, Geometry { size: 500 << 20, capacity: 502 << 20, ring_offset: HUGE_PAGE });
        assert_eq!(segment_length(500 << 20, PAGE), Ok(504 << 20));
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        assert_eq!(segment_length(0, PAGE), Err(InvalidSize::Zero));
        assert_eq!(segment_length(SIZE_LIMIT + 1, PAGE), Err(InvalidSize::TooLarge { size: SIZE_LIMIT + 1 }));
        assert!(segment_length(SIZE_LIMIT, PAGE).is_ok());
    }

    #[test]
    fn larger_pages_never_make_a_shorter_segment() {
        for size in [1, 64 << 10, (1 << 20) + 1, (64 << 20) - 1, 64 << 20, 1 << 40] {
            let [largest, usual] = [LARGEST_PAGE, PAGE].map(|page| segment_length(size, page).unwrap());
            assert!(largest >= usual, "{size}");
        }
    }
}
