//! The test images that the node has from the start: a shell and the pause image, both of busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::buildah::Buildah;
use crate::setup::Setup;
use crate::workspace::find_program;

/// Holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:test";
/// A shell with all that busybox has.
const BUSYBOX: &str = "localhost/busybox:test";
const CONTAINERFILE: &str = "
FROM scratch
COPY bin /bin
ENV PATH=/bin
";

/// The archives of both images, made if they are not in the cache folder yet.
pub(super) fn provide(setup: &Setup) -> Result<Vec<PathBuf>> {
    let folder = setup.cache().join("cluster/images");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let busybox = find_program("busybox").context("busybox is missing")?;
    let mut archives = Vec::new();
    for (name, image, command) in
        [("pause", PAUSE, r#"["/bin/tail", "-f", "/dev/null"]"#), ("busybox", BUSYBOX, r#"["/bin/sh"]"#)]
    {
        let archive = folder.join(format!("{name}.tar"));
        if !archive.exists() {
            let context = tempfile::tempdir_in(&folder).context("failed to create a temporary folder")?;
            fill(&context.path().join("bin"), &busybox)?;
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

/// busybox, and a link to it under each name that it knows.
fn fill(bin: &Path, busybox: &Path) -> Result<()> {
    fs::create_dir(bin).context("failed to create the image's folder")?;
    fs::copy(busybox, bin.join("busybox")).context("failed to copy busybox")?;
    let names = Command::new(busybox).arg("--list").output().context("failed to start busybox")?;
    if !names.status.success() {
        bail!("busybox --list ended with {}", names.status);
    }
    for name in String::from_utf8_lossy(&names.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(name)).with_context(|| format!("failed to link {name}"))?;
    }
    Ok(())
}
