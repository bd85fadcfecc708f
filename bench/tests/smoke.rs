//! The benchmark as people run it: all transports deliver, and whatever happens to it, it says so and leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PREFIX: &str = "framebuffer-bench-";
const PATIENCE: Duration = Duration::from_mins(1);

/// One at a time: each looks at what all of them leave in `/dev/shm`.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framebuffer-bench"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What runs have in shared memory, and iceoryx2 where it keeps files by default.
fn files() -> HashSet<PathBuf> {
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let entries = |dir| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries("/dev/shm").filter(ours).chain(entries("/tmp/iceoryx2")).collect()
}

/// The processes whose parent is `parent`, with their command lines.
fn children(parent: u32) -> Vec<(i32, String)> {
    let listed = fs::read_dir("/proc").unwrap().flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // pid (name) state parent
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&line).replace('\0', " "))
    })
    .collect()
}

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended(child: Child) -> (Output, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// Starts a run of one transport and waits until its reader is at work.
fn started(transport: &str) -> (Child, Vec<(i32, String)>) {
    let child =
        bench(&["run", "--only", transport, "--size", "65536", "--readers", "1", "--ring", "16"]).spawn().unwrap();
    let workers = wait_for("the workers", || {
        let workers = children(child.id());
        let at_work = workers.iter().any(|(_, line)| line.contains(" worker ") && line.trim_end().ends_with(" 1 0"));
        at_work.then_some(workers)
    });
    (child, workers)
}

#[test]
fn every_transport_delivers_the_right_bytes_and_leaves_nothing_behind() {
    let _alone = alone();
    let before = files();
    let output = bench(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<&str> = said.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    for name in ["framebuffer-copy", "iceoryx2-copy", "memcpy", "unix-socket", "tcp", "zeromq", "redis", "python"] {
        assert!(names.contains(&name), "{name} is not named in:\n{said}");
    }
    // What needs no other program is there in any case.
    assert!(said.contains("iceoryx2-in-place: delivers") && said.contains("tcp: delivers"), "{said}");
    assert_eq!(files(), before);
}

#[test]
fn a_peer_that_is_missing_is_skipped_by_name_with_the_way_to_get_it() {
    let _alone = alone();
    let output = bench(&["check", "redis", "python", "unix-socket"]).env("PATH", "/nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for (name, package) in [("redis", "redis-server"), ("python", "python3")] {
        let line = said.lines().find(|line| line.starts_with(&format!("{name}: skipped"))).unwrap_or_default();
        assert!(line.contains(&format!("apt-get install {package}")), "{said}");
    }
    assert!(said.contains("unix-socket: delivers"), "{said}");
}

#[test]
fn a_worker_that_dies_is_named_and_nothing_is_left_behind() {
    let _alone = alone();
    let before = files();
    for transport in ["unix-socket", "iceoryx2-copy"] {
        let (child, workers) = started(transport);
        let (reader, _) = workers.iter().find(|(_, line)| line.trim_end().ends_with(" 1 0")).unwrap();
        kill(Pid::from_raw(*reader), Signal::SIGKILL).unwrap();
        let (output, said) = ended(child);
        assert!(!output.status.success());
        assert!(said.contains(&format!("{transport} reader 0 ended with signal: 9")), "{said}");
        assert_eq!(files(), before);
    }
}

#[test]
fn an_interrupted_run_ends_at_once_with_all_its_processes_and_files() {
    framebuffer_signals::heed_all().unwrap();
    let _alone = alone();
    let before = files();
    let (child, workers) = started("iceoryx2-in-place");
    let begun = Instant::now();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let (output, said) = ended(child);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert_eq!(files(), before);
    for (pid, line) in workers {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{line} is still there");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_limit() {
    for (args, expected) in [
        (["run", "--only", "pigeon"], "there is no transport \"pigeon\""),
        (["run", "--size", "3"], "16"),
        (["run", "--readers", "9"], "8"),
        (["run", "--ring", "100"], "104857600 bytes is too small"),
        (["run", "--json", "/nowhere/figures.json"], "/nowhere is no folder"),
        (["run", "--plot", "/"], "it is a folder"),
    ] {
        let output = bench(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
    }
}
