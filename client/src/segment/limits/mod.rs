//! [`Limit`]: what keeps a ring from being created or opened, checked before anything is taken. Beyond some limits the
//! kernel kills the process instead of returning an error.
//!
//! The one list of all limits: [`check`] refuses a start by it, and the sidecar's `doctor` prints it.
//! - [`folder`] and [`machine`]: room in the file system, and memory for it;
//! - [`cgroup`]: the control groups of this process, as far as it can see them;
//! - [`process`]: resource limits of the process (`ulimit`).
//!
//! Nothing is locked in memory, so `RLIMIT_MEMLOCK` only counts for programs that lock all they will ever map: see
//! [`process::of_mapping`].

use std::fs::File;
use std::path::Path;

use framebuffer_contract::Geometry;

use super::geometry::geometry;
use super::permission::{self, Act};
use crate::error::segment::SegmentError;

mod cgroup;
mod folder;
mod machine;
pub(super) mod process;

/// Bytes of memory that a start takes beside the segment: the kernel's own for it, and the program's next steps.
const BESIDE: u64 = 4 << 20;

/// A limit, and what a ring needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Which limit, with its value.
    pub name: String,
    /// Bytes that the ring needs; 0 if no size was given.
    pub needed: u64,
    /// Bytes left.
    pub left: u64,
    /// How to raise it.
    pub remedy: &'static str,
    /// Whether a ring beyond it is slow, but possible.
    pub is_soft: bool,
}

impl Limit {
    /// Whether the ring keeps within the limit.
    pub fn holds(&self) -> bool {
        self.needed <= self.left
    }

    fn into_error(self, size: u64) -> SegmentError {
        let Self { name, needed, left, remedy, is_soft: _ } = self;
        SegmentError::NoMemory { size, needed, available: left, limited_by: name.into(), remedy, held: 0 }
    }
}

/// All limits that apply to a new ring of `size` bytes in `dir`, or to any without one. What the system does not tell,
/// without `/proc`, say, is not among them.
///
/// # Errors
///
/// [`SegmentError`]: no ring can have this size, or the folder cannot be opened.
pub fn limits(dir: &Path, size: Option<u64>) -> Result<Vec<Limit>, SegmentError> {
    let geometry = size.map(geometry).transpose()?;
    let folder = File::open(dir).map_err(permission::explain(Act::Look, dir, dir))?;
    Ok(of_segment(&folder, geometry))
}

/// Refuses a new segment if it is known not to fit.
pub(super) fn check(folder: &File, geometry: Geometry) -> Result<(), SegmentError> {
    let broken = of_segment(folder, Some(geometry)).into_iter().filter(|limit| !limit.holds());
    let (soft, hard): (Vec<_>, Vec<_>) = broken.partition(|limit| limit.is_soft);
    for Limit { name, needed, left, remedy, .. } in soft {
        tracing::warn!(needed, left, remedy, "the ring will be slow: {name} is too low for it");
    }
    // The tightest, relative to its need.
    let tightest = hard.into_iter().min_by_key(|limit| limit.left.saturating_sub(limit.needed.min(1 << 62)));
    tightest.map_or(Ok(()), |limit| Err(limit.into_error(geometry.size)))
}

/// The error for a folder that turned out to have no room after [`check`].
pub(super) fn full(folder: &File, geometry: Geometry) -> SegmentError {
    let limit = folder::room(folder, Some(geometry)).unwrap_or_else(|| folder::unknown(geometry));
    limit.into_error(geometry.size)
}

/// Whether the memory limits have room for `bytes` beyond what this process has now.
pub(super) fn have_room_for(bytes: u64) -> bool {
    machine::bounds().into_iter().chain(cgroup::bounds()).all(|bound| bound.left >= bytes.saturating_add(BESIDE))
}

fn of_segment(folder: &File, geometry: Option<Geometry>) -> Vec<Limit> {
    let memory = geometry.map_or(0, |geometry| geometry.file_length().saturating_add(BESIDE));
    let groups = cgroup::bounds().into_iter().map(|bound| bound.into_limit(memory, cgroup::REMEDY));
    let machine = machine::bounds().into_iter().map(|bound| bound.into_limit(memory, machine::REMEDY));
    let mut limits: Vec<_> = folder::limits(folder, geometry).chain(machine).chain(groups).collect();
    limits.extend(process::file_size(geometry));
    limits.extend(process::address_space(geometry));
    limits
}

/// A limit of memory, before it is known what a ring needs.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    name: String,
    left: u64,
    is_soft: bool,
}

impl Bound {
    fn into_limit(self, needed: u64, remedy: &'static str) -> Limit {
        let Self { name, left, is_soft } = self;
        Limit { name, needed, left, remedy, is_soft }
    }
}
