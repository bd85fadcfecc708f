//! The shared folder: exists, is a tmpfs, and takes a ring. Its room is one of the [`limits`](super::limits).

use std::path::Path;

use framebuffer::SegmentError;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::Check;

/// Checks `dir`. If it `has_ring` that is fine, it need not take another.
pub(super) fn examine(dir: &Path, has_ring: bool) -> Vec<Check> {
    let name = dir.display();
    match dir.metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return vec![Check::fail(format!("{name} is not a folder"), "set --dir (FRAMEBUFFER_DIR) to one")],
        Err(error) => {
            let advice = "mount a memory volume there, in this container too, or set --dir (FRAMEBUFFER_DIR)";
            return vec![Check::fail(format!("folder {name}: {error}"), advice)];
        }
    }
    vec![Check::ok(format!("folder {name} exists")), trial(dir, has_ring), kind(dir)]
}

fn kind(dir: &Path) -> Check {
    let name = dir.display();
    match statfs(dir) {
        Ok(fs) if fs.filesystem_type() == TMPFS_MAGIC => Check::ok(format!("{name} is a tmpfs")),
        Ok(_) => {
            let advice = "frames would go to a disk in the background: use a tmpfs such as /dev/shm, \
                          or a memory volume (emptyDir with medium: Memory)";
            Check::warn(format!("{name} is not a tmpfs"), advice)
        }
        Err(error) => Check::warn(format!("the file system of {name}: {error}"), "its kind stays unknown"),
    }
}

/// Creates, joins and removes the smallest ring: whatever keeps a server from doing so, a limit or a file system that
/// lacks an operation, is found here.
fn trial(dir: &Path, has_ring: bool) -> Check {
    let name = dir.display();
    let Err(error) = framebuffer::trial(dir) else {
        return Check::ok(format!("{name} takes a ring: a small one was created, joined and removed"));
    };
    let advice = match &error {
        SegmentError::Io { .. } if !Path::new("/proc/self/fd").exists() => {
            "mount /proc (mount -t proc proc /proc): a ring opens its files through it"
        }
        SegmentError::Io { .. } => "its file system lacks an operation of a ring: use a tmpfs such as /dev/shm",
        _ => "see the message",
    };
    let found = format!("{name} takes no ring: {:#}", anyhow::Error::new(error));
    if has_ring {
        Check::warn(found, format!("the ring that is there works; for a new one: {advice}"))
    } else {
        Check::fail(found, advice)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
        assert_eq!(verdicts(&examine(&dir.path().join("missing"), false)), [Verdict::Fail]);
        assert_eq!(verdicts(&examine(&file, false)), [Verdict::Fail]);
    }

    #[test]
    fn a_folder_takes_a_ring_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let checks = examine(dir.path(), false);
        assert!(checks.iter().all(|check| check.verdict != Verdict::Fail), "{checks:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_takes_no_ring_only_matters_without_one() {
        let dir = Path::new("/proc/self");
        assert_eq!(verdicts(&examine(dir, false))[1], Verdict::Fail);
        assert_eq!(verdicts(&examine(dir, true))[1], Verdict::Warn);
    }
}
