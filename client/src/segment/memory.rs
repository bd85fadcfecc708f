//! How much memory a new segment may take: checked before it is taken, because beyond a container's limit the kernel
//! kills the process instead of returning an error.

use std::fs::{self, File};

use nix::sys::statvfs::fstatvfs;

use crate::error::segment::SegmentError;

/// Refuses a segment of `needed` bytes for a ring of `size` if it is known not to fit.
pub(crate) fn check(folder: &File, size: u64, needed: u64) -> Result<(), SegmentError> {
    let limits = [
        (free_in(folder), "the shared memory folder"),
        (available_in_machine(), "the machine's memory"),
        (available_in_container(), "the memory limit of this container"),
    ];
    match limits.into_iter().filter_map(|(left, what)| Some((left?, what))).min_by_key(|&(left, _)| left) {
        Some((available, limited_by)) if available < needed => {
            Err(SegmentError::NoMemory { size, needed, available, limited_by, held: 0 })
        }
        _ => Ok(()),
    }
}

/// Bytes left in the file system; unknown where it reports no size (a tmpfs without a limit).
pub(crate) fn free_in(folder: &File) -> Option<u64> {
    let stat = fstatvfs(folder).ok()?;
    (stat.blocks() > 0).then(|| stat.blocks_available().saturating_mul(stat.fragment_size()))
}

fn available_in_machine() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| -> Option<u64> {
        meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    Some((kibibytes("MemAvailable:")? + kibibytes("SwapFree:").unwrap_or(0)) * 1024)
}

/// Bytes left below the limit of the cgroup that this process sees as its root: inside a container, the container's.
/// Cached files count as available: the kernel drops them first.
fn available_in_container() -> Option<u64> {
    let unified = || Some(("/sys/fs/cgroup/memory.stat", number("memory.max")?, number("memory.current")?, ""));
    let version_1 = || {
        let (limit, used) = (number("memory/memory.limit_in_bytes")?, number("memory/memory.usage_in_bytes")?);
        Some(("/sys/fs/cgroup/memory/memory.stat", limit, used, "total_"))
    };
    let (stat, limit, used, prefix) = unified().or_else(version_1)?;
    let stat = fs::read_to_string(stat).ok()?;
    let cached = ["active_file", "inactive_file"].map(|name| {
        let value =
            stat.lines().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(name)?.trim().parse::<u64>().ok());
        value.unwrap_or(0)
    });
    Some(limit.saturating_sub(used.saturating_sub(cached.iter().sum())))
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse().ok()
}
