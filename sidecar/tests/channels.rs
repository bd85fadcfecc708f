//! The real binary and a ring with channels: the API, the metrics, and the commands that look at it.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use common::{Sidecar, request, run};
use framebuffer::{Descriptor, Element, Frame, FrameBufferClient, Key};
use serde_json::{Value, json};

mod common;

const KEY: &str = "looked-at";

fn start(dir: &Path) -> Sidecar {
    Sidecar::start(dir, &["--size", "1Mi", "--key", KEY])
}

fn open(dir: &Path) -> FrameBufferClient {
    FrameBufferClient::options(Key::new(KEY).unwrap()).dir(dir).open().unwrap()
}

/// What a command prints about the ring in this folder.
fn look(dir: &Path, args: &[&str]) -> String {
    let output = run(&[args, &["--dir", dir.to_str().unwrap(), "--key", KEY]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn look_as_json(dir: &Path, args: &[&str]) -> Value {
    let text = look(dir, &[args, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_program_in_any_language_finds_the_last_frame_of_a_channel_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(dir.path());
    let client = open(dir.path());
    let mut publisher = client.publisher("robot/left-camera").unwrap();
    let image = Descriptor::new().element(Element::U8).shape(&[10, 20, 3]).unwrap();
    publisher.send_with(&[9; 600], &image).unwrap();
    let (status, body) = sidecar.get("/channels/robot%2Fleft-camera/latest");
    assert_eq!(status, 200, "{body}");
    let frame: Frame = serde_json::from_str(&body).unwrap();
    assert_eq!(client.read_frame(&frame).unwrap(), [9; 600]);
    assert_eq!(sidecar.get("/channels/robot/left-camera/latest").0, 404);
    assert_eq!(sidecar.get("/channels").0, 200);
    assert_eq!(sidecar.get_admin("/channels").0, 404, "not for the network");
}

#[test]
fn a_ring_with_a_window_keeps_so_much_of_what_nobody_holds() {
    let dir = tempfile::tempdir().unwrap();
    let _sidecar = Sidecar::start(dir.path(), &["--size", "1Mi", "--key", KEY, "--window", "64Ki"]);
    let client = open(dir.path());
    let mut publisher = client.publisher("camera").unwrap();
    let mut late = client.publisher_options("late").keep(8).open().unwrap();
    let kept = late.send(&[1; 4000]).unwrap().frame;
    let frames: Vec<Frame> = (0..20).map(|_| publisher.send(&[2; 4000]).unwrap().frame).collect();
    assert!(client.read_frame(&frames[0]).is_err(), "20 frames of 4000 bytes do not stay in 64 KiB");
    assert_eq!(client.read_frame(&frames[19]).unwrap(), [2; 4000]);
    assert_eq!(client.read_frame(&kept).unwrap(), [1; 4000], "its publisher keeps it");
}

#[test]
fn web_pages_are_told_nothing_of_channels() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(dir.path());
    let client = open(dir.path());
    let _publisher = client.publisher("camera").unwrap();
    for path in ["/channels", "/channels/camera", "/channels/camera/latest"] {
        for headers in ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"] {
            let mut stream = TcpStream::connect(sidecar.api).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("camera\""), "{path}: {answer}");
        }
    }
}

#[test]
fn metrics_of_a_channel_move_with_what_is_sent_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(dir.path());
    let client = open(dir.path());
    let mut subscriber = client.subscriber("a/b.c-d_e").unwrap();
    let mut publisher = client.publisher("a/b.c-d_e").unwrap();
    for _ in 0..5 {
        publisher.send(&vec![1; 300_000]).unwrap();
    }
    while subscriber.try_next().unwrap().is_some() {}
    assert_ne!(subscriber.lost(), 0, "the ring keeps three of them");
    let of_channel = |name: &str| sidecar.metric(&format!("framebuffer_channel_{name}{{channel=\"a/b.c-d_e\"}}"));
    assert_eq!((of_channel("frames_sent_total"), of_channel("sent_bytes_total")), (5, 1_500_000));
    assert_eq!((of_channel("frames_lost_total"), of_channel("frames_skipped_total")), (subscriber.lost(), 0));
    assert_eq!((of_channel("publishers"), of_channel("subscribers")), (1, 1));
    drop((subscriber, publisher));
    assert_eq!((of_channel("publishers"), of_channel("subscribers")), (0, 0));
    assert_eq!(of_channel("frames_sent_total"), 5);
}

#[test]
fn there_are_as_many_values_of_the_label_as_a_ring_has_channels() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(dir.path());
    let client = open(dir.path());
    for number in 0..80 {
        assert_eq!(client.publisher(&format!("channel-{number}")).is_ok(), number < 64);
    }
    let (_, text) = sidecar.get_admin("/metrics");
    assert_eq!(text.lines().filter(|line| line.starts_with("framebuffer_channel_publishers{")).count(), 64);
    let (_, body) = sidecar.get("/channels");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["channels"].as_array().unwrap().len(), 64);
}

#[test]
fn channels_says_who_holds_publishers_up() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(dir.path());
    assert_eq!(look(dir.path(), &["channels"]), "the ring has no channels\n");
    let (writer, reader) = (open(dir.path()), open(dir.path()));
    let slow = reader.subscriber_options("log").lossless().open().unwrap();
    let mut publisher = writer.publisher_options("log").keep(2).open().unwrap();
    publisher.send(b"1").unwrap();
    publisher.send(b"22").unwrap();
    let refused = publisher.send(b"333").unwrap_err().to_string();
    let table = look(dir.path(), &["channels"]);
    let [heading, log, behind] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(heading.starts_with("channel ") && log.starts_with("log ") && log.ends_with(" s ago"), "{table}");
    let words: Vec<_> = log.split_whitespace().take(8).collect();
    assert_eq!(words, ["log", "2", "3", "0", "0", "1", "1", "1"]);
    let process = std::process::id();
    assert!(behind.contains(&format!("(process {process} in its PID namespace)")), "{table}");
    assert!(behind.ends_with("has 2 frames unread, from number 0 on"), "{table}");
    let listed = look_as_json(dir.path(), &["channels"]);
    let holder = &listed["channels"][0]["lossless"][0];
    assert_eq!((&holder["process"], &holder["unread_frames"]), (&json!(process), &json!(2)));
    assert!(refused.contains(&format!("participant {}", holder["participant"])), "{refused}");
    // The API says the same, but for the age.
    let (_, body) = sidecar.get("/channels/log");
    let mut both = [listed["channels"][0].clone(), serde_json::from_str::<Value>(&body).unwrap()];
    for channel in &mut both {
        channel["last_frame_age_seconds"].take();
    }
    assert_eq!(both[0], both[1]);
    drop(slow);
    assert_eq!(look(dir.path(), &["channels"]).lines().count(), 2);
}

#[test]
fn ls_shows_the_frames_that_are_in_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let _sidecar = start(dir.path());
    assert_eq!(look(dir.path(), &["ls"]).lines().last(), Some("0 frames, 0 in use"));
    let client = open(dir.path());
    let mut publisher = client.publisher("camera").unwrap();
    let image = Descriptor::new().element(Element::F32).shape(&[10, 5]).unwrap().fourcc(*b"DPTH");
    let plain = client.publish(&[1; 100]).unwrap();
    publisher.send_with(&[2; 200], &image).unwrap();
    let reserved = client.allocate(300).unwrap();
    let text = look(dir.path(), &["ls"]);
    let [_, first, second, third, sum] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(words(first)[..4], [&plain.offset.to_string(), "100", "committed", "no"]);
    assert!(first.ends_with(" - (plain)"), "{text}");
    assert_eq!(words(second)[1..4], ["200", "committed", "yes"]);
    assert!(second.ends_with(" 0 camera float32 [10, 5] DPTH"), "{text}");
    assert_eq!(words(third), [&reserved.to_string(), "300", "reserved", "no", "-", "-", "(plain)"]);
    assert_eq!(sum, "3 frames, 1 in use");

    let listed = look_as_json(dir.path(), &["ls", "--channel", "camera"]);
    let [frame] = &listed["frames"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&frame["channel"], &frame["number"], &frame["shape"]), (&json!("camera"), &json!(0), &json!([10, 5])));
    assert_eq!((&frame["state"], &frame["in_use"]), (&json!("committed"), &json!(true)));
    let output = run(&["ls", "--dir", dir.path().to_str().unwrap(), "--key", KEY, "--channel", "cam\u{7}era"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(r#"has no channel "cam\u{7}era""#), "{output:?}");
    for _ in 0..5 {
        client.publish(&[3; 50]).unwrap();
    }
    let listed = look_as_json(dir.path(), &["ls", "--last", "2"]);
    assert_eq!((listed["frames"].as_array().unwrap().len(), &listed["older_not_shown"]), (2, &json!(6)));
    let text = look(dir.path(), &["ls", "--last", "2"]);
    assert!(text.ends_with("2 frames, 0 in use; 6 older ones are not shown (--last)\n"), "{text}");
}

#[test]
fn top_shows_what_moves_in_each_channel() {
    let dir = tempfile::tempdir().unwrap();
    let _sidecar = start(dir.path());
    let client = open(dir.path());
    let _idle = client.publisher("idle").unwrap();
    let stop = AtomicBool::new(false);
    let text = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = client.publisher("busy").unwrap();
            while !stop.load(Relaxed) {
                publisher.send(&[7; 500]).unwrap();
            }
        });
        common::wait_for("a frame", || client.channels().unwrap().iter().find(|busy| busy.frames > 0).map(drop));
        let text = look(dir.path(), &["top", "--interval", "0.1", "--count", "2"]);
        stop.store(true, Relaxed);
        text
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 3, "a heading, and twice the ring and two channels: {text}");
    for place in [2, 5] {
        let busy: u64 = lines[place].strip_prefix("  busy: ").unwrap().split_once(' ').unwrap().0.parse().unwrap();
        assert!(busy > 0, "{text}");
        assert_eq!(lines[place + 1], "  idle: 0 frames/s, 0 bytes/s, 0 lost/s, 0 skipped/s");
    }
}

#[test]
fn a_channel_of_a_ring_that_was_replaced_is_not_in_the_next_before_somebody_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let args = ["--size", "1Mi", "--key", KEY, "--socket", socket.to_str().unwrap()];
    let _sidecar = Sidecar::start(dir.path(), &args);
    let client = open(dir.path());
    client.publisher("camera").unwrap().send(b"1").unwrap();
    let connect = || std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert_eq!(request(connect(), "GET", "/channels/camera", "").0, 200);
    std::fs::remove_file(dir.path().join(format!("framebuffer-{KEY}"))).unwrap();
    common::wait_for("the next ring", || {
        let (status, body) = request(connect(), "GET", "/channels/camera", "");
        assert!([200, 404, 500, 503].contains(&status), "{status}: {body}");
        (status == 404).then_some(())
    });
}
