//! The cluster's cgroup: a folder of the same name in every hierarchy of version 1, or in the one of version 2.
//!
//! It is the only part of the cluster that the kernel does not remove with the last process.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The folder's name; kubelet puts all pods into it.
pub(crate) const NAME: &str = "framebuffer-e2e";
/// How long removal is retried: a cgroup stays busy for a moment after its last process has ended.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Creates the cgroup in all hierarchies.
pub(crate) fn create() -> Result<()> {
    let root = Path::new(ROOT);
    if !root.join("cgroup.controllers").exists() {
        for hierarchy in hierarchies(root)? {
            // Some entries are not cgroups.
            let _ = fs::create_dir(hierarchy.join(NAME));
        }
        return Ok(());
    }
    let ours = root.join(NAME);
    fs::create_dir_all(&ours).with_context(|| format!("failed to create {}", ours.display()))?;
    for folder in [root, &ours] {
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).context("failed to list controllers")?;
        for controller in offered.split_whitespace() {
            // Usually enabled already. kubelet reports those that it misses.
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

/// Removes the cgroup and everything below it from all hierarchies; returns how many folders that were.
pub(crate) fn remove() -> Result<usize> {
    let root = Path::new(ROOT);
    let mut removed = 0;
    for folder in hierarchies(root)?.into_iter().chain([root.to_owned()]).map(|hierarchy| hierarchy.join(NAME)) {
        if folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            removed += remove_tree(&folder, Instant::now() + TIMEOUT)
                .with_context(|| format!("failed to remove the cgroup {}", folder.display()))?;
        }
    }
    Ok(removed)
}

fn hierarchies(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root).with_context(|| format!("failed to list {}", root.display()))?;
    // A link (cpu to cpu,cpuacct) leads to a folder that is listed as well.
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|is| is.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

/// Removes folders, children first; the kernel removes the files in them. Returns how many folders that were.
fn remove_tree(folder: &Path, deadline: Instant) -> std::io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_tree(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(removed + 1),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(removed),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_removed_first_and_all_are_counted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(NAME);
        fs::create_dir_all(folder.join("kubepods/burstable/pod1/container")).unwrap();
        fs::create_dir_all(folder.join("kubepods/besteffort")).unwrap();
        assert_eq!(remove_tree(&folder, Instant::now()).unwrap(), 6);
        assert!(!folder.exists());
    }

    #[test]
    fn a_cgroup_that_stays_busy_is_an_error_after_the_deadline() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("process"), "").unwrap();
        assert!(remove_tree(parent.path(), Instant::now()).is_err());
    }
}
