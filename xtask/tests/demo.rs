//! `cargo xtask demo` as a user runs it: to its end, interrupted, killed, and with programs that fail.
//!
//! The programs are those beside `FRAMEBUFFER_SIDECAR`, which `cargo xtask test processes` sets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The folder with the sidecar, the writer and the reader.
fn binaries() -> PathBuf {
    let sidecar = std::env::var("FRAMEBUFFER_SIDECAR").expect("run by `cargo xtask test processes`");
    Path::new(&sidecar).parent().unwrap().to_owned()
}

fn demo(binaries: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").arg("--binaries").arg(binaries).args(arguments);
    command.args(["--size", "16Mi"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A demo that streams for long, and its three processes.
fn start_long() -> (Child, Vec<u32>) {
    let mut demo = demo(&binaries(), &["--seconds", "60", "--resolution", "320x240"]).spawn().unwrap();
    let lines = BufReader::new(demo.stdout.as_mut().unwrap()).lines();
    let processes = lines.map_while(Result::ok).find(|line| line.starts_with("processes")).unwrap();
    let pids = processes.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    (demo, pids)
}

/// Whether the process runs; one that has ended and waits to be collected does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// The demo's folder, from the sidecar's arguments.
fn folder_of(sidecar: u32) -> PathBuf {
    let arguments = fs::read_to_string(format!("/proc/{sidecar}/cmdline")).unwrap();
    let socket = arguments.split('\0').find(|argument| argument.ends_with("/sidecar.sock")).unwrap();
    Path::new(socket).parent().unwrap().to_owned()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: &Child, signal: Signal) {
    kill(Pid::from_raw(process.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn every_generated_frame_arrives_intact() {
    let output = demo(&binaries(), &["--seconds", "1"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success() && text.contains("every one intact"), "{text}");
    assert!(text.contains("left       nothing"), "{text}");
}

#[test]
fn a_received_y4m_file_has_the_same_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    let mut frames = Vec::new();
    for frame in 0..50_u8 {
        frames.extend_from_slice(b"FRAME\n");
        frames.extend((0..192_u8).map(|byte| byte.wrapping_mul(frame)));
    }
    fs::write(&input, [b"YUV4MPEG2 W16 H8 F25:1 C420jpeg\n".as_slice(), &frames].concat()).unwrap();
    let arguments = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let ran = demo(&binaries(), &arguments).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran));
    // The parameters in the stream's header may come in another order.
    let kept = fs::read(&output).unwrap();
    assert!(kept.starts_with(b"YUV4MPEG2 W16 H8 ") && kept.ends_with(&frames), "the frames differ");
}

#[test]
fn an_interrupt_ends_all_processes_and_leaves_nothing() {
    framebuffer_signals::heed_all().unwrap();
    for (interrupt, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (demo, pids) = start_long();
        let folder = folder_of(pids[0]);
        signal(&demo, interrupt);
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert_eq!(pids.len(), 3);
        assert!(!pids.iter().any(|pid| runs(*pid)) && !folder.exists());
    }
}

#[test]
fn a_killed_demo_takes_its_processes_and_the_rings_memory_with_it() {
    let (demo, pids) = start_long();
    let folder = folder_of(pids[0]);
    signal(&demo, Signal::SIGKILL);
    demo.wait_with_output().unwrap();
    wait_until("the end of the processes", || !pids.iter().any(|pid| runs(*pid)));
    let rings = fs::read_dir(&folder).unwrap().filter(|entry| entry.as_ref().unwrap().metadata().unwrap().is_file());
    assert_eq!(rings.count(), 0);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_writer_that_dies_is_an_error_and_leaves_nothing() {
    let (demo, pids) = start_long();
    let folder = folder_of(pids[0]);
    kill(Pid::from_raw(pids[1].try_into().unwrap()), Signal::SIGKILL).unwrap();
    let output = demo.wait_with_output().unwrap();
    let text = text(&output);
    assert!(text.contains("the writer ended with signal: 9"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!pids.iter().any(|pid| runs(*pid)) && !folder.exists());
}

#[test]
fn a_sidecar_that_fails_is_an_error_with_its_last_words() {
    let broken = tempfile::tempdir().unwrap();
    // The others live until they are told to end: which of several dead is found first would be chance.
    for (name, end) in [
        ("framebuffer-sidecar", "sleep 0.2; exit 3"),
        ("frame-reader", "exec sleep 60"),
        ("frame-writer", "exec sleep 60"),
    ] {
        let program = broken.path().join(name);
        fs::write(&program, format!("#!/bin/sh\necho {name} has no memory >&2\n{end}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = demo(broken.path(), &["--seconds", "1"]).output().unwrap();
    let text = text(&output);
    assert!(text.contains("the sidecar ended with exit status: 3 and said:\n    framebuffer-sidecar has"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_frame_larger_than_the_ring_is_refused_with_both_sizes() {
    let output = demo(&binaries(), &["--resolution", "4096x4096"]).output().unwrap();
    let text = text(&output);
    assert!(text.contains("a frame has 50331648 bytes, the ring 16777216"), "{text}");
}
