//! Ending the cluster, and the check that nothing of it is left.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroups;
use crate::node::machine::remove_mount_points;
use crate::state::{State, Status, ensure_root};

/// How long killed processes may take to end: containers that free much memory take a while.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Ends the cluster that is up, or removes the leftovers of a killed one, and prints which it was.
///
/// # Errors
///
/// If this is not root, or if a process, a mount or a cgroup of the cluster is left.
pub fn down() -> Result<()> {
    ensure_root()?;
    let state = State::of_this_machine();
    let start = Instant::now();
    let _lock = state.lock()?;
    let leftovers = state.has_leftovers();
    let ended = end(&state)?;
    match (ended, leftovers) {
        (Some(ended), _) => {
            let nothing = "nothing is left (process, mount, interface, cgroup)";
            let seconds = start.elapsed().as_secs_f64();
            println!("the cluster is down after {seconds:.1} s: {ended} processes ended, {nothing}");
        }
        (None, true) => println!("no cluster is up; removed the leftovers of an earlier one"),
        (None, false) => println!("no cluster is up"),
    }
    Ok(())
}

/// Ends the cluster if there is one, and removes its cgroups and its folder. Returns how many processes were ended.
pub(crate) fn end(state: &State) -> Result<Option<usize>> {
    let ended = match state.find()? {
        Status::Down => None,
        Status::Up(first) | Status::Starting(first) => Some(end_processes(first)?),
    };
    cgroups::remove()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("failed to list mounts")?;
    let folder = state.path("").display().to_string();
    let left: Vec<_> = mounts.lines().filter(|mount| mount.contains(folder.trim_end_matches('/'))).collect();
    ensure!(left.is_empty(), "mounts of the cluster are left:\n{}", left.join("\n"));
    remove_mount_points(state);
    state.remove()?;
    Ok(ended)
}

/// Kills the first process and waits until no process is in its namespaces. With the last process, the kernel removes
/// the namespaces, and with these their mounts and interfaces.
fn end_processes(first: Pid) -> Result<usize> {
    let namespaces = namespaces_of(first).context("failed to look at the cluster's namespaces")?;
    let own = namespaces_of(Pid::this()).context("failed to look at our own namespaces")?;
    ensure!(namespaces.is_disjoint(&own), "the cluster's first process {first} is in our own namespaces");
    let running = processes_in(&namespaces)?;
    // The first process of a namespace of process ids: the kernel kills all others in there.
    match kill(first, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(error).with_context(|| format!("failed to kill process {first}")),
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // A process that is freeing its memory is in no namespace any more, but still runs.
        let mut left = processes_in(&namespaces)?;
        left.extend(running.iter().copied().filter(|id| !left.contains(id) && is_running(*id)).collect::<Vec<_>>());
        if left.is_empty() {
            return Ok(running.len());
        }
        if Instant::now() > deadline {
            bail!("{} processes of the cluster are left: {left:?}", left.len());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The process's namespaces of those kinds of which the cluster has its own.
fn namespaces_of(process: Pid) -> std::io::Result<HashSet<PathBuf>> {
    ["net", "mnt", "pid"].into_iter().map(|kind| fs::read_link(format!("/proc/{process}/ns/{kind}"))).collect()
}

/// The processes in any of `namespaces`.
fn processes_in(namespaces: &HashSet<PathBuf>) -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("failed to list processes")?;
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process that has ended meanwhile has no namespaces.
    let is_in = |id: &i32| {
        ["net", "mnt", "pid"].into_iter().any(|kind| {
            fs::read_link(format!("/proc/{id}/ns/{kind}")).is_ok_and(|namespace| namespaces.contains(&namespace))
        })
    };
    Ok(ids.filter(is_in).collect())
}

/// Whether a process exists and is not a zombie.
fn is_running(id: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    // The state follows the name, which is in parentheses and may contain some.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_namespaces() {
        let own = namespaces_of(Pid::this()).unwrap();
        assert!(processes_in(&own).unwrap().contains(&Pid::this().as_raw()));
        assert!(processes_in(&HashSet::from(["net:[0]".into()])).unwrap().is_empty());
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let id = child.id().try_into().unwrap();
        assert!(is_running(id));
        child.kill().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while is_running(id) {
            assert!(Instant::now() < deadline, "it still runs");
            thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!is_running(id));
    }

    #[test]
    fn processes_in_our_own_namespaces_are_never_ended() {
        let error = end_processes(Pid::this()).unwrap_err().to_string();
        assert!(error.contains("our own"), "{error}");
    }
}
