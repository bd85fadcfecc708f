//! [`Buildah`]: builds images without a daemon and without the user's own images.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::workspace::shown;

/// buildah with a storage of its own, gone when dropped: whatever images the user has are not touched.
#[derive(Debug)]
pub(crate) struct Buildah {
    storage: TempDir,
}

impl Buildah {
    /// A storage in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let storage = tempfile::Builder::new().prefix("storage-").tempdir_in(folder);
        Ok(Self { storage: storage.context("failed to create a folder for images")? })
    }

    /// Builds an image from a `Containerfile` and a context folder.
    pub(crate) fn build(&self, file: &Path, context: &Path, image: &str, more: &[&str]) -> Result<()> {
        // chroot: needs no namespaces. Without a time stamp the same content is the same image.
        let mut build = self.command(&["build", "--isolation=chroot", "--timestamp=0", "--quiet", "--tag", image]);
        run(build.args(more).arg("--file").arg(file).arg(context))
    }

    /// Writes an image into an OCI archive.
    pub(crate) fn push(&self, image: &str, archive: &Path) -> Result<()> {
        // It would add to an archive that is there.
        let _ = fs::remove_file(archive);
        let to = format!("oci-archive:{}:{image}", archive.display());
        run(self.command(&["push", "--quiet", image]).arg(to))
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

/// Runs a command that speaks only when it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
