//! Deaths, signals and wrong input.

use std::io::Write;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use crate::ring::Ring;
use crate::support::text;

const MIB: u64 = 1 << 20;

#[test]
fn a_writer_goes_on_when_its_reader_is_killed_and_another_comes() {
    for window in [&["--window", "3"][..], &[]] {
        let ring = Ring::start(MIB);
        let mut first = ring.reader(&["--progress"]);
        let writer = ring.writer(&[&["--generate", "64x48:rgb24", "--rate", "500", "--json"], window].concat());
        first.wait_for("frames/s");
        first.signal(Signal::SIGKILL);
        first.join();
        writer.wait_for("the reader is gone");
        // The killed reader's socket file is still there.
        let output = ring.path("output.rgb");
        let second = ring.reader(&["--progress", "--json", "--output", text(&output)]);
        writer.wait_for("a reader is back");
        second.wait_for("frames/s");
        writer.signal(Signal::SIGTERM);
        let (writer, second) = (writer.finish(), second.finish());
        assert_eq!(writer.number("/reconnects"), 1);
        assert!(second.number("/frames") > 0);
        assert_eq!((second.number("/missed"), second.number("/timeouts/mismatch")), (0, 0));
    }
}

#[test]
fn a_reader_serves_the_next_writer_when_one_is_killed() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--progress", "--json"]);
    let mut first = ring.writer(&["--generate", "64x48:rgb24", "--rate", "500"]);
    reader.wait_for("frames/s");
    first.signal(Signal::SIGKILL);
    first.join();
    reader.wait_for("the writer is gone");
    ring.writer(&["--generate", "64x48:rgb24", "--frames", "20", "--window", "4"]).finish().good();
    let reader = reader.finish();
    assert_eq!(reader.number("/writers"), 2);
    assert!(reader.number("/frames") > 20);
}

#[test]
fn told_to_end_with_its_reader_the_writer_fails_when_that_goes() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--progress"]);
    let writer = ring.writer(&["--generate", "64x48:rgb24", "--rate", "500", "--once"]);
    reader.wait_for("frames/s");
    reader.signal(Signal::SIGTERM);
    reader.finish().good();
    writer.finish().failed("is gone");
}

#[test]
fn both_stop_at_a_signal_while_they_wait() {
    framebuffer_signals::heed_all().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let ring = Ring::start(MIB);
        let reader = ring.reader(&["--progress"]);
        let mut writer = ring.writer(&["-", "--raw", "64x48:gray8", "--json"]);
        // The first frame gets through, the rest of the second never comes.
        writer.feed(&[7; 64 * 48 + 100]);
        reader.wait_for("1 frames, ");
        writer.signal(signal);
        assert_eq!(writer.join().number("/frames"), 1);
        reader.finish().good();
        let idle = ring.reader(&[]);
        idle.signal(signal);
        idle.finish().good();
        assert!(!ring.path("frames.sock").exists(), "the socket's file is gone");
    }
}

#[test]
fn the_frames_before_a_truncated_one_arrive() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--json"]);
    let mut writer = ring.writer(&["-"]);
    writer.feed(b"YUV4MPEG2 W4 H4 Cmono\nFRAME\n0123456789abcdefFRAME\n0123");
    writer.finish().failed("ends inside frame 1: it has 4 of the frame's 16 bytes");
    assert_eq!(reader.finish().number("/frames"), 1);
}

#[test]
fn wrong_input_is_refused_with_the_value_and_the_limit() {
    let ring = Ring::start(MIB);
    let clip = ring.path("clip.mp4");
    std::fs::write(&clip, b"\0\0\0 ftypisom").unwrap();
    ring.writer(&[text(&clip)]).finish().failed("not a Y4M stream: it begins with");
    let large = ring.writer(&["--generate", "4096x2160:rgb24"]).finish();
    large.failed("a frame of 26542080 bytes is larger than the ring, which holds frames of at most 1048576 bytes");
    ring.writer(&["-", "--loop"]).finish().failed("--loop needs a file");
    let unreachable = ring.writer(&["--generate", "64x48:rgb24", "--connect-timeout", "0"]).finish();
    unreachable.failed("start frame-reader --listen unix:");
    let usage = ring.writer(&["--generate", "0x48:rgb24"]).finish();
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.stderr.contains("between 1 and 32768 pixels"), "{}", usage.stderr);
}

#[test]
fn a_stranger_is_refused_and_the_reader_goes_on() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--json"]);
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 10_000], vec![0xff, b'\n'], Vec::new()] {
        // It may be refused before all of it is sent.
        let _ = UnixStream::connect(ring.path("frames.sock")).unwrap().write_all(&garbage);
    }
    reader.wait_for("longer than the limit of 4096 bytes");
    reader.wait_for("not UTF-8");
    let header =
        r#"{"framebuffer_video":1,"container":"raw","width":4,"height":4,"pixels":"gray8","rate":{"num":25,"den":1}}"#;
    let frame = r#"{"offset":18446744073709551615,"size":16,"checksum":"0000000000000000","sequence":0,"sent_ns":0}"#;
    let large = r#"{"offset":64,"size":1000000000000,"checksum":"0000000000000000","sequence":1,"sent_ns":0}"#;
    let mut stranger = UnixStream::connect(ring.path("frames.sock")).unwrap();
    writeln!(stranger, "{header}\n{frame}\n{large}").unwrap();
    reader.wait_for("frame 1 has 1000000000000 bytes, but frames of this stream have 16");
    ring.writer(&["--generate", "64x48:rgb24", "--frames", "3", "--window", "2"]).finish().good();
    let reader = reader.finish();
    assert_eq!((reader.number("/frames"), reader.number("/timeouts/never_allocated")), (3, 1));
}
