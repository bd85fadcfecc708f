//! The real binary from start to end: orderly ends, kills, restarts, adoption, leftovers.

#![allow(clippy::unwrap_used, clippy::drop_non_drop, reason = "a test's helpers fail by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{DEADLINE, Sidecar, command, files, run, wait_for};
use framebuffer::{FrameBufferClient, Key};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};
use nix::sys::signal::kill;
use nix::unistd::Pid;

mod common;

fn open(dir: &Path, key: &str) -> FrameBufferClient {
    FrameBufferClient::options(Key::new(key).unwrap()).dir(dir).open().unwrap()
}

#[test]
fn sigint_sigterm_and_sighup_end_it_with_success_and_nothing_left() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--socket", socket.to_str().unwrap()]);
        assert_eq!(files(dir.path()).len(), 2, "a ring and a socket");
        let status = sidecar.end(signal);
        assert!(status.success(), "{status}: {}", sidecar.log());
        assert!(sidecar.log().contains(signal.as_str()), "{}", sidecar.log());
        assert_eq!(files(dir.path()), [""; 0]);
    }
}

#[test]
fn signals_that_are_ignored_at_the_start_stay_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start_after("trap '' HUP INT", dir.path(), &["--size", "1Mi"]);
    for signal in [SIGHUP, SIGINT, SIGHUP] {
        sidecar.signal(signal);
    }
    // It would have begun to stop by then, if it did so at all.
    assert_eq!(sidecar.get_admin("/readyz").0, 200);
    assert!(sidecar.end(SIGTERM).success());
    assert!(sidecar.log().contains("stopping signal=SIGTERM"), "{}", sidecar.log());
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let _silent = TcpStream::connect(sidecar.api).unwrap();
    let mut kept_alive = TcpStream::connect(sidecar.api).unwrap();
    kept_alive.write_all(b"GET /get_key HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(kept_alive.read(&mut [0; 1024]).unwrap() > 0);
    let started = Instant::now();
    assert!(sidecar.end(SIGTERM).success());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

/// A connection with half a request, which holds up the draining.
fn half_a_request(sidecar: &Sidecar) -> TcpStream {
    let mut stream = TcpStream::connect(sidecar.api).unwrap();
    let head =
        "POST /allocate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // Answered on another connection, so the first has been read by then: there is one thread for both.
    sidecar.key();
    stream
}

#[test]
fn a_request_under_way_is_answered_before_the_end_and_readiness_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    assert_eq!(sidecar.get_admin("/readyz").0, 200);
    let mut stream = half_a_request(&sidecar);
    sidecar.signal(SIGTERM);
    let not_ready = || (sidecar.get_admin("/readyz").0 == 503).then_some(());
    wait_for("/readyz to say that it is stopping", not_ready);
    assert_eq!(sidecar.get_admin("/healthz").0, 200);
    let output = run(&["healthcheck", "--admin", &sidecar.admin.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("not ready: 503 stopping"));
    stream.write_all(br#"{"size": 1}"#).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("offset"), "{answer}");
    assert!(sidecar.wait().success());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_second_signal_ends_it_at_once_and_still_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let _held_up = half_a_request(&sidecar);
    sidecar.signal(SIGTERM);
    wait_for("the first signal's log line", || sidecar.log().contains("stopping signal=SIGTERM").then_some(()));
    let started = Instant::now();
    let status = sidecar.end(SIGINT);
    assert_eq!(status.code(), Some(130), "{}", sidecar.log());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_request_that_never_ends_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let _endless = half_a_request(&sidecar);
    assert!(sidecar.end(SIGTERM).success());
    assert!(sidecar.log().contains("cutting connections"), "{}", sidecar.log());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_closed_standard_error_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let args = ["serve", "--size", "1Mi", "--dir", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("api listening"))).unwrap().unwrap();
    drop(lines);
    kill(Pid::from_raw(child.id().cast_signed()), SIGTERM).unwrap();
    let status = wait_for("its end", || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_kept_ring_is_adopted_with_its_key_its_head_and_its_frames() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--size", "1Mi", "--key", "kept", "--keep"];
    let mut first = Sidecar::start(dir.path(), &args);
    assert!(first.log().contains("ring created"), "{}", first.log());
    let attached = open(dir.path(), "kept");
    let frame = attached.publish(b"before").unwrap();
    let head = first.metric("framebuffer_ring_head_bytes");
    assert!(head > 0);
    assert!(first.end(SIGTERM).success());
    assert_eq!(files(dir.path()), ["framebuffer-kept"]);

    let second = Sidecar::start(dir.path(), &args);
    assert!(second.log().contains("ring adopted"), "{}", second.log());
    assert_eq!(second.key(), "kept");
    assert_eq!(second.metric("framebuffer_ring_head_bytes"), head);
    assert_eq!(second.metric("framebuffer_frames_written_total"), 1);
    assert_eq!(attached.read_frame(&frame).unwrap(), b"before");
    assert_eq!(open(dir.path(), "kept").read_frame(&frame).unwrap(), b"before");
}

#[test]
fn a_kept_ring_of_another_size_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keep = ["--key", "kept", "--keep", "--size"];
    assert!(Sidecar::start(dir.path(), &[&keep[..], &["1Mi"]].concat()).end(SIGTERM).success());
    let other = ["serve", "--dir", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let output = run(&[&other, &keep[..], &["2Mi"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("1048576") && log.contains("2097152"), "{log}");
    assert_eq!(files(dir.path()), ["framebuffer-kept"]);
}

#[test]
fn a_killed_owners_ring_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let args = ["--size", "1Mi", "--key", "stale", "--socket", socket.to_str().unwrap()];
    let mut first = Sidecar::start(dir.path(), &args);
    first.allocate(r#"{"size": 1}"#);
    assert_eq!(first.end(SIGKILL).signal(), Some(9));
    assert_eq!(files(dir.path()), ["api.sock", "framebuffer-stale"]);

    let mut second = Sidecar::start(dir.path(), &args);
    assert!(second.log().contains("ring created"), "{}", second.log());
    assert_eq!(second.metric("framebuffer_ring_head_bytes"), 0);
    assert!(second.end(SIGTERM).success());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_second_sidecar_with_the_same_key_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for keep in [&["--keep"][..], &[]] {
        let first = Sidecar::start(dir.path(), &[&["--size", "1Mi", "--key", "contested"], keep].concat());
        let path = dir.path().to_str().unwrap();
        let args = ["serve", "--size", "1Mi", "--key", "contested", "--dir", path];
        let output = run(&[&args[..], &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], keep].concat());
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("another server owns the ring"), "{log}");
        assert!(!log.contains("contested"), "{log}");
        assert_eq!(first.allocate(r#"{"size": 1}"#).0, 200);
    }
}

#[test]
fn a_ring_larger_than_the_memory_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for size in ["1Pi", "15Ei", "0"] {
        let args = ["serve", "--dir", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--size", size];
        let output = run(&args);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("failed to set up the ring") && log.contains("bytes"), "{log}");
        assert_eq!(files(dir.path()), [""; 0]);
    }
}

#[test]
fn an_address_that_is_taken_is_refused_before_there_is_a_ring() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let path = dir.path().to_str().unwrap();
    for (flag, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let output = run(&["serve", "--size", "1Mi", "--dir", path, flag, &addr, other, "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("failed to listen on {addr} ({flag})")), "{log}");
        assert_eq!(files(dir.path()), [""; 0]);
    }
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    for args in [&["serve"][..], &["serve", "--size", "1Mi", "--listen", "192.0.2.1:7570"], &["nonsense"], &[]] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
    let output = command(&["serve", "--size", "1Mi"]).env("FRAMEBUFFER_WINDOW", "half").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected whole, auto, or a size"));
    let output = command(&["serve"]).env("FRAMEBUFFER_SIZE", "500MB").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = command(&["serve", "--size", "1Mi"]).env("FRAMEBUFFER_KEY", "hush/hush").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("hush"));
    let output = command(&["serve", "--help"]).env("FRAMEBUFFER_KEY", "hush-hush").output().unwrap();
    assert!(!String::from_utf8(output.stdout).unwrap().contains("hush"));
}

/// Frames that one thread may be ahead of another: so few that no frame is overwritten before it is read, were it only
/// because its thread has to wait for a processor.
const LEAD: u64 = 50;

/// Counts the work of each thread, until told to stop.
struct Traffic {
    published: [AtomicU64; 3],
    stop: AtomicBool,
}

impl Traffic {
    fn counts(&self) -> [u64; 3] {
        self.published.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Publishes and reads back; nothing may fail or differ, whatever happens to the sidecar.
    fn run(&self, thread: usize, client: &FrameBufferClient) {
        let _stop_if_it_fails = StopOnDrop(&self.stop);
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.counts()[thread];
            if self.counts().iter().any(|count| count + LEAD < number) {
                std::thread::yield_now();
                continue;
            }
            let data = [thread as u8 ^ number as u8; 10_000];
            let frame = client.publish(&data).unwrap();
            assert_eq!(client.read_frame(&frame).unwrap(), data);
            self.published[thread].store(number + 1, Ordering::Relaxed);
        }
    }

    /// Waits until every thread has published 100 more frames.
    fn flows(&self) {
        let before = self.counts();
        wait_for("traffic", || {
            assert!(!self.stop.load(Ordering::Relaxed), "a thread has failed");
            self.counts().iter().zip(before).all(|(now, before)| *now >= before + 100).then_some(())
        });
    }
}

#[test]
fn a_killed_and_restarted_sidecar_costs_its_clients_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--size", "4Mi", "--key", "restarted", "--keep"];
    let mut sidecar = Sidecar::start(dir.path(), &args);
    let traffic = Traffic { published: Default::default(), stop: AtomicBool::new(false) };
    let holder = open(dir.path(), "restarted");
    let held = holder.publish(b"held through it all").unwrap();
    let view = holder.view(&held).unwrap();
    std::thread::scope(|scope| {
        let stop_at_the_end = StopOnDrop(&traffic.stop);
        for thread in 0..traffic.published.len() {
            let (traffic, client) = (&traffic, open(dir.path(), "restarted"));
            scope.spawn(move || traffic.run(thread, &client));
        }
        for _ in 0..5 {
            traffic.flows();
            assert_eq!(sidecar.end(SIGKILL).signal(), Some(9));
            traffic.flows();
            let head = framebuffer::stat(dir.path(), &Key::new("restarted").unwrap()).unwrap().head;
            sidecar = Sidecar::start(dir.path(), &args);
            assert!(sidecar.log().contains("ring adopted"), "{}", sidecar.log());
            assert_eq!(sidecar.key(), "restarted");
            assert!(sidecar.metric("framebuffer_ring_head_bytes") >= head);
            assert_eq!(sidecar.allocate(r#"{"size": 10000}"#).0, 200);
        }
        traffic.flows();
        drop(stop_at_the_end);
    });
    assert_eq!(&view[..], b"held through it all");
    view.verify().unwrap();
    assert_eq!(sidecar.metric("framebuffer_timeouts_total{reason=\"mismatch\"}"), 0);
    assert!(sidecar.metric("framebuffer_ring_laps_total") > 0, "the held frame was never in the way");
    assert_eq!(sidecar.metric("framebuffer_frames_written_total"), traffic.counts().iter().sum::<u64>() + 1);
}

/// Ends the threads also when the test fails, which otherwise would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The other process of the next test: attaches and waits to be killed.
#[test]
#[ignore = "only as the process that another test kills"]
fn attach_and_wait() {
    let dir = std::env::var("FRAMEBUFFER_TEST_DIR").unwrap();
    let client = open(Path::new(&dir), "reaped");
    let frame = client.publish(b"seen").unwrap();
    let view = client.view(&frame).unwrap();
    std::fs::write(Path::new(&dir).join("attached"), "").unwrap();
    std::thread::sleep(DEADLINE);
    drop(view);
}

#[test]
fn a_dead_participant_is_reaped_with_its_pins() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "reaped"]);
    let before = sidecar.metric("framebuffer_participants");
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attach_and_wait", "--ignored"])
        .env("FRAMEBUFFER_TEST_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the other process", || dir.path().join("attached").exists().then_some(()));
    assert_eq!(sidecar.metric("framebuffer_participants"), before + 1);
    assert_eq!(sidecar.metric("framebuffer_pins"), 1);
    other.kill().unwrap();
    other.wait().unwrap();
    wait_for("reaping", || (sidecar.metric("framebuffer_participants_reaped_total") == 1).then_some(()));
    assert_eq!(sidecar.metric("framebuffer_participants"), before);
    assert_eq!(sidecar.metric("framebuffer_pins"), 0);
    wait_for("the log line", || sidecar.log().contains("participants reaped reaped=1").then_some(()));
}
