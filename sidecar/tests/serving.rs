//! The real binary over real sockets: the API, the admin port, and the tools that ask them.

#![allow(clippy::unwrap_used, clippy::drop_non_drop, reason = "a test's helpers fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use common::{Sidecar, files, request, run};
use framebuffer::{FrameBufferClient, Key};
use nix::sys::signal::Signal::SIGTERM;
use serde_json::Value;

mod common;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn open(dir: &Path, key: &str) -> FrameBufferClient {
    FrameBufferClient::options(Key::new(key).unwrap()).dir(dir).open().unwrap()
}

#[test]
fn the_api_is_served_over_tcp_and_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let args = ["--size", "1Mi", "--mode", "0640", "--socket", socket.to_str().unwrap()];
    let sidecar = Sidecar::start(dir.path(), &args);
    let connect = || UnixStream::connect(&socket).unwrap();
    let over_tcp = sidecar.get("/get_key");
    assert_eq!(over_tcp.0, 200);
    assert_eq!(over_tcp, request(connect(), "GET", "/get_key", ""));
    let key = sidecar.key();
    assert_eq!(key.len(), 32, "a random key");
    assert_eq!(files(dir.path()), ["api.sock".to_owned(), format!("framebuffer-{key}")]);
    for file in files(dir.path()) {
        assert_eq!(dir.path().join(file).metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    let client = open(dir.path(), &key);
    let answers = [sidecar.allocate(r#"{"size": 3}"#), request(connect(), "POST", "/allocate", r#"{"size": 3}"#)];
    for (status, body) in answers {
        assert_eq!(status, 200, "{body}");
        let offset = json(&body)["offset"].as_u64().unwrap();
        let checksum = client.write(offset, b"abc").unwrap();
        assert_eq!(client.read(offset, 3, checksum).unwrap(), b"abc");
    }
}

#[test]
fn a_client_finds_its_ring_through_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--socket", socket.to_str().unwrap()]);
    for url in [format!("http://{}", sidecar.api), format!("unix:{}", socket.display())] {
        let client = framebuffer::Connect::new(&url).dir(dir.path()).connect().unwrap();
        let frame = client.publish(b"found").unwrap();
        assert_eq!(client.read_frame(&frame).unwrap(), b"found");
    }
}

#[test]
fn metrics_move_with_what_happens_in_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "metered"]);
    assert_eq!(sidecar.metric("framebuffer_ring_size_bytes"), 1 << 20);
    let participants = sidecar.metric("framebuffer_participants");
    let client = open(dir.path(), "metered");
    let first = client.publish(&[1; 1000]).unwrap();
    client.read_frame(&first).unwrap();
    assert_eq!(sidecar.metric("framebuffer_participants"), participants + 1);
    let view = client.view(&first).unwrap();
    assert_eq!(sidecar.metric("framebuffer_pins"), 1);
    drop(view);
    assert_eq!(sidecar.metric("framebuffer_pins"), 0);
    for _ in 0..3 {
        assert_eq!(sidecar.allocate(r#"{"size": 1000000}"#).0, 200);
    }
    client.read_frame(&first).unwrap_err();
    let unwritten = client.allocate(10).unwrap();
    client.read(unwritten, 10, framebuffer::Checksum::of(b"")).unwrap_err();

    let expected = [
        ("framebuffer_allocations_total", 5),
        ("framebuffer_allocated_bytes_total", 3_001_010),
        ("framebuffer_frames_written_total", 1),
        ("framebuffer_written_bytes_total", 1000),
        ("framebuffer_frames_read_total", 1),
        ("framebuffer_read_bytes_total", 1000),
        ("framebuffer_views_total", 1),
        ("framebuffer_timeouts_total{reason=\"overwritten\"}", 1),
        ("framebuffer_timeouts_total{reason=\"not_written\"}", 1),
        ("framebuffer_timeouts_total{reason=\"mismatch\"}", 0),
    ];
    for (name, value) in expected {
        assert_eq!(sidecar.metric(name), value, "{name}");
    }
    assert!(sidecar.metric("framebuffer_ring_head_bytes") > 3_001_010);
    assert!(sidecar.metric("framebuffer_ring_laps_total") >= 2);
}

#[test]
fn the_key_is_in_no_log_and_nowhere_on_the_admin_port() {
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let args = ["--size", "1Mi", "--key", "hush-hush", "--log-level", "trace", "--log-format", format];
        let mut sidecar =
            if format == "text" { Sidecar::start(dir.path(), &args) } else { Sidecar::start_json(dir.path(), &args) };
        assert_eq!(sidecar.key(), "hush-hush");
        for body in [r#"{"size": 1}"#, "hush", r#"{"size": 99999999}"#] {
            sidecar.allocate(body);
        }
        for path in ["/", "/healthz", "/readyz", "/metrics", "/get_key", "/openapi.json"] {
            let (_, body) = sidecar.get_admin(path);
            assert!(!body.contains("hush"), "{path}: {body}");
        }
        assert_eq!(sidecar.get_admin("/get_key").0, 404);
        assert!(sidecar.end(SIGTERM).success());
        let log = sidecar.log();
        assert!(log.contains("ring created") && log.contains("stopped"), "{log}");
        assert!(!log.contains("hush"), "{log}");
    }
}

#[test]
fn healthcheck_succeeds_while_a_sidecar_is_ready_and_fails_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let admin = sidecar.admin.to_string();
    let output = run(&["healthcheck", "--admin", &admin]);
    assert!(output.status.success(), "{output:?}");
    assert!(sidecar.end(SIGTERM).success());
    let output = run(&["healthcheck", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&admin));
}

#[test]
fn healthcheck_waits_for_a_sidecar_that_becomes_ready_and_not_for_ever() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    // In a sidecar's place: not ready twice, then ready.
    let answers = std::thread::spawn(move || {
        for status in ["503 Service Unavailable", "503 Service Unavailable", "200 OK"] {
            let (mut asker, _) = listener.accept().unwrap();
            let _ = asker.read(&mut [0; 1024]).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            asker.write_all(answer.as_bytes()).unwrap();
        }
    });
    let output = run(&["healthcheck", "--admin", &admin, "--wait", "30"]);
    assert!(output.status.success(), "{output:?}");
    answers.join().unwrap();
    let output = run(&["healthcheck", "--admin", &admin, "--wait", "1"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn stat_shows_a_ring_by_its_key_or_by_its_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "shown"]);
    open(dir.path(), "shown").publish(&[7; 500]).unwrap();
    let url = format!("http://{}", sidecar.api);
    for source in [["--key", "shown"], ["--url", url.as_str()]] {
        let output = run(&[&["stat", "--json", "--dir", path], &source[..]].concat());
        assert!(output.status.success(), "{output:?}");
        let stats = json(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(stats["size_bytes"], 1 << 20);
        assert_eq!(stats["frames_written"], 1);
        assert_eq!(stats["written_bytes"], 500);
        let output = run(&[&["stat", "--dir", path], &source[..]].concat());
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("1Mi (1048576 bytes)") && table.contains("500 bytes"), "{table}");
    }
}

#[test]
fn top_shows_what_moves_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let _sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "watched"]);
    let ring = open(dir.path(), "watched");
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                ring.publish(&[7; 500]).unwrap();
            }
        });
        let output = run(&["top", "--dir", path, "--key", "watched", "--interval", "0.1", "--count", "2"]);
        stop.store(true, Relaxed);
        output
    });
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let [heading, first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(heading.contains("written/s"), "{heading}");
    for line in [first, second] {
        let written: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!(written > 0 && line.ends_with(" 2 of 256"), "{line}");
    }
    drop(ring);
    for (interval, limit) in [("0.01", "0.1 s"), ("1e9", "3600 s"), ("NaN", "0.1 s"), ("x", "number of seconds")] {
        let output = run(&["top", "--interval", interval]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(limit), "{output:?}");
    }
}

#[test]
fn stat_without_a_ring_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&["stat", "--dir", path, "--key", "absent"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("there is no ring with this key") && !error.contains("absent"), "{error}");
    let output = run(&["stat", "--dir", path, "--url", "unix:/nowhere/api.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no --key (FRAMEBUFFER_KEY) is given"));
}

#[test]
fn doctor_is_content_with_a_ring_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "examined"]);
    let url = format!("http://{}", sidecar.api);
    for key in [&["--key", "examined"][..], &[]] {
        let output = run(&[&["doctor", "--dir", path, "--size", "1Mi", "--url", &url], key].concat());
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{report}");
        for line in ["ok    the ring in", "ok    a sidecar answers", "takes a ring"] {
            assert!(report.contains(line), "`{line}` is not in\n{report}");
        }
        assert!(!report.contains("examined"), "{report}");
    }
}

#[test]
fn doctor_names_each_thing_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let missing = dir.path().join("missing");
    std::fs::write(dir.path().join("framebuffer-short"), "x").unwrap();
    std::fs::write(dir.path().join("framebuffer-other"), vec![b'x'; 1 << 20]).unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--dir", missing.to_str().unwrap()], "No such file"),
        (&["--dir", path, "--size", "1Ti"], "a ring of 1Ti needs"),
        (&["--dir", path, "--size", "1Pi"], "larger than the limit"),
        (&["--dir", path, "--key", "absent"], "there is no ring with this key"),
        (&["--dir", path, "--key", "short"], "not a FrameBuffer segment"),
        (&["--dir", path, "--key", "other"], "not a FrameBuffer segment"),
        (&["--dir", path, "--url", "unix:/nowhere/api.sock"], "no sidecar answers at unix:/nowhere/api.sock"),
    ];
    for (args, expected) in cases {
        let output = run(&[&["doctor"], args].concat());
        let report = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{report}");
        let failure = report.lines().find(|line| line.starts_with("fail") && line.contains(expected));
        assert!(failure.is_some(), "`{expected}` does not fail in\n{report}");
        assert!(report.contains("      -> "), "no advice in\n{report}");
    }
}
