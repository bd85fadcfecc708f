//! Memory of the whole machine, from `/proc`.

use std::fs;

use super::Bound;

pub(super) const REMEDY: &str = "end other programs, add memory, or ask for a smaller ring";

/// Memory that is available, cached files and swap included; and what may be promised, where the system promises no
/// more than it has.
pub(super) fn bounds() -> Vec<Bound> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    bounds_of(&read("/proc/meminfo"), &read("/proc/sys/vm/overcommit_memory"))
}

/// Free swap of the machine in bytes.
pub(super) fn swap_free() -> u64 {
    value(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "SwapFree:").unwrap_or(0)
}

fn bounds_of(meminfo: &str, overcommit: &str) -> Vec<Bound> {
    let available = value(meminfo, "MemAvailable:").map(|bytes| Bound {
        name: "the machine's memory".to_owned(),
        left: bytes.saturating_add(value(meminfo, "SwapFree:").unwrap_or(0)),
        is_soft: false,
    });
    let strict = overcommit.trim() == "2";
    let promised = strict.then(|| Some((value(meminfo, "CommitLimit:")?, value(meminfo, "Committed_AS:")?))).flatten();
    let promised = promised.map(|(limit, used)| Bound {
        name: format!("the machine's CommitLimit ({limit}, since vm.overcommit_memory is 2)"),
        left: limit.saturating_sub(used),
        is_soft: false,
    });
    available.into_iter().chain(promised).collect()
}

fn value(meminfo: &str, name: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    kibibytes?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal: 900 kB\nMemAvailable:    500 kB\nSwapFree: 20 kB\nCommitLimit: 400 kB\n\
                           Committed_AS: 100 kB\n";

    #[test]
    fn swap_counts_and_so_does_the_commit_limit_where_it_is_strict() {
        let lefts =
            |overcommit| bounds_of(MEMINFO, overcommit).iter().map(|bound| bound.left / 1024).collect::<Vec<_>>();
        assert_eq!(lefts("0\n"), [520]);
        assert_eq!(lefts("2\n"), [520, 300]);
    }

    #[test]
    fn without_proc_nothing_is_known() {
        assert_eq!(bounds_of("", ""), []);
        assert_eq!(bounds_of("MemAvailable: lots kB\n", "2"), []);
    }
}
