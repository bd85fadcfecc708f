//! The examples, as processes of their own, on a ring of the test's.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use common::{KEY, TestRing, move_on};

/// Bytes that the ring keeps: 70 frames of the writer, more than two seconds.
const SIZE: u64 = 16 << 20;

#[test]
fn the_reader_sees_what_the_writer_has_published() {
    let ring = TestRing::new(SIZE);
    serve_key(&socket_of(&ring));
    let mut writer = Example::start("writer", &ring, Stdio::null());
    let messages = writer.0.stdout.take().expect("a pipe");
    let mut reader = Example::start("reader", &ring, messages.into());
    let mut output = BufReader::new(reader.0.stdout.take().expect("a pipe")).lines();
    for brightness in 0..20 {
        let line = output.next().expect("another line").expect("our pipe");
        assert_eq!(line, brightness.to_string());
    }
    writer.0.kill().expect("it is our child");
    assert!(reader.end().success(), "the reader ends well when its input does");
}

#[test]
fn the_reader_survives_a_frame_that_the_ring_has_moved_past() {
    let ring = TestRing::new(SIZE);
    serve_key(&socket_of(&ring));
    let client = ring.client();
    let lost = client.publish(&[1; 1000]).expect("there is room");
    move_on(&client, 2 * SIZE, 1 << 20);
    let kept = client.publish(&[2; 1000]).expect("there is room");
    let mut reader = Example::start("reader", &ring, Stdio::piped());
    let mut input = reader.0.stdin.take().expect("a pipe");
    for frame in [lost, kept] {
        writeln!(input, "{}", serde_json::to_string(&frame).expect("three numbers")).expect("the reader reads");
    }
    drop(input);
    let mut output = String::new();
    reader.0.stdout.take().expect("a pipe").read_to_string(&mut output).expect("our pipe");
    assert_eq!(output, "2\n", "of the lost frame nothing, of the other one its brightness");
    assert!(reader.end().success());
}

#[test]
fn every_subscriber_sees_what_the_publisher_has_sent_and_one_that_comes_late_the_last_picture() {
    let ring = TestRing::new(SIZE);
    serve_key(&socket_of(&ring));
    let lines = |example: &mut Example| BufReader::new(example.0.stdout.take().expect("a pipe")).lines();
    let mut early = Example::start("subscriber", &ring, Stdio::null());
    let mut received = lines(&mut early);
    let mut publisher = Example::start("publisher", &ring, Stdio::null());
    for number in 0..10 {
        let line = received.next().expect("another line").expect("our pipe");
        assert_eq!(line, format!("picture {number}, [240, 320, 3]: {number}"));
    }
    let mut late = Example::start("subscriber", &ring, Stdio::null());
    let first = lines(&mut late).next().expect("a line").expect("our pipe");
    let number = first.split([' ', ',']).nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number");
    assert_eq!(first, format!("picture {number}, [240, 320, 3]: {}", number % 256));
    assert!(publisher.0.try_wait().expect("it is our child").is_none(), "the publisher goes on");
}

/// An example that runs. Killed when the test ends.
struct Example(Child);

impl Example {
    fn start(name: &str, ring: &TestRing, stdin: Stdio) -> Self {
        let mut command = Command::new(examples().join(name));
        command.env("FRAMEBUFFER_URL", format!("unix:{}", socket_of(ring).display()));
        command.env("FRAMEBUFFER_DIR", ring.dir.path());
        Self(command.stdin(stdin).stdout(Stdio::piped()).spawn().expect("the example starts"))
    }

    fn end(&mut self) -> ExitStatus {
        self.0.wait().expect("it is our child")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder of the examples. Builds them first: `cargo test --test` does not, or not after every change.
fn examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let this = std::env::current_exe().expect("the test binary has a path");
        // target/PROFILE/deps/examples-HASH
        let folder = this.ancestors().nth(2).expect("a folder for the profile");
        let profile = folder.file_name().and_then(|name| name.to_str()).expect("a profile");
        let mut build = Command::new(env!("CARGO"));
        // Out of the whole workspace, as `cargo xtask test` selects tests: so dependencies have the same features.
        build.args(["build", "--workspace", "--profile", if profile == "debug" { "dev" } else { profile }]);
        build.args(["writer", "reader", "publisher", "subscriber"].map(|name| format!("--example={name}")));
        build.arg("--target-dir").arg(folder.parent().expect("the target folder"));
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(status.success(), "the examples build");
        folder.join("examples")
    })
}

fn socket_of(ring: &TestRing) -> PathBuf {
    ring.dir.path().join("sidecar.sock")
}

/// Answers every request as a sidecar answers `GET /get_key`, until the test's process ends.
fn serve_key(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.expect("our socket"));
            let mut line = String::from("a request");
            while !line.trim_end().is_empty() {
                line.clear();
                connection.read_line(&mut line).expect("a request");
            }
            let body = serde_json::json!({ "key": KEY, "size": SIZE }).to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            write!(connection.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("a listener");
        }
    });
}
