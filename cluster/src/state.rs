//! The cluster's folder, the lock on it, and whether a cluster is up.
//!
//! A machine has one cluster, whichever checkout started it: names such as that of its cgroup are global. The first
//! process holds a POSIX lock on a file in the folder, and the kernel tells that process's id to everybody who asks:
//! there is no file with an id in it that could be stale.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{Pid, geteuid};

/// On a disk, for container layers; not below `/run`, `/var/log` or `/var/lib`, in which the node has folders of its
/// own.
const FOLDER: &str = "/var/tmp/framebuffer-cluster";

/// The cluster's folder, with everything that is known of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct State {
    folder: PathBuf,
}

/// Whether a cluster is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// No process of a cluster runs.
    Down,
    /// A cluster is starting, or hangs while it does; its first process.
    Starting(Pid),
    /// A cluster is ready; its first process.
    Up(Pid),
}

/// Nobody else starts or ends a cluster until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl State {
    /// The folder of this machine's cluster, which need not exist; tests name another.
    pub(crate) fn of_this_machine() -> Self {
        Self { folder: env::var_os("FRAMEBUFFER_CLUSTER_FOLDER").map_or_else(|| FOLDER.into(), PathBuf::from) }
    }

    /// A file or folder of the cluster.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig of the cluster's administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Where containerd listens.
    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    /// Creates the folder if needed and waits until nobody else starts or ends a cluster.
    pub(crate) fn lock(&self) -> Result<Lock> {
        loop {
            self.create()?;
            let path = self.path("lock");
            let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
            if file.try_lock().is_err() {
                println!("waiting for another cargo xtask cluster to finish");
                file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
            }
            let locked = file.metadata().context("failed to look at the lock")?.ino();
            // `down` removes the folder with its lock: whoever waited for that one starts over.
            if fs::metadata(&path).is_ok_and(|found| found.ino() == locked) {
                return Ok(Lock { _file: file });
            }
        }
    }

    /// Creates the folder; refuses one that somebody else created, since everybody may write to its parent.
    pub(crate) fn create(&self) -> Result<()> {
        let shown = self.folder.display();
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("failed to create {shown}")),
        }
        let found = self.folder.symlink_metadata().with_context(|| format!("failed to look at {shown}"))?;
        ensure!(
            found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0,
            "{shown} is not a folder that only root may write to; remove it"
        );
        Ok(())
    }

    /// Looks for the cluster.
    pub(crate) fn find(&self) -> Result<Status> {
        let Some(first) = self.first_process()? else { return Ok(Status::Down) };
        Ok(if self.path("ready").exists() { Status::Up(first) } else { Status::Starting(first) })
    }

    /// The cluster that is up, or an error with the remedy.
    pub(crate) fn expect_up(&self) -> Result<Pid> {
        match self.find()? {
            Status::Up(first) => Ok(first),
            Status::Starting(_) => bail!("the cluster is not ready yet: cargo xtask cluster up waits for it"),
            Status::Down => match fs::read_to_string(self.path("log/ended")) {
                Ok(why) => bail!("the cluster has ended: {}; start it again: cargo xtask cluster up", why.trim()),
                Err(_) => bail!("no cluster is up; start one: cargo xtask cluster up"),
            },
        }
    }

    /// Makes this process the cluster's first, for as long as it lives.
    pub(crate) fn become_first_process(&self) -> Result<File> {
        let path = self.path("alive");
        let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        fcntl(&file, FcntlArg::F_SETLK(&whole_file())).context("another cluster's first process is alive")?;
        Ok(file)
    }

    /// The process that holds the lock, by its id in the namespace of this process.
    fn first_process(&self) -> Result<Option<Pid>> {
        let path = self.path("alive");
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to open {}", path.display())),
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).context("failed to ask for the cluster's first process")?;
        Ok((i32::from(lock.l_type) != libc::F_UNLCK).then(|| Pid::from_raw(lock.l_pid)))
    }

    /// Removes the folder and everything in it.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the folder has anything besides the lock.
    pub(crate) fn has_leftovers(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != "lock"))
    }
}

/// An error unless this is root.
pub(crate) fn ensure_root() -> Result<()> {
    ensure!(geteuid().is_root(), "the cluster needs root: namespaces, mounts, cgroups");
    Ok(())
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    fn state(folder: &Path) -> State {
        State { folder: folder.join("cluster") }
    }

    #[test]
    fn a_folder_that_somebody_else_created_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let state = state(parent.path());
        let refused = |what: &str| {
            let error = state.create().expect_err(what).to_string();
            assert!(error.contains("only root"), "{what}: {error}");
        };
        symlink("/tmp", &state.folder).unwrap();
        refused("a link");
        fs::remove_file(&state.folder).unwrap();
        fs::create_dir(&state.folder).unwrap();
        fs::set_permissions(&state.folder, fs::Permissions::from_mode(0o770)).unwrap();
        refused("a folder that others may write to");
        fs::set_permissions(&state.folder, fs::Permissions::from_mode(0o700)).unwrap();
        if geteuid().is_root() {
            state.create().unwrap();
            chown(&state.folder, Some(1000), None).unwrap();
        }
        refused("another user's folder");
    }

    #[test]
    fn without_a_folder_no_cluster_is_up_and_the_error_has_the_remedy() {
        let parent = tempfile::tempdir().unwrap();
        let state = state(parent.path());
        assert_eq!(state.find().unwrap(), Status::Down);
        let error = state.expect_up().unwrap_err().to_string();
        assert!(error.contains("cargo xtask cluster up"), "{error}");
    }

    #[test]
    fn the_first_process_is_found_while_it_lives_and_not_after() {
        let parent = tempfile::tempdir().unwrap();
        let state = state(parent.path());
        DirBuilder::new().create(&state.folder).unwrap();
        // In Python: the lock has to be that of another process.
        let mut first = Command::new("python3")
            .args([
                "-c",
                "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); print(flush=True); input()",
            ])
            .arg(state.path("alive"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(first.stdout.take().unwrap()), &mut line).unwrap();
        let pid = Pid::from_raw(first.id().try_into().unwrap());
        assert_eq!(state.find().unwrap(), Status::Starting(pid));
        fs::write(state.path("ready"), "").unwrap();
        assert_eq!(state.find().unwrap(), Status::Up(pid));
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(state.find().unwrap(), Status::Down);
    }

    #[test]
    fn whoever_waited_for_a_folder_that_was_removed_waits_for_its_successor() {
        if !geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let state = state(parent.path());
        let first = state.lock().unwrap();
        let waiting = std::thread::spawn({
            let state = state.clone();
            move || state.lock().map(drop)
        });
        wait_until_somebody_waits(&state);
        state.remove().unwrap();
        let second = state.lock().unwrap();
        drop(first);
        wait_until_somebody_waits(&state);
        drop(second);
        waiting.join().unwrap().unwrap();
    }

    fn wait_until_somebody_waits(state: &State) {
        let inode = format!(":{} ", fs::metadata(state.path("lock")).unwrap().ino());
        let deadline = Instant::now() + Duration::from_secs(10);
        // A waiting process has a line with an arrow.
        let waits = |line: &str| line.contains("->") && line.contains(&inode);
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
            assert!(Instant::now() < deadline, "nobody waits");
            std::thread::yield_now();
        }
    }
}
