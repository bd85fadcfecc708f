//! [`Buildah`]: builds images without a daemon, apart from the user's own images.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::output;

/// buildah with a storage of its own, which is removed on drop: the user's images are not touched.
#[derive(Debug)]
pub struct Buildah {
    storage: TempDir,
}

impl Buildah {
    /// Creates a storage in `folder`.
    ///
    /// # Errors
    ///
    /// If the storage can't be created.
    pub fn new(folder: &Path) -> Result<Self> {
        let storage = tempfile::Builder::new().prefix("storage-").tempdir_in(folder);
        Ok(Self { storage: storage.context("failed to create a folder for images")? })
    }

    /// Builds `image` from the Containerfile `file` and the folder `context`; `more` are arguments of `buildah build`.
    ///
    /// # Errors
    ///
    /// If buildah can't be started or fails; the error has its output.
    pub fn build(&self, file: &Path, context: &Path, image: &str, more: &[&str]) -> Result<()> {
        // chroot: needs no namespaces. Without a time stamp the same content is the same image.
        let mut build = self.command(&["build", "--isolation=chroot", "--timestamp=0", "--quiet", "--tag", image]);
        output(build.args(more).arg("--file").arg(file).arg(context)).map(drop)
    }

    /// Writes an image into an OCI archive, in place of the file that is there.
    ///
    /// # Errors
    ///
    /// If buildah can't be started or fails; the error has its output.
    pub fn push(&self, image: &str, archive: &Path) -> Result<()> {
        // buildah would add to an existing archive.
        let _ = fs::remove_file(archive);
        let to = format!("oci-archive:{}:{image}", archive.display());
        output(self.command(&["push", "--quiet", image]).arg(to)).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.storage.path().join("root"));
        command.arg("--runroot").arg(self.storage.path().join("run"));
        // Works on every file system.
        command.arg("--storage-driver=vfs").args(arguments);
        command
    }
}
