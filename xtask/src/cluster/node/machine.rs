//! The machine as the node sees it: its network, the folders that it may fill, its cgroup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

use super::NODE_ADDRESS;
use crate::cluster::cgroups;
use crate::cluster::state::State;

/// Folders to which the runtime and kubelet write under fixed names. The node gets its own, so that nothing is left on
/// the machine and another containerd or kubelet there is not disturbed.
const OWN_FOLDERS: &[&str] = &["/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet"];

/// Prepares everything that components need.
pub(super) fn prepare(state: &State) -> Result<()> {
    network()?;
    for path in OWN_FOLDERS.iter().map(Path::new) {
        let own = own_folder(state, path);
        fs::create_dir_all(&own).with_context(|| format!("failed to create {}", own.display()))?;
        if !path.exists() {
            // First the note: a mount point too few is removed in vain, one too many would stay.
            fs::write(note(state, path), "").context("failed to note a mount point")?;
            fs::create_dir(path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        mount(Some(&own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("failed to mount {} at {}", own.display(), path.display()))?;
    }
    fs::create_dir_all("/run/lock").context("failed to create /run/lock")?;
    cgroups::create()
}

/// Removes the mount points that there were none of before, if nothing is in them; to be called when the mounts are gone.
pub(in crate::cluster) fn remove_mount_points(state: &State) {
    for path in OWN_FOLDERS.iter().map(Path::new).filter(|path| note(state, path).exists()) {
        // Something in it is not ours.
        let _ = fs::remove_dir(path);
    }
}

fn own_folder(state: &State, path: &Path) -> PathBuf {
    state.path("own").join(path.to_string_lossy().trim_start_matches('/').replace('/', "-"))
}

/// A file that says that the mount point `path` was created for the cluster.
fn note(state: &State, path: &Path) -> PathBuf {
    own_folder(state, path).with_extension("created")
}

/// The node's address sits on a bridge: some kernels lack the `dummy` kind. The default route leads to itself, for
/// programs that look for one; no packet leaves the namespace.
fn network() -> Result<()> {
    let address = format!("{NODE_ADDRESS}/24");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "node0", "type", "bridge"],
        &["address", "add", &address, "dev", "node0"],
        &["link", "set", "node0", "up"],
        &["route", "add", "default", "via", NODE_ADDRESS, "dev", "node0"],
    ] {
        let output = Command::new("ip").args(arguments).output().context("failed to start ip")?;
        if !output.status.success() {
            bail!("ip {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to switch on forwarding of packets")
}
