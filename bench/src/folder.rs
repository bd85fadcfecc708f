//! [`RunFolder`]: where a run has all its files, and the removal of whatever it leaves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{adopt_orphans, reap_orphans};
use crate::transports::iceoryx_prefix;

/// Shared memory: nothing that is measured touches a disk.
const SHM: &str = "/dev/shm";
/// How the folder's name begins.
const PREFIX: &str = "framebuffer-bench-";
/// Locked for as long as the run lives.
const LOCK: &str = "lock";

/// A run's folder in shared memory. Drop it after all processes of the run; it is removed then, with the files that
/// peers have put beside it under its name.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes a folder that only this user can enter, and removes those of runs that were killed.
    ///
    /// # Errors
    ///
    /// If it can't.
    pub(crate) fn new() -> Result<Self> {
        adopt_orphans()?;
        remove_old(Path::new(SHM));
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(SHM);
        // Removed by `drop`, with more.
        let path = folder.with_context(|| format!("failed to make a folder in {SHM}"))?.keep();
        let lock = File::create_new(path.join(LOCK)).context("failed to make a lock file")?;
        lock.lock().context("failed to lock the folder")?;
        Ok(Self { path, _lock: lock })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder of a group.
    pub(crate) fn group(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // They may be removing their part of it.
        reap_orphans();
        remove(&self.path);
    }
}

/// Removes the files in `shm` of runs that could not do so themselves.
fn remove_old(shm: &Path) {
    for entry in fs::read_dir(shm).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // No lock: not a run's folder, or one that is only being made. Held: the run lives.
        if let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a run's folder, and first the files beside it.
fn remove(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Python's segments have the run's name in front, iceoryx2's files its prefix.
    let beside = [format!("{name}-"), iceoryx_prefix(path)];
    for entry in path.parent().and_then(|shm| fs::read_dir(shm).ok()).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        if beside.iter().any(|prefix| found.starts_with(prefix)) {
            // A file that is gone needs no removal; one that can't be removed is noticed.
            let _ = fs::remove_file(entry.path());
        }
    }
    if let Err(error) = fs::remove_dir_all(path) {
        eprintln!("failed to remove {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_has_left_is_removed_and_what_a_living_one_has_is_not() {
        let shm = tempfile::tempdir().unwrap();
        let run = |name: &str| {
            let path = shm.path().join(format!("{PREFIX}{name}"));
            fs::create_dir_all(path.join("group")).unwrap();
            fs::write(shm.path().join(format!("{PREFIX}{name}-segment")), "").unwrap();
            (File::create_new(path.join(LOCK)).unwrap(), path)
        };
        let (dead, left) = run("dead");
        drop(dead);
        let (alive, kept) = run("alive");
        alive.lock().unwrap();
        fs::write(shm.path().join("framebuffer-another"), "").unwrap();
        remove_old(shm.path());
        assert!(!left.exists() && kept.join("group").exists());
        let mut names: Vec<_> = fs::read_dir(shm.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["framebuffer-another", "framebuffer-bench-alive", "framebuffer-bench-alive-segment"]);
    }
}
