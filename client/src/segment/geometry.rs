//! The sizes of a segment on this machine: [`Geometry`] for its page size.

use framebuffer_contract::segment::SIZE_LIMIT;
use framebuffer_contract::{Geometry, InvalidSize};

use crate::error::segment::SegmentError;

/// Returns the length of the segment of a ring of `size` bytes: all the shared memory it takes, in bytes.
///
/// # Errors
///
/// [`SegmentError::ZeroSize`] and [`SegmentError::SizeLimit`].
pub fn segment_length(size: u64) -> Result<u64, SegmentError> {
    geometry(size).map(Geometry::file_length)
}

/// The geometry for a ring of `size` bytes on this machine.
pub(crate) fn geometry(size: u64) -> Result<Geometry, SegmentError> {
    Geometry::new(size, page_size()).map_err(|invalid| match invalid {
        InvalidSize::Zero => SegmentError::ZeroSize,
        InvalidSize::TooLarge { size } => SegmentError::SizeLimit { size, limit: SIZE_LIMIT },
    })
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}
