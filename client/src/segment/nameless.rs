//! Memory of a tmpfs in files that have lost their names: of rings that are gone, while clients have them open.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

/// Less than this is not worth a word: folders and long links take some pages as well.
const LEAST: u64 = 64 << 10;

/// Bytes in the tmpfs of `dir` that are in no file with a name. `None` if that is unknown: it is no tmpfs or one
/// without a limit, or some of its folders cannot be read.
pub(super) fn bytes(dir: &Path) -> Option<u64> {
    let stat = fstatfs(&File::open(dir).ok()?).ok()?;
    if stat.filesystem_type() != TMPFS_MAGIC || stat.blocks() == 0 {
        return None;
    }
    let used = (stat.blocks() - stat.blocks_free()).saturating_mul(u64::try_from(stat.block_size()).ok()?);
    let nameless = used.saturating_sub(named(&root(dir)?).ok()?);
    (nameless >= LEAST).then_some(nameless)
}

/// The folder that the file system of `dir` is mounted at.
fn root(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let device = dir.metadata().ok()?.dev();
    let is_inside = |path: &&Path| path.metadata().is_ok_and(|found| found.dev() == device);
    Some(dir.ancestors().take_while(is_inside).last()?.to_owned())
}

/// Bytes in the files below `root`, each counted once, without other file systems.
fn named(root: &Path) -> io::Result<u64> {
    let device = root.metadata()?.dev();
    let mut folders = vec![root.to_owned()];
    let mut counted = HashSet::new();
    let mut sum = 0;
    let mut count = |found: &Metadata| {
        if found.dev() == device && counted.insert(found.ino()) {
            sum += found.blocks() * 512;
        }
    };
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) => {
                    count(&found);
                    if found.is_dir() && found.dev() == device {
                        folders.push(entry.path());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}
