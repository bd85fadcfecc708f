//! The container's memory limit, from cgroup v2 or v1: the ring's pages count against it.

use std::fs;
use std::path::{Path, PathBuf};

use framebuffer_contract::Quantity;

use super::{Check, segment_bytes};

/// The sidecar's own memory beside the ring, in bytes, with some room.
const OVERHEAD: u64 = 16 << 20;

/// cgroup v1 writes "no limit" as a number near the largest one.
const V1_UNLIMITED: u64 = 1 << 62;

/// Checks that a ring of `size` fits into the limit.
pub(super) fn examine(size: Option<Quantity>) -> Check {
    let own = match fs::read_to_string("/proc/self/cgroup") {
        Ok(own) => own,
        Err(error) => {
            let advice = "without /proc the memory limit stays unknown; nothing else needs it";
            return Check::warn(format!("/proc/self/cgroup: {error}"), advice);
        }
    };
    judge(limit(&own, Path::new("/sys/fs/cgroup")), size)
}

fn judge(limit: Option<u64>, size: Option<Quantity>) -> Check {
    let Some(limit) = limit.map(Quantity::from) else { return Check::ok("no memory limit") };
    let Some(size) = size else { return Check::ok(format!("memory limit {limit}")) };
    let needed = Quantity::from(segment_bytes(size).saturating_add(OVERHEAD));
    let found = format!("memory limit {limit}, a ring of {size} and its sidecar need {needed}");
    if limit >= needed {
        return Check::ok(found);
    }
    let advice = "the ring's pages are charged to the container that creates or first touches them: raise \
                  resources.limits.memory, or ask for a smaller ring";
    Check::fail(found, advice)
}

/// The lowest limit that applies to the process whose `/proc/self/cgroup` says `own`, with cgroups mounted at `root`.
fn limit(own: &str, root: &Path) -> Option<u64> {
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let files = lines.flat_map(|(id, controllers, path)| match (id, controllers) {
        ("0", "") => levels(root, path, "memory.max"),
        (_, controllers) if controllers.split(',').any(|name| name == "memory") => {
            levels(&root.join("memory"), path, "memory.limit_in_bytes")
        }
        _ => Vec::new(),
    });
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.filter(|&limit| limit < V1_UNLIMITED).min()
}

/// The file `name` in each group from `path` up to the root. Some do not exist: inside a container the path may be
/// the host's, while the container sees its own group as the root.
fn levels(root: &Path, path: &str, name: &str) -> Vec<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().map(|group| root.join(group).join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn cgroups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn version_2_has_the_lowest_limit_of_all_levels() {
        let root = cgroups(&[("a/b/memory.max", "max\n"), ("a/memory.max", "1048576\n"), ("memory.max", "2097152\n")]);
        assert_eq!(limit("0::/a/b\n", root.path()), Some(1 << 20));
        assert_eq!(limit("0::/\n", root.path()), Some(2 << 20));
        assert_eq!(limit("0::/not/mounted/here\n", root.path()), Some(2 << 20));
    }

    #[test]
    fn version_1_has_its_own_file_and_its_own_way_to_say_no_limit() {
        let own = "12:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/a\n";
        let root = cgroups(&[("memory/a/memory.limit_in_bytes", "524288\n"), ("cpu/a/memory.limit_in_bytes", "1\n")]);
        assert_eq!(limit(own, root.path()), Some(512 << 10));
        let root = cgroups(&[("memory/a/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(limit(own, root.path()), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = cgroups(&[("memory.max", "lots")]);
        for own in ["", "x", "0::", "0::/../../..", "::::"] {
            assert_eq!(limit(own, root.path()), None, "{own}");
        }
    }

    #[test]
    fn a_limit_below_ring_and_overhead_fails() {
        let ring = Some(Quantity::from(100 << 20));
        assert_eq!(judge(Some(100 << 20), ring).verdict, Verdict::Fail);
        assert_eq!(judge(Some(200 << 20), ring).verdict, Verdict::Ok);
        assert_eq!(judge(None, ring).verdict, Verdict::Ok);
        assert_eq!(judge(Some(1), None).verdict, Verdict::Ok);
    }
}
