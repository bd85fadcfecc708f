//! [`RunFolder`]: where a run has all its files, and the removal of whatever it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{adopt_orphans, reap_orphans};
use crate::transports::iceoryx_prefix;

/// Shared memory: nothing that is measured touches a disk.
const SHM: &str = "/dev/shm";
/// How the folder's name begins.
pub(crate) const PREFIX: &str = "framebuffer-bench-";

/// A run's folder in shared memory. To be dropped after all processes of the run; it is removed then, with what peers have put beside it under its name.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl RunFolder {
    /// Makes a folder that only this user can enter.
    ///
    /// # Errors
    ///
    /// If it can't.
    pub(crate) fn new() -> Result<Self> {
        adopt_orphans()?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(SHM);
        let folder = folder.with_context(|| format!("failed to make a folder in {SHM}"))?;
        Ok(Self { path: folder.path().to_owned(), folder: Some(folder) })
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
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let iceoryx = iceoryx_prefix(&self.path);
        for entry in fs::read_dir(SHM).into_iter().flatten().flatten() {
            let found = entry.file_name().to_string_lossy().into_owned();
            // Python's segments have the run's name in front, iceoryx2's files its prefix.
            if found != name && (found.starts_with(&format!("{name}-")) || found.starts_with(&iceoryx)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        if let Some(folder) = self.folder.take()
            && let Err(error) = folder.close()
        {
            eprintln!("failed to remove {}: {error}", self.path.display());
        }
    }
}
