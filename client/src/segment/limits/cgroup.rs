//! Memory limits of the control groups that this process is in: its own and all above it, in versions 1 and 2.
//!
//! `/proc/self/cgroup` names the process's group, `/proc/self/mountinfo` says where groups can be seen. A container
//! often sees only its own group, as the root. Limits above that one, such as a pod's, are invisible in version 2;
//! version 1 tells the lowest of them (`hierarchical_memory_limit`), though not what others have used of it.
//!
//! Cached files count as available: the kernel drops them first. Pages of a tmpfs cannot be dropped; they can go to
//! swap, so free swap counts as far as the group may use it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bound, machine};

pub(super) const REMEDY: &str = "raise it (Kubernetes: resources.limits.memory; Docker: --memory; systemd: MemoryMax= \
                                 or MemoryHigh=), or ask for a smaller ring";

/// Version 1 writes "no limit" as a number near the largest one.
const UNLIMITED: u64 = 1 << 62;

/// The limits and what is left below each.
pub(super) fn bounds() -> Vec<Bound> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    bounds_of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"), machine::swap_free())
}

fn bounds_of(own: &str, mounts: &str, swap_free: u64) -> Vec<Bound> {
    let mut hierarchies = hierarchies(mounts);
    if hierarchies.is_empty() {
        // Without /proc, the usual places.
        let usual = |version, at: &str| Hierarchy { version, root: "/".to_owned(), at: at.into() };
        hierarchies = vec![usual(Version::Two, "/sys/fs/cgroup"), usual(Version::One, "/sys/fs/cgroup/memory")];
    }
    let bounds = hierarchies.iter().flat_map(|hierarchy| {
        let path = hierarchy.version.path_in(own).unwrap_or("/");
        hierarchy.bounds(path, swap_free)
    });
    bounds.collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The process's group, by what `/proc/self/cgroup` says.
    fn path_in(self, own: &str) -> Option<&str> {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let is_it = match self {
                Self::One => controllers.split(',').any(|name| name == "memory"),
                Self::Two => id == "0" && controllers.is_empty(),
            };
            is_it.then_some(path)
        })
    }
}

/// A tree of groups with memory limits, of which the part below `root` is mounted.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    root: String,
    at: PathBuf,
}

/// All that `/proc/self/mountinfo` lists. Its fields:
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, at) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Hierarchy { version, root, at: at.into() })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// Spaces and the like are written as octal numbers.
fn unescape(path: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(path.to_owned(), |path, (code, character)| path.replace(code, character))
}

impl Hierarchy {
    /// The limits of all visible groups from the mounted root down to `path`.
    fn bounds(&self, path: &str, swap_free: u64) -> Vec<Bound> {
        let Some(way) = way(&self.root, path) else { return Vec::new() };
        let mut swap = swap_free;
        let mut bounds = Vec::new();
        for depth in 0..=way.len() {
            let group = Group {
                dir: way[..depth].iter().fold(self.at.clone(), |dir, name| dir.join(name)),
                name: format!("/{}", way[..depth].join("/")),
            };
            match self.version {
                Version::One => bounds.extend(group.bounds_of_version_1(swap_free, depth == 0)),
                Version::Two => bounds.extend(group.bounds_of_version_2(&mut swap)),
            }
        }
        bounds
    }
}

/// The names of the groups from `root`, exclusively, down to `path`. None of them if `root` is known to be above `path`
/// but not how. `None` if it is not above. A container's paths may begin with `/..`: outside of what it may name.
fn way<'a>(root: &'a str, path: &'a str) -> Option<Vec<&'a str>> {
    let split = |path: &'a str| -> (usize, Vec<&'a str>) {
        let names = path.split('/').filter(|name| !name.is_empty());
        let (up, down): (Vec<_>, Vec<_>) = names.partition(|name| *name == "..");
        (up.len(), down)
    };
    let ((root_up, root), (path_up, path)) = (split(root), split(path));
    if root_up > path_up {
        return root.is_empty().then(Vec::new);
    }
    (root_up == path_up).then(|| path.strip_prefix(root.as_slice()).map(<[_]>::to_vec))?
}

/// A control group.
struct Group {
    dir: PathBuf,
    name: String,
}

impl Group {
    fn bounds_of_version_2(&self, swap: &mut u64) -> Vec<Bound> {
        if let (Some(max), Some(current)) = (self.number("memory.swap.max"), self.number("memory.swap.current")) {
            *swap = (*swap).min(max.saturating_sub(current));
        }
        let Some(used) = self.number("memory.current") else { return Vec::new() };
        let used = used.saturating_sub(self.sum_of_stat(&["active_file", "inactive_file", "slab_reclaimable"]));
        let bound = |(file, is_soft)| {
            let limit = self.number(file)?;
            Some(self.bound(file, limit, limit.saturating_sub(used).saturating_add(*swap), is_soft))
        };
        [("memory.max", false), ("memory.high", true)].into_iter().filter_map(bound).collect()
    }

    fn bounds_of_version_1(&self, swap_free: u64, is_top: bool) -> Vec<Bound> {
        let Some(used) = self.number("memory.usage_in_bytes") else { return Vec::new() };
        let cached = self.sum_of_stat(&["total_active_file", "total_inactive_file"]);
        let left = |limit: u64, used: u64| limit.saturating_sub(used.saturating_sub(cached));
        // Memory and swap together.
        let with_swap = self.number("memory.memsw.limit_in_bytes").zip(self.number("memory.memsw.usage_in_bytes"));
        let most = with_swap.map_or(u64::MAX, |(limit, used)| left(limit, used));
        let own = self.number("memory.limit_in_bytes");
        let bound = |file, limit| self.bound(file, limit, left(limit, used).saturating_add(swap_free).min(most), false);
        let above = is_top.then(|| self.stat("hierarchical_memory_limit")).flatten();
        let above = above.filter(|&limit| limit < own.unwrap_or(UNLIMITED));
        let own = own.map(|limit| bound("memory.limit_in_bytes", limit));
        own.into_iter().chain(above.map(|limit| bound("hierarchical_memory_limit", limit))).collect()
    }

    fn bound(&self, file: &str, limit: u64, left: u64, is_soft: bool) -> Bound {
        Bound { name: format!("the memory limit of the control group {} ({file}, {limit})", self.name), left, is_soft }
    }

    /// The number in a file. `None` if there is none, or it means "no limit".
    fn number(&self, file: &str) -> Option<u64> {
        let number = fs::read_to_string(self.dir.join(Path::new(file))).ok()?.trim().parse().ok()?;
        (number < UNLIMITED).then_some(number)
    }

    fn stat(&self, name: &str) -> Option<u64> {
        let stat = fs::read_to_string(self.dir.join("memory.stat")).ok()?;
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        value.filter(|&value| value < UNLIMITED)
    }

    fn sum_of_stat(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.stat(name)).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A tree of groups: files with their contents.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, content).expect("it can be written");
        }
        root
    }

    /// A line of mountinfo.
    fn mount(root: &str, at: &tempfile::TempDir, kind: &str) -> String {
        let at = at.path().display();
        match kind {
            "cgroup2" => format!("41 31 0:38 {root} {at} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"),
            _ => format!("35 31 0:32 {root} {at} rw,relatime - cgroup cgroup rw,{kind}\n"),
        }
    }

    fn lefts(own: &str, mounts: &str) -> Vec<u64> {
        bounds_of(own, mounts, 0).into_iter().map(|bound| bound.left).collect()
    }

    #[test]
    fn version_2_has_the_limits_of_all_levels() {
        let root = tree(&[
            ("memory.stat", ""),
            ("a/memory.max", "3145728\n"),
            ("a/memory.current", "2097152\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "1048576\n"),
            ("a/b/c/memory.max", "2097152\n"),
            ("a/b/c/memory.high", "1048576\n"),
            ("a/b/c/memory.current", "0\n"),
            ("other/memory.max", "1\n"),
            ("other/memory.current", "0\n"),
        ]);
        let bounds = bounds_of("0::/a/b/c\n", &mount("/", &root, "cgroup2"), 0);
        let found: Vec<_> = bounds.iter().map(|bound| (bound.left / MIB, bound.is_soft)).collect();
        assert_eq!(found, [(1, false), (2, false), (1, true)]);
        assert!(bounds[0].name.contains("control group /a (memory.max, 3145728)"), "{bounds:?}");
        assert!(bounds[2].name.contains("/a/b/c (memory.high, 1048576)"), "{bounds:?}");
    }

    #[test]
    fn cached_files_are_available_and_shared_memory_is_not() {
        let stat = "anon 0\nfile 4194304\nshmem 3145728\ninactive_file 524288\nactive_file 524288\n\
                    inactive_file_other 9\nslab_reclaimable 0\n";
        let root = tree(&[("memory.max", "8388608"), ("memory.current", "4194304"), ("memory.stat", stat)]);
        assert_eq!(lefts("0::/\n", &mount("/", &root, "cgroup2")), [5 * MIB]);
        let stat = stat.replace("inactive", "total_inactive").replace("\nactive", "\ntotal_active");
        let root =
            tree(&[("memory.limit_in_bytes", "8388608"), ("memory.usage_in_bytes", "4194304"), ("memory.stat", &stat)]);
        assert_eq!(lefts("4:memory:/\n", &mount("/", &root, "memory")), [5 * MIB]);
    }

    #[test]
    fn version_1_has_its_own_files_and_its_own_way_to_say_no_limit() {
        let root = tree(&[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "1048576\n"),
            ("a/memory.limit_in_bytes", "2097152\n"),
            ("a/memory.usage_in_bytes", "1048576\n"),
        ]);
        let own = "12:cpu,cpuacct:/b\n4:hugetlb,memory:/a\n1:name=systemd:/\n0::/\n";
        let other = tree(&[("b/memory.max", "1"), ("b/memory.current", "0")]);
        let mounts = mount("/", &other, "cpu,cpuacct") + &mount("/", &root, "hugetlb,memory");
        assert_eq!(lefts(own, &mounts), [MIB]);
    }

    #[test]
    fn a_container_that_sees_its_own_group_only_knows_it_by_the_hosts_path_or_as_the_root() {
        let group = tree(&[("memory.max", "2097152"), ("memory.current", "1048576")]);
        for (root, own) in
            [("/kubepods/pod7/ctr", "0::/kubepods/pod7/ctr\n"), ("/", "0::/\n"), ("/../..", "0::/\n"), ("/", "")]
        {
            assert_eq!(lefts(own, &mount(root, &group, "cgroup2")), [MIB], "{root} {own}");
        }
        // The group of somebody else.
        for (root, own) in [("/../other", "0::/\n"), ("/a", "0::/b\n"), ("/", "0::/../b\n")] {
            assert_eq!(lefts(own, &mount(root, &group, "cgroup2")), [0; 0], "{root} {own}");
        }
    }

    #[test]
    fn version_1_tells_a_limit_above_what_can_be_seen() {
        let stat = "cache 0\nhierarchical_memory_limit 4194304\n";
        let group = tree(&[
            ("memory.limit_in_bytes", "9223372036854771712"),
            ("memory.usage_in_bytes", "1048576"),
            ("memory.stat", stat),
        ]);
        let bounds = bounds_of("4:memory:/pod/ctr\n", &mount("/pod/ctr", &group, "memory"), 0);
        assert_eq!(bounds.iter().map(|bound| bound.left).collect::<Vec<_>>(), [3 * MIB]);
        assert!(bounds[0].name.contains("hierarchical_memory_limit, 4194304"), "{bounds:?}");
    }

    #[test]
    fn swap_counts_as_far_as_every_level_allows_it() {
        let files = [
            ("memory.swap.max", "1048576"),
            ("memory.swap.current", "0"),
            ("a/memory.max", "2097152"),
            ("a/memory.current", "0"),
            ("a/memory.swap.max", "max"),
            ("a/memory.swap.current", "0"),
        ];
        let root = tree(&files);
        let left = |swap| bounds_of("0::/a\n", &mount("/", &root, "cgroup2"), swap)[0].left;
        assert_eq!([0, MIB / 2, 9 * MIB].map(left), [2 * MIB, 2 * MIB + MIB / 2, 3 * MIB]);
        let root = tree(&[
            ("memory.limit_in_bytes", "2097152"),
            ("memory.usage_in_bytes", "0"),
            ("memory.memsw.limit_in_bytes", "3145728"),
            ("memory.memsw.usage_in_bytes", "0"),
        ]);
        let left = |swap| bounds_of("4:memory:/\n", &mount("/", &root, "memory"), swap)[0].left;
        assert_eq!([0, MIB / 2, 9 * MIB].map(left), [2 * MIB, 2 * MIB + MIB / 2, 3 * MIB]);
    }

    #[test]
    fn a_mount_with_a_space_in_its_name_is_found() {
        let root = tree(&[("a b/memory.max", "1048576"), ("a b/memory.current", "0")]);
        let mounts = mount("/", &root, "cgroup2").replace(" rw,relatime", r"/a\040b rw,relatime");
        assert_eq!(lefts("0::/\n", &mounts), [MIB]);
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = tree(&[("memory.max", "lots"), ("memory.current", "-1"), ("memory.stat", "\n \nx\n")]);
        for own in ["", "x", "0::", "0::/../../..", "::::", "0::/a/../.."] {
            for mounts in [mount("/", &root, "cgroup2"), "1 2\n - \n35 31 0:32 / - cgroup2\n".to_owned()] {
                let bounds = bounds_of(own, &mounts, u64::MAX);
                assert!(bounds.iter().all(|bound| !bound.name.contains("lots")), "{own}");
            }
        }
    }
}
