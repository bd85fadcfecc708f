//! Room in the folder's file system.

use std::fs::File;

use framebuffer_contract::Geometry;
use nix::sys::statvfs::fstatvfs;

use super::Limit;

const NAME: &str = "the shared memory folder";

const REMEDY: &str = "enlarge it (Kubernetes: the memory volume's sizeLimit; Docker: --shm-size; elsewhere: \
                      mount -o remount,size=...), or ask for a smaller ring";

const REMEDY_FILES: &str = "remove files there, or mount it with a larger nr_inodes";

/// Bytes that are left, and files if none are. Neither is known where the file system reports none in total (a tmpfs
/// without limits).
pub(super) fn limits(folder: &File, geometry: Option<Geometry>) -> impl Iterator<Item = Limit> {
    room(folder, geometry).into_iter().chain(files(folder, geometry.map_or(0, Geometry::file_length)))
}

/// Bytes that are left.
pub(super) fn room(folder: &File, geometry: Option<Geometry>) -> Option<Limit> {
    let stat = fstatvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    (stat.blocks() > 0).then(|| Limit {
        name: format!("{NAME} (size {})", bytes(stat.blocks())),
        needed: geometry.map_or(0, Geometry::file_length),
        left: bytes(stat.blocks_available()),
        remedy: REMEDY,
        is_soft: false,
    })
}

/// When the file system refuses more bytes, but does not say how many it has.
pub(super) fn unknown(geometry: Geometry) -> Limit {
    let needed = geometry.file_length();
    Limit { name: NAME.to_owned(), needed, left: 0, remedy: REMEDY, is_soft: false }
}

fn files(folder: &File, needed: u64) -> Option<Limit> {
    let stat = fstatvfs(folder).ok()?;
    // A number of files, not of bytes: a limit only when none is left.
    (stat.files() > 0 && stat.files_available() == 0).then(|| Limit {
        name: format!("{NAME} (for {} files, which are there)", stat.files()),
        needed,
        left: 0,
        remedy: REMEDY_FILES,
        is_soft: false,
    })
}
