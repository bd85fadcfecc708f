//! The images of the node: those that it has from the start (a shell and the pause image, both of busybox), and
//! importing more.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::buildah::Buildah;
use crate::command::output;
use crate::state::State;

/// Keeps a pod's namespaces.
pub(crate) const PAUSE: &str = "localhost/pause:test";
/// A shell with all of busybox.
const BUSYBOX: &str = "localhost/busybox:test";
const CONTAINERFILE: &str = "
FROM scratch
COPY bin /bin
ENV PATH=/bin
";

/// The archives of both images, made if they are not in the folder `cache` yet.
pub(crate) fn provide(cache: &Path) -> Result<Vec<PathBuf>> {
    let folder = cache.join("images");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let busybox = which::which("busybox").context("busybox is missing")?;
    let mut archives = Vec::new();
    for (name, image, command) in
        [("pause", PAUSE, r#"["/bin/tail", "-f", "/dev/null"]"#), ("busybox", BUSYBOX, r#"["/bin/sh"]"#)]
    {
        let archive = folder.join(format!("{name}.tar"));
        if !archive.exists() {
            let context = tempfile::tempdir_in(&folder).context("failed to create a temporary folder")?;
            install(&context.path().join("bin"), &busybox)?;
            let file = context.path().join("Containerfile");
            fs::write(&file, format!("{CONTAINERFILE}CMD {command}\n")).context("failed to write a Containerfile")?;
            let partial = context.path().join("archive.tar");
            let buildah = Buildah::new(&folder)?;
            buildah.build(&file, context.path(), image, &[])?;
            buildah.push(image, &partial)?;
            fs::rename(&partial, &archive).with_context(|| format!("failed to rename to {}", archive.display()))?;
        }
        archives.push(archive);
    }
    Ok(archives)
}

/// Copies busybox into the folder `bin` and links to it under the name of each of its applets.
fn install(bin: &Path, busybox: &Path) -> Result<()> {
    fs::create_dir(bin).context("failed to create the image's folder")?;
    fs::copy(busybox, bin.join("busybox")).context("failed to copy busybox")?;
    for name in output(Command::new(busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(name)).with_context(|| format!("failed to link {name}"))?;
    }
    Ok(())
}

/// Imports the images of an archive into containerd, and returns the output of `ctr`. `ctr` is the program without
/// arguments.
pub(crate) fn import(archive: &Path, mut ctr: Command, state: &State) -> Result<String> {
    let shown = archive.display();
    // Through a pipe: the node may see other files under the same path.
    let file = File::open(archive).with_context(|| format!("failed to open {shown}"))?;
    ctr.arg("--address").arg(state.containerd_socket()).args(["--namespace=k8s.io", "images", "import", "-"]);
    output(ctr.stdin(file)).with_context(|| format!("failed to import {shown}"))
}
