//! The real binary among those who crowd, drip, come with too much, or come from a browser: each listener has bounds of
//! its own, and the API goes on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{DEADLINE, Sidecar, wait_for};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

mod common;

/// What all connections together may take, as `serve::bounds` says: 128 of 64 KiB. It counts socket buffers, which are
/// not part of what is measured here.
const CONNECTIONS_KIB: u64 = 8 << 10;

/// For sending what is not taken.
const BRIEFLY: Duration = Duration::from_millis(5);

/// This process' own descriptors: most tests hold many connections.
fn allow_many_connections() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(8192)), hard).unwrap();
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Memory of the sidecar that is not a file's, in KiB.
fn anonymous_kib(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn descriptors(sidecar: &Sidecar) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap().count()
}

/// Everything until the other side hangs up, orderly or not.
fn rest(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => bytes.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false).unwrap();
    !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn assert_all_answer(sidecar: &Sidecar) {
    assert_eq!(sidecar.get_admin("/healthz").0, 200);
    assert_eq!(sidecar.get_admin("/readyz").0, 200);
    assert_eq!(sidecar.get("/get_key").0, 200);
    assert_eq!(sidecar.allocate(r#"{"size": 1}"#).0, 200);
}

#[test]
fn however_many_connections_are_idle_every_port_answers() {
    allow_many_connections();
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    for addr in [sidecar.admin, sidecar.api] {
        let mut idle = Vec::new();
        for count in 1..=300 {
            idle.push(connect(addr));
            // Around the bounds, and beyond.
            if [1, 15, 16, 17, 63, 64, 65, 128, 300].contains(&count) {
                assert_all_answer(&sidecar);
            }
        }
        let open = idle.iter_mut().map(is_closed).filter(|closed| !closed).count();
        assert!((1..=64).contains(&open), "{open}");
        let told = sidecar.log().matches("all connections are taken").count();
        assert!((1..=2).contains(&told), "{}", sidecar.log());
    }
}

#[test]
fn a_crowd_on_the_admin_port_closes_no_connection_of_the_api() {
    allow_many_connections();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--socket", socket.to_str().unwrap()]);
    let mut api = connect(sidecar.api);
    let mut unix = UnixStream::connect(&socket).unwrap();
    let _crowd: Vec<_> = (0..300).map(|_| connect(sidecar.admin)).collect();
    assert_all_answer(&sidecar);
    for stream in [&mut api as &mut dyn Conversation, &mut unix] {
        for _ in 0..3 {
            assert!(stream.ask("GET /get_key HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 200"));
        }
    }
}

/// A connection for several requests.
trait Conversation: Read + Write {
    /// Sends and reads once: an answer that comes in one piece.
    fn ask(&mut self, text: &str) -> String {
        self.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let len = self.read(&mut answer).unwrap();
        String::from_utf8(answer[..len].to_vec()).unwrap()
    }
}

impl<T: Read + Write> Conversation for T {}

#[test]
fn with_few_descriptors_there_are_fewer_connections_and_every_port_answers() {
    allow_many_connections();
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start_after("ulimit -n 64", dir.path(), &["--size", "1Mi"]);
    assert!(sidecar.log().contains("few descriptors"), "{}", sidecar.log());
    let _idle: Vec<_> = (0..100).map(|_| (connect(sidecar.admin), connect(sidecar.api))).collect();
    assert_all_answer(&sidecar);
    assert!(descriptors(&sidecar) < 64, "{}", descriptors(&sidecar));
    assert!(!sidecar.log().contains("failed to accept"), "{}", sidecar.log());
}

#[test]
fn dripping_requests_are_cut_off_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let begun = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let body =
        "POST /allocate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n";
    let mut dripping = [
        (connect(sidecar.admin), begun, 5..8),
        (connect(sidecar.api), begun, 10..14),
        (connect(sidecar.api), body, 10..14),
        (connect(sidecar.admin), "", 5..8),
    ];
    let started = Instant::now();
    for (stream, text, _) in &mut dripping {
        stream.write_all(text.as_bytes()).unwrap();
    }
    let mut ended = [None; 4];
    wait_for("the end of all", || {
        for ((stream, text, _), ended) in dripping.iter_mut().zip(&mut ended) {
            if ended.is_none() && is_closed(stream) {
                *ended = Some(started.elapsed());
            }
            if ended.is_none() && !text.is_empty() {
                let _ = stream.write_all(b"a");
            }
        }
        ended.iter().all(Option::is_some).then_some(())
    });
    for ((_, text, expected), ended) in dripping.iter().zip(ended) {
        assert!(expected.contains(&ended.unwrap().as_secs()), "{text:?} ended after {ended:?}");
    }
    assert_all_answer(&sidecar);
}

#[test]
fn a_header_beyond_its_bounds_is_refused_with_431() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let head = |headers: usize, len: usize| {
        let fill = format!("X-Fill: {}\r\n", "a".repeat(len)).repeat(headers);
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fill}\r\n")
    };
    for addr in [sidecar.admin, sidecar.api] {
        let status = |text: String| {
            let mut stream = connect(addr);
            stream.write_all(text.as_bytes()).unwrap();
            rest(stream).split(' ').nth(1).map(str::to_owned)
        };
        let [fits, too_long, too_many] = [(40, 150), (1, 100_000), (47, 1)].map(|(headers, len)| head(headers, len));
        assert!(fits.len() < 8192);
        let expected = if addr == sidecar.admin { "200" } else { "404" };
        assert_eq!(status(fits).as_deref(), Some(expected));
        assert_eq!(status(too_long).as_deref(), Some("431"));
        assert_eq!(status(too_many).as_deref(), Some("431"));
    }
    assert_all_answer(&sidecar);
}

#[test]
fn unfinished_requests_take_no_more_memory_than_they_are_allowed() {
    allow_many_connections();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--socket", socket.to_str().unwrap()]);
    assert_all_answer(&sidecar);
    let before = anonymous_kib(&sidecar);
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_owned()
        + &format!("X-Fill: {}\r\n", "a".repeat(4000)).repeat(99);
    let post = "POST /allocate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = r#"{"size": 0, "count": 1024}"#;
    // Answers that nobody reads: as many as it takes until no more requests are taken either.
    let unread = format!("{post}Content-Length: {}\r\n\r\n{body}", body.len()).repeat(100);
    let (mut held, mut held_unix) = (Vec::new(), Vec::new());
    let mut send = |mut stream: TcpStream, text: &str| {
        stream.set_write_timeout(Some(BRIEFLY)).unwrap();
        let _ = stream.write_all(text.as_bytes());
        held.push(stream);
    };
    for _ in 0..700 {
        send(connect(sidecar.admin), &head);
        send(connect(sidecar.api), &head);
    }
    // More than there are places, so that none is left for those before.
    for _ in 0..70 {
        send(connect(sidecar.api), &unread);
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_write_timeout(Some(BRIEFLY)).unwrap();
        let _ = stream.write_all(unread.as_bytes());
        held_unix.push(stream);
    }
    assert_all_answer(&sidecar);
    let taken = anonymous_kib(&sidecar) - before;
    let connections = held.len() + held_unix.len();
    println!("{taken} KiB for {connections} connections");
    assert!(taken < CONNECTIONS_KIB, "{taken} KiB for {connections} connections");
}

#[test]
fn bodies_in_single_bytes_take_no_more_memory_than_their_length() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let body = format!("{:<300}", r#"{"size": 1}"#);
    let head = "POST /allocate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let mut streams: Vec<_> = (0..60).map(|_| connect(sidecar.api)).collect();
    for stream in &mut streams {
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    }
    let mut send = |bytes: &[u8]| {
        for byte in bytes {
            for stream in &mut streams {
                stream.write_all(&[*byte]).unwrap();
            }
            // Answered on another connection, so these have been read by then: there is one thread for all.
            sidecar.get_admin("/healthz");
        }
        anonymous_kib(&sidecar)
    };
    let (begin, rest_of_it) = body.as_bytes().split_at(10);
    let (middle, end) = rest_of_it.split_at(280);
    let before = send(begin);
    let grown = send(middle).saturating_sub(before);
    send(end);
    for stream in streams {
        assert!(rest(stream).starts_with("HTTP/1.1 200"));
    }
    assert!(grown < 300, "{grown} KiB for {} KiB of bodies", 60 * body.len() / 1024);
}

#[test]
fn allocation_goes_on_while_the_admin_port_is_flooded() {
    allow_many_connections();
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let (stop, flooded) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for text in ["", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /met"] {
            let (stop, flooded, admin) = (&stop, &flooded, sidecar.admin);
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    // The listener's queue may be full: then there is flood enough.
                    let Ok(mut stream) = TcpStream::connect_timeout(&admin, Duration::from_millis(100)) else {
                        continue;
                    };
                    let _ = stream.write_all(text.as_bytes());
                    held.push_back(stream);
                    if held.len() > 1000 {
                        held.pop_front();
                    }
                    flooded.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_for("the flood", || (flooded.load(Ordering::Relaxed) > 1000).then_some(()));
        let before = flooded.load(Ordering::Relaxed);
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let started = Instant::now();
            assert_eq!(sidecar.allocate(r#"{"size": 1}"#).0, 200);
            slowest = slowest.max(started.elapsed());
        }
        let during = flooded.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        assert!(during > 100, "that was no flood: {during}");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    });
    assert_all_answer(&sidecar);
}

#[test]
fn other_hosts_and_web_pages_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let args = ["--size", "1Mi", "--key", "hush-hush", "--socket", socket.to_str().unwrap()];
    let sidecar = Sidecar::start(dir.path(), &args);
    let port = sidecar.api.port();
    let ask = |stream: &mut dyn Conversation, headers: &str| {
        let head = format!("GET /get_key HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
        let answer = stream.ask(&head);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), head.to_owned(), body.to_owned())
    };
    let over_tcp = |headers: &str| ask(&mut connect(sidecar.api), headers);
    let over_unix = |headers: &str| ask(&mut UnixStream::connect(&socket).unwrap(), headers);

    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]:1".to_owned()]
    {
        assert_eq!(over_tcp(&format!("Host: {host}")).0, "200", "{host}");
    }
    let pages = [
        ("Host: localhost\r\nOrigin: https://evil.example", "urn:framebuffer:problem:web-page", "https://evil.example"),
        ("Host: localhost\r\nOrigin: null", "urn:framebuffer:problem:web-page", "null"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", "urn:framebuffer:problem:web-page", "cross-site"),
    ];
    let rebound = [("Host: evil.example:7570", "urn:framebuffer:problem:host", "evil.example:7570")];
    let assert_refused = |(status, head, body): (String, String, String), kind: &str, value: &str| {
        assert_eq!(status, "403", "{body}");
        assert!(head.contains("application/problem+json") && !head.to_lowercase().contains("access-control"), "{head}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["type"], kind);
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{value}`")), "{body}");
        assert!(!body.contains("hush"), "{body}");
    };
    for (headers, kind, value) in pages.into_iter().chain(rebound) {
        assert_refused(over_tcp(headers), kind, value);
    }
    for (headers, kind, value) in pages {
        assert_refused(over_unix(headers), kind, value);
    }
    assert_eq!(over_unix("Host: evil.example").0, "200", "a browser cannot open a Unix socket");
    // Without any host: what is not a browser.
    assert!(connect(sidecar.api).ask("GET /get_key HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
    let head = sidecar.metric("framebuffer_ring_head_bytes");
    let post =
        "POST /allocate HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 11\r\n";
    let answer = connect(sidecar.api).ask(&format!("{post}\r\n{{\"size\": 1}}"));
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(sidecar.metric("framebuffer_ring_head_bytes"), head);
}
