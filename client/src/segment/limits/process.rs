//! Resource limits of this process (`setrlimit`, `ulimit`, systemd's `Limit...=`).

use std::fs;
use std::io;

use framebuffer_contract::Geometry;
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::Limit;
use crate::error::segment::SegmentError;
use crate::segment::mapping::reserved_length;

const REMEDY_FILE_SIZE: &str = "raise it (ulimit -f, systemd: LimitFSIZE=), or ask for a smaller ring";
const REMEDY_ADDRESS_SPACE: &str = "raise it (ulimit -v, systemd: LimitAS=), or ask for a smaller ring";
const REMEDY_LOCKED: &str = "raise it (ulimit -l, systemd: LimitMEMLOCK=), or do not lock what is mapped in future \
                             (mlockall with MCL_FUTURE)";

/// `RLIMIT_FSIZE`: beyond it, the kernel kills by SIGXFSZ.
pub(super) fn file_size(geometry: Option<Geometry>) -> Option<Limit> {
    let limit = soft_limit(Resource::RLIMIT_FSIZE)?;
    Some(Limit {
        name: format!("this process's limit on the size of files (RLIMIT_FSIZE, {limit})"),
        needed: geometry.map_or(0, Geometry::file_length),
        left: limit,
        remedy: REMEDY_FILE_SIZE,
        is_soft: false,
    })
}

/// `RLIMIT_AS`: the ring is mapped twice.
pub(super) fn address_space(geometry: Option<Geometry>) -> Option<Limit> {
    let limit = soft_limit(Resource::RLIMIT_AS)?;
    Some(Limit {
        name: format!("this process's limit on address space (RLIMIT_AS, {limit}; a ring is mapped twice)"),
        needed: geometry.map_or(0, |geometry| reserved_length(geometry.ring_offset, geometry.capacity)),
        left: limit.saturating_sub(address_space_used().unwrap_or(0)),
        remedy: REMEDY_ADDRESS_SPACE,
        is_soft: false,
    })
}

/// Says which limit made mapping a ring fail, if one did. Nothing of ours is ever locked in memory; but a program may
/// have asked the kernel to lock all that it maps.
pub(in crate::segment) fn of_mapping(geometry: Geometry) -> impl FnOnce(SegmentError) -> SegmentError {
    move |error| {
        let SegmentError::Io { source, .. } = &error else { return error };
        let limit = match errno(source) {
            Errno::ENOMEM => address_space(Some(geometry)).filter(|limit| !limit.holds()),
            Errno::EAGAIN => locked_memory(geometry),
            _ => None,
        };
        limit.map_or(error, |limit| limit.into_error(geometry.size))
    }
}

fn locked_memory(geometry: Geometry) -> Option<Limit> {
    let limit = soft_limit(Resource::RLIMIT_MEMLOCK)?;
    Some(Limit {
        name: format!("this process's limit on locked memory (RLIMIT_MEMLOCK, {limit}; the program locks all it maps)"),
        needed: reserved_length(geometry.ring_offset, geometry.capacity),
        left: limit,
        remedy: REMEDY_LOCKED,
        is_soft: false,
    })
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn soft_limit(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

fn address_space_used() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    pages.checked_mul(page)
}
