//! The real binary beyond a limit: `serve` ends with an error that names it, `doctor` says the same, and nothing stays.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{BINARY, files};

mod common;

/// Runs the binary after a command of a shell, as `ulimit -f 100`.
fn run_after(preparation: &str, args: &[&str]) -> Output {
    let script = format!("{preparation} || exit 77; exec timeout 30 \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh", BINARY]).args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    shell.stdin(Stdio::null()).output().unwrap()
}

/// `doctor` and `serve` fail for the same reason, which contains all `parts`; the folder is left as it was. Returns
/// whether that was tried: the preparation may not be permitted.
fn both_refuse(preparation: &str, size: &str, dir: &Path, parts: &[&str]) -> bool {
    let before = files(dir);
    let dir_name = dir.to_str().unwrap();
    let serve = ["serve", "--size", size, "--dir", dir_name, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for args in [&["doctor", "--size", size, "--dir", dir_name][..], &serve] {
        let output = run_after(preparation, args);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        if output.status.code() == Some(77) {
            eprintln!("skipped: `{preparation}` is not permitted: {text}");
            return false;
        }
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}\n{text}", output.status);
        for part in parts {
            assert!(text.contains(part), "{args:?}: no {part} in\n{text}");
        }
        assert_eq!(files(dir), before, "{args:?}");
    }
    true
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes. Below the second one not even the doctor's own ring fits.
    both_refuse("ulimit -f 2048", "8Mi", dir.path(), &["RLIMIT_FSIZE, 1048576", "ulimit -f"]);
    both_refuse("ulimit -f 2", "1Mi", dir.path(), &["RLIMIT_FSIZE, 1024", "ulimit -f"]);
}

#[test]
fn a_limit_on_address_space_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    both_refuse("ulimit -v 200000", "256Mi", dir.path(), &["RLIMIT_AS, 204800000", "ulimit -v"]);
}

#[test]
fn without_proc_doctor_and_serve_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    let hidden = |args: &[&str]| {
        let script = "mount -t tmpfs tmpfs /proc || exit 77; exec timeout 3 \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", script, "sh", BINARY]).args(args).stdin(Stdio::null()).output().unwrap()
    };
    let doctor = hidden(&["doctor", "--dir", dir_name, "--size", "1Mi"]);
    let text = String::from_utf8(doctor.stdout).unwrap();
    if !text.contains("/proc is not mounted") {
        assert_eq!(text, "", "/proc is hidden, or there was no doctor");
        eprintln!("skipped: cannot hide /proc");
        return;
    }
    let serve =
        hidden(&["serve", "--size", "1Mi", "--dir", dir_name, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    // A server that works is ended by `timeout`.
    assert_eq!(doctor.status.success(), serve.status.code() != Some(1), "{text}\n{serve:?}");
    assert_eq!(files(dir.path()), [""; 0]);
}

/// A control group of version 1, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn create(controller: &str, file: &str, value: &str) -> Option<Self> {
        let group = Self(format!("/sys/fs/cgroup/{controller}/framebuffer-sidecar-{}", std::process::id()).into());
        let created = fs::create_dir(&group.0).and_then(|()| fs::write(group.0.join(file), value));
        created.inspect_err(|error| eprintln!("skipped: no control groups of version 1: {error}")).ok()?;
        Some(group)
    }

    fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel may need a moment for the last process of the group.
        common::wait_for("an empty group", || {
            let removed = fs::remove_dir(&self.0);
            (!matches!(&removed, Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY))).then_some(())
        });
    }
}

#[test]
fn a_memory_limit_is_an_error_and_not_a_kill() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let Some(group) = Group::create("memory", "memory.limit_in_bytes", "67108864") else { return };
    for size in ["256Mi", "63Mi"] {
        let parts = ["memory.limit_in_bytes, 67108864", "framebuffer-sidecar-", "resources.limits.memory"];
        both_refuse(&group.enter(), size, dir.path(), &parts);
    }
}

#[test]
fn no_room_for_a_thread_is_an_error_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let Some(group) = Group::create("pids", "pids.max", "max") else { return };
    // `timeout` and the sidecar itself are two.
    let few = format!("{} && echo 2 > {}/pids.max", group.enter(), group.0.display());
    let dir_name = dir.path().to_str().unwrap();
    let serve = ["serve", "--size", "1Mi", "--dir", dir_name, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let output = run_after(&few, &serve);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("failed to start a thread") && log.contains("pids.max"), "{log}");
    assert_eq!(files(dir.path()), [""; 0]);
}
