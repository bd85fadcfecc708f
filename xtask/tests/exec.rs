//! `cargo xtask cluster exec` beside a cluster that consists of a folder and a process in this test's own namespaces:
//! what runs inside ends with it, however it is ended. And `cargo xtask` at a build lock.
//!
//! Entering namespaces needs root; elsewhere these tests are skipped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Holds the lock of a cluster's first process; in Python, since the lock has to be another process's.
const FIRST: &str =
    "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); print(flush=True); input()";

/// A command inside: a shell with a child in the background and one that heeds no SIGTERM. It prints their ids and its
/// own.
const INSIDE: &str = "sleep 1000 & a=$!; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & echo $$ $a; wait";

/// What passes for a cluster.
struct FakeCluster {
    folder: tempfile::TempDir,
    first: Child,
}

impl FakeCluster {
    /// `None` without root.
    fn start() -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: entering namespaces needs root");
            return None;
        }
        // This test may itself run in the background of a script, which ignores SIGINT.
        framebuffer_signals::heed_all().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut first = Command::new("python3");
        first.args(["-c", FIRST]).arg(folder.path().join("alive")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut first = first.spawn().unwrap();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        fs::write(folder.path().join("ready"), "").unwrap();
        Some(Self { folder, first })
    }

    /// `cargo xtask cluster exec` with a shell script, as the child of a shell that waits for it.
    fn exec(&self, script: &str, parent: Parent) -> Running {
        let xtask = env!("CARGO_BIN_EXE_xtask");
        let mut command = match parent {
            Parent::Test => Command::new(xtask),
            Parent::Shell => {
                let mut shell = Command::new("sh");
                shell.args(["-c", r#""$@" & wait"#, "sh", xtask]);
                shell
            }
        };
        command.args(["cluster", "exec", "--", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
            .env("FRAMEBUFFER_CLUSTER_FOLDER", self.folder.path())
            .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Running { child, said }
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

#[derive(Clone, Copy)]
enum Parent {
    Test,
    Shell,
}

struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    /// The processes that [`INSIDE`] names, in two lines.
    fn processes(&mut self) -> Vec<i32> {
        let mut said = String::new();
        for _ in 0..2 {
            self.said.read_line(&mut said).unwrap();
        }
        let processes: Vec<i32> = said.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(processes.len(), 3, "{said}");
        assert!(processes.iter().all(|id| runs(*id)));
        processes
    }
}

/// Whether the process runs; one that has ended and waits to be collected does not.
fn runs(id: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn all_end(processes: &[i32]) {
    let deadline = Instant::now() + DEADLINE;
    while processes.iter().any(|id| runs(*id)) {
        if Instant::now() > deadline {
            let left: Vec<i32> = processes.iter().copied().filter(|id| runs(*id)).collect();
            for id in &left {
                kill(Pid::from_raw(*id), Signal::SIGKILL).unwrap();
            }
            panic!("{left:?} of {processes:?} are left");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

#[test]
fn whatever_runs_in_the_cluster_ends_when_exec_is_asked_to_end_or_killed() {
    let Some(cluster) = FakeCluster::start() else { return };
    for (signal, code) in [(Signal::SIGTERM, Some(143)), (Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let mut running = cluster.exec(INSIDE, Parent::Test);
        let processes = running.processes();
        kill(pid(&running.child), signal).unwrap();
        let status = running.child.wait().unwrap();
        assert_eq!(status.code(), code, "{signal}");
        if code.is_some() {
            assert!(!processes.iter().any(|id| runs(*id)), "{signal}: some are left when it has ended");
        }
        all_end(&processes);
    }
}

#[test]
fn whatever_runs_in_the_cluster_ends_with_the_parent_of_exec() {
    let Some(cluster) = FakeCluster::start() else { return };
    let mut running = cluster.exec(INSIDE, Parent::Shell);
    let processes = running.processes();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    all_end(&processes);
}

#[test]
fn a_command_that_ends_gives_its_exit_code_and_keeps_what_it_has_left_running() {
    let Some(cluster) = FakeCluster::start() else { return };
    let mut running = cluster.exec("sleep 1000 >/dev/null & echo $!; exit 7", Parent::Test);
    let mut said = String::new();
    running.said.read_line(&mut said).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(7));
    let left = said.trim().parse().unwrap();
    assert!(runs(left));
    kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    let mut killed = cluster.exec("kill -9 $$", Parent::Test);
    assert_eq!(killed.child.wait().unwrap().code(), Some(137));
}

/// The lock is cargo's: the alias must not silence it.
#[test]
fn cargo_xtask_says_that_it_waits_for_the_build_lock() {
    let target = tempfile::tempdir().unwrap();
    let profile = target.path().join("debug");
    fs::create_dir(&profile).unwrap();
    let lock = File::create(profile.join(".cargo-lock")).unwrap();
    lock.lock().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["xtask", "cluster", "exec", "--", "true"]).current_dir(root).stderr(Stdio::piped());
    cargo.env("CARGO_TARGET_DIR", target.path()).env("CARGO_NET_OFFLINE", "true").stdout(Stdio::null());
    let mut cargo = cargo.spawn().unwrap();
    let lines = BufReader::new(cargo.stderr.take().unwrap()).lines();
    let (sender, found) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let line = lines.map_while(Result::ok).find(|line| line.contains("waiting for file lock"));
        let _ = sender.send(line);
    });
    let line = found.recv_timeout(DEADLINE);
    cargo.kill().unwrap();
    cargo.wait().unwrap();
    assert!(line.is_ok_and(|line| line.is_some()));
}
