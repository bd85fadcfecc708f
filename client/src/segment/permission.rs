//! Refusals by the file system: the error says whose the file or folder is, and what to do.
//!
//! Never the file's name, which has the key in it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::error::segment::SegmentError;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Opening a segment.
    Open,
    /// Opening the folder.
    Look,
    /// Creating a file in the folder.
    Create,
    /// Giving the segment its name there.
    Name,
    /// Removing a segment.
    Remove,
}

impl Act {
    fn action(self) -> &'static str {
        match self {
            Self::Open => "open the segment",
            Self::Look => "open the shared memory folder",
            Self::Create => "create a file in the shared memory folder",
            Self::Name => "name the segment",
            Self::Remove => "remove the segment",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Open => {
                "run as the file's user, or start its server with --mode 0666 (0660 with a common group); if it has no \
                 server any more, have that user or root remove it"
            }
            Self::Look | Self::Create | Self::Name => {
                "run as the folder's user, give this user access to it (Kubernetes: securityContext.fsGroup), or \
                 choose \
                 another (--dir, FRAMEBUFFER_DIR)"
            }
            Self::Remove => {
                "have the file's user or root remove it, adopt the ring instead (--keep), or choose another key"
            }
        }
    }
}

/// The error for `act` on the segment at `path`, in `dir`; for `map_err`.
pub(super) fn explain<E: Into<io::Error>>(act: Act, dir: &Path, path: &Path) -> impl FnOnce(E) -> SegmentError {
    move |error| {
        let source = error.into();
        let (whose, remedy) = match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
            Errno::EACCES | Errno::EPERM => (whose(act, dir, path), act.remedy()),
            Errno::EROFS => {
                let whose = format!("{} is mounted read-only", dir.display());
                (
                    whose,
                    "mount it for writing (Kubernetes: a volumeMount without readOnly): all programs of a ring write",
                )
            }
            _ => return SegmentError::Io { action: act.action(), source },
        };
        SegmentError::NotPermitted { action: act.action(), whose: whose.into(), remedy, source }
    }
}

fn whose(act: Act, dir: &Path, path: &Path) -> String {
    let folder = || format!("the folder {} {}", dir.display(), owner(fs::metadata(dir)));
    let file = || format!("the file {}", owner(fs::symlink_metadata(path)));
    let what = match act {
        Act::Open if fs::symlink_metadata(path).is_err() => folder(),
        Act::Open => file(),
        Act::Look | Act::Create | Act::Name => folder(),
        Act::Remove => format!("{}, and {}", file(), folder()),
    };
    format!("{what}; this process has user {}, group {}", geteuid(), getegid())
}

fn owner(found: io::Result<Metadata>) -> String {
    match found {
        Ok(found) => {
            format!("belongs to user {}, group {}, mode {:04o}", found.uid(), found.gid(), found.mode() & 0o7777)
        }
        Err(error) => format!("hides its owner ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whose_the_file_is_and_what_to_do_but_not_its_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("framebuffer-secret");
        fs::write(&path, "").expect("room");
        let owned = format!("belongs to user {}, group {}, mode 0", geteuid(), getegid());
        for act in [Act::Open, Act::Look, Act::Create, Act::Name, Act::Remove] {
            for errno in [Errno::EACCES, Errno::EPERM] {
                let text = explain(act, dir.path(), &path)(errno).to_string();
                assert!(text.contains(&owned) && text.contains("this process has user"), "{text}");
                assert!(text.contains(act.action()) && text.contains(act.remedy()), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
            let text = explain(act, dir.path(), &path)(Errno::EROFS).to_string();
            assert!(text.contains("read-only") && text.contains("without readOnly"), "{text}");
            let other = explain(act, dir.path(), &path)(Errno::ENOSPC);
            assert!(matches!(other, SegmentError::Io { .. }), "{other}");
        }
    }
}
