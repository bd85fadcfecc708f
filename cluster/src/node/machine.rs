//! The machine as the node sees it: its network, the folders that it writes to, its cgroup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::NODE_ADDRESS;
use crate::cgroups;
use crate::command::output;
use crate::state::State;

/// Folders with fixed names to which the runtime and kubelet write. The node gets its own, so that nothing is left on
/// the machine and another containerd or kubelet there is not disturbed.
const OWN_FOLDERS: &[&str] = &["/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet"];

/// Prepares everything that components need.
pub(super) fn prepare(state: &State) -> Result<()> {
    network()?;
    for path in OWN_FOLDERS.iter().map(Path::new) {
        let own = own_folder(state, path);
        fs::create_dir_all(&own).with_context(|| format!("failed to create {}", own.display()))?;
        if !path.exists() {
            // The note comes first: one without a mount point does no harm, a mount point without a note would stay.
            fs::write(note(state, path), "").context("failed to note a mount point")?;
            fs::create_dir(path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        mount(Some(&own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("failed to mount {} at {}", own.display(), path.display()))?;
    }
    fs::create_dir_all("/run/lock").context("failed to create /run/lock")?;
    cgroups::create()
}

/// Removes the mount points that were created for the cluster, if they are empty. Call it when the mounts are gone.
pub(crate) fn remove_mount_points(state: &State) {
    for path in OWN_FOLDERS.iter().map(Path::new).filter(|path| note(state, path).exists()) {
        // If it is not empty, the content is somebody else's.
        let _ = fs::remove_dir(path);
    }
}

fn own_folder(state: &State, path: &Path) -> PathBuf {
    state.path("own").join(path.to_string_lossy().trim_start_matches('/').replace('/', "-"))
}

/// The file that marks the mount point `path` as created for the cluster.
fn note(state: &State, path: &Path) -> PathBuf {
    own_folder(state, path).with_extension("created")
}

/// The node's address is on a bridge, since some kernels lack the `dummy` kind. The default route leads to the node
/// itself, for programs that look for one; no packet leaves the namespace.
fn network() -> Result<()> {
    let address = format!("{NODE_ADDRESS}/24");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "node0", "type", "bridge"],
        &["address", "add", &address, "dev", "node0"],
        &["link", "set", "node0", "up"],
        &["route", "add", "default", "via", NODE_ADDRESS, "dev", "node0"],
    ] {
        output(Command::new("ip").args(arguments))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to enable the forwarding of packets")
}
