//! [`Folder`]: everything that the demo writes while it runs is in there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A private folder in `/dev/shm` for the ring and the sidecar's socket; it is removed on drop.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    /// Creates the folder, for this user only.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("framebuffer-demo-").tempdir_in("/dev/shm");
        folder.map(Self).context("failed to create a folder in /dev/shm")
    }

    /// Its path, which is the shared-memory folder of the ring.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The socket of the sidecar's API.
    pub(super) fn api(&self) -> PathBuf {
        self.path().join("sidecar.sock")
    }

    /// Removes the folder and checks that the sidecar has removed its ring itself.
    pub(super) fn remove(self) -> Result<()> {
        let mut rings = Vec::new();
        for entry in fs::read_dir(self.path()).context("failed to list the demo's folder")? {
            let entry = entry.context("failed to list the demo's folder")?;
            let file_type = entry.file_type().context("failed to look at the demo's folder")?;
            // The sidecar may leave sockets, but no memory.
            if file_type.is_file() {
                rings.push(entry.file_name());
            }
        }
        self.0.close().context("failed to remove the demo's folder")?;
        // The names stay out of the message: a ring's file is named after its key.
        ensure!(rings.is_empty(), "the sidecar left {} file(s) of its ring behind (removed now)", rings.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_left_in_the_folder_is_removed_and_reported_without_its_key() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("framebuffer-secret"), "ring").unwrap();
        let error = folder.remove().unwrap_err().to_string();
        assert!(error.contains("left 1 file") && !error.contains("secret"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_is_removed_however_it_goes_out_of_scope() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
