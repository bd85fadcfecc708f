//! Deaths, signals and wrong input.

use std::time::Duration;

use framebuffer::Descriptor;
use nix::sys::signal::Signal;

use crate::ring::Ring;
use crate::support::text;

const MIB: u64 = 1 << 20;

#[test]
fn a_writer_goes_on_when_its_reader_is_killed_and_another_comes() {
    for lossless in [&["--lossless"][..], &[]] {
        let ring = Ring::start(MIB);
        let mut first = ring.reader(&[&["--progress"], lossless].concat());
        let writer = ring.writer(&["--generate", "64x48:rgb24", "--rate", "500", "--progress", "--json"]);
        first.wait_for("frames/s");
        first.signal(Signal::SIGKILL);
        first.join();
        let output = ring.path("output.rgb");
        let second = ring.reader(&[&["--progress", "--json", "--output", text(&output)], lossless].concat());
        second.wait_for("frames/s");
        writer.signal(Signal::SIGTERM);
        let (writer, second) = (writer.finish(), second.finish());
        assert!(writer.number("/frames") > second.number("/frames") && second.number("/frames") > 0);
        assert_eq!((second.number("/lost"), second.number("/damaged")), (0, 0));
    }
}

#[test]
fn a_reader_receives_from_the_next_writer_when_one_is_killed() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--lossless", "--progress", "--json"]);
    let mut first = ring.writer(&["--generate", "64x48:rgb24", "--rate", "500"]);
    reader.wait_for("frames/s");
    first.signal(Signal::SIGKILL);
    first.join();
    reader.wait_for("the writer is gone");
    ring.writer(&["--generate", "64x48:rgb24", "--frames", "20"]).finish().good();
    let reader = reader.finish();
    assert_eq!(reader.number("/writers"), 2);
    assert!(reader.number("/frames") > 20);
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
    let unread = ring.writer(&["--generate", "64x48:rgb24", "--wait", "0"]).finish();
    unread.failed("no reader subscribed to channel \"video\" within 0 s: start frame-reader --channel video");
    let other = ring.writer(&["--generate", "64x49:rgb24"]).finish();
    other.failed("width=64,height=48");
    ring.writer(&["--generate", "64x48:rgb24", "--keep", "33"]).finish().failed("keeps 32 frames at most, not 33");
    ring.writer(&["--generate", "64x48:rgb24", "--channel", "a b"]).finish().failed("a b");
    let usage = ring.writer(&["--generate", "0x48:rgb24"]).finish();
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.stderr.contains("between 1 and 32768 pixels"), "{}", usage.stderr);
}

#[test]
fn a_stranger_is_refused_and_the_reader_goes_on() {
    let ring = Ring::start(MIB);
    let reader = ring.reader(&["--lossless", "--json"]);
    let client = ring.client();
    client.publisher("video").unwrap().send(b"before the channel has a type").unwrap();
    reader.wait_for("content type \"\" is no video");
    let writer = ring.writer(&["--generate", "64x48:rgb24", "--frames", "3", "--wait", "30"]);
    writer.finish().good();
    assert_eq!(reader.finish().number("/refused"), 1);

    let reader = ring.reader(&["--lossless", "--forever", "--json"]);
    let mut stranger = client.publisher("video").unwrap();
    for size in [1, 64 * 48 * 3 - 1, 64 * 48 * 3 + 2000] {
        let descriptor = Descriptor::new().user(u64::MAX);
        stranger.send_timeout(&vec![b'\n'; size], &descriptor, Duration::from_secs(30)).unwrap();
    }
    reader.wait_for("has 1 bytes, but pictures of this stream have 9216");
    ring.writer(&["--generate", "64x48:rgb24", "--frames", "3"]).finish().good();
    reader.wait_for("the stream has ended");
    reader.signal(Signal::SIGTERM);
    let reader = reader.finish();
    assert_eq!((reader.number("/frames"), reader.number("/refused"), reader.number("/damaged")), (3, 3, 0));
}
