//! [`trial`]: does everything that a start does, on the smallest ring.

use std::path::Path;

use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::membership::Membership;
use crate::segment::prefault::Prefault;
use crate::segment::{create, path};

/// Creates the smallest ring in `dir`, joins it, and removes it: what a server does, with every system call that may
/// fail there. Touches no other ring.
///
/// # Errors
///
/// The error with which a server would fail as well.
pub fn trial(dir: &Path) -> Result<(), SegmentError> {
    let key = Key::random().map_err(SegmentError::io("read random bytes for a key"))?;
    let created = create::create_alone(dir, &key, 1, 0o600)?;
    let joined = Membership::join(created.segment, Prefault::Off, false);
    create::give_up(&path(dir, &key), created.lock.file().ok_or(SegmentError::OwnershipLost)?)?;
    joined.map(drop)
}
