//! The shared folder: exists, is a tmpfs, is writable, has room, supports every operation of a segment.

use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use framebuffer_contract::Quantity;
use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::sys::statfs::{Statfs, TMPFS_MAGIC, statfs};

use super::{Check, segment_bytes};

/// How to enlarge a folder, inside a pod and outside.
const ENLARGE: &str = "raise the sizeLimit of the memory volume (Kubernetes), --shm-size (Docker), \
                       or the tmpfs (`mount -o remount,size=...`), or ask for a smaller ring";

/// Checks `dir`; with `wanted`, also that a new ring of that size has room there.
pub(super) fn examine(dir: &Path, wanted: Option<Quantity>) -> Vec<Check> {
    let name = dir.display();
    match dir.metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return vec![Check::fail(format!("{name} is not a folder"), "set --dir (FRAMEBUFFER_DIR) to one")],
        Err(error) => {
            let advice = "mount a memory volume there, in this container too, or set --dir (FRAMEBUFFER_DIR)";
            return vec![Check::fail(format!("folder {name}: {error}"), advice)];
        }
    }
    let mut checks = vec![Check::ok(format!("folder {name} exists")), probe(dir)];
    match statfs(dir) {
        Ok(fs) => {
            checks.push(kind(dir, &fs));
            checks.push(room(dir, &fs, wanted));
        }
        Err(error) => {
            checks.push(Check::warn(format!("the file system of {name}: {error}"), "its kind and room stay unknown"));
        }
    }
    checks
}

fn kind(dir: &Path, fs: &Statfs) -> Check {
    let name = dir.display();
    if fs.filesystem_type() == TMPFS_MAGIC {
        Check::ok(format!("{name} is a tmpfs"))
    } else {
        let advice = "frames would go to a disk in the background: use a tmpfs such as /dev/shm, \
                      or a memory volume (emptyDir with medium: Memory)";
        Check::warn(format!("{name} is not a tmpfs"), advice)
    }
}

fn room(dir: &Path, fs: &Statfs, wanted: Option<Quantity>) -> Check {
    let name = dir.display();
    // A tmpfs without a limit of its own says 0.
    if fs.blocks() == 0 {
        return Check::ok(format!("{name} has no size limit of its own"));
    }
    let block = u64::try_from(fs.block_size()).unwrap_or(0);
    let free = Quantity::from(fs.blocks_available().saturating_mul(block));
    let total = Quantity::from(fs.blocks().saturating_mul(block));
    let Some(wanted) = wanted else { return Check::ok(format!("{name} has {free} of {total} free")) };
    let needed = Quantity::from(segment_bytes(wanted));
    let found = format!("{name} has {free} of {total} free, a ring of {wanted} needs {needed}");
    if free >= needed { Check::ok(found) } else { Check::fail(found, ENLARGE) }
}

/// Does the sidecar's operations on a small file.
fn probe(dir: &Path) -> Check {
    let name = dir.display();
    let path = dir.join(format!(".framebuffer-doctor-{}", std::process::id()));
    let open = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let advice = "the user of this container may not create files there: clients do not need to, a sidecar \
                          does (set securityContext.fsGroup or runAsUser)";
            return Check::fail(format!("{name} is not writable: {error}"), advice);
        }
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            let advice = "mount it without readOnly: clients write to the ring as well";
            return Check::fail(format!("{name} is not writable: {error}"), advice);
        }
        Err(error) => return Check::fail(format!("{name} is not writable: {error}"), ENLARGE),
    };
    let result = exercise(&file);
    let removed = std::fs::remove_file(&path);
    match (result, removed) {
        (Ok(()), Ok(())) => Check::ok(format!("{name} is writable, with fallocate and OFD locks")),
        (Err((what, error)), _) => {
            let advice = "its file system is full, or lacks an operation of a ring: use a tmpfs such as /dev/shm";
            Check::fail(format!("{what} in {name}: {error}"), advice)
        }
        (_, Err(error)) => Check::warn(format!("{}: {error}", path.display()), "remove this file by hand"),
    }
}

fn exercise(file: &std::fs::File) -> Result<(), (&'static str, nix::Error)> {
    fallocate(file, FallocateFlags::empty(), 0, 4096).map_err(|error| ("fallocate", error))?;
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map_err(|error| ("an OFD lock", error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn verdicts(checks: &[Check]) -> Vec<Verdict> {
        checks.iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn a_folder_that_is_missing_or_none_fails_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(verdicts(&examine(&dir.path().join("missing"), None)), [Verdict::Fail]);
        assert_eq!(verdicts(&examine(&file, None)), [Verdict::Fail]);
    }

    #[test]
    fn a_ring_without_room_fails_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let checks = examine(dir.path(), Some(Quantity::from(u64::MAX)));
        assert!(checks.iter().any(|check| check.verdict == Verdict::Fail && check.found.contains("needs ")));
        let checks = examine(dir.path(), Some(Quantity::from(4096)));
        assert!(checks.iter().all(|check| check.verdict != Verdict::Fail), "{checks:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
