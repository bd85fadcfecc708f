//! Received frames equal the frames sent.

use std::process::{Command, Stdio};

use framebuffer_video::framemd5::FrameMd5;
use framebuffer_video::{format::Format, raw::RawFormat};

use crate::ring::Ring;
use crate::support::{framemd5_lines, pictures, text};

const MIB: u64 = 1 << 20;

#[test]
fn a_generated_stream_arrives_identical() {
    for access in ["view", "copy"] {
        let ring = Ring::start(MIB);
        let output = ring.path("output.rgb");
        let reader = ring.reader(&["--lossless", "--output", text(&output), "--access", access, "--json"]);
        let writer = ring.writer(&["--generate", "160x120:rgb24", "--frames", "200", "--keep", "8", "--json"]);
        assert_eq!(writer.finish().number("/frames"), 200);
        let reader = reader.finish();
        assert_eq!((reader.number("/frames"), reader.number("/lost"), reader.number("/writers")), (200, 0, 1));
        assert!(reader.json()["latency_us"]["p99"].as_f64().unwrap() > 0.0);
        assert!(std::fs::read(&output).unwrap() == pictures("160x120:rgb24", 200).concat(), "{access}");
    }
}

#[test]
fn two_readers_get_every_frame_and_any_client_its_shape() {
    let ring = Ring::start(MIB);
    let client = ring.client();
    let mut subscriber = client.subscriber("left").unwrap();
    let reader =
        |name| ring.reader(&["--lossless", "--channel", "left", "--framemd5", text(&ring.path(name)), "--json"]);
    let readers = [reader("one"), reader("other")];
    ring.writer(&["--generate", "64x48:rgb24", "--frames", "3", "--channel", "left"]).finish().good();
    for reader in readers {
        assert_eq!(reader.finish().number("/frames"), 3);
    }
    let [one, other] = ["one", "other"].map(|name| std::fs::read(ring.path(name)).unwrap());
    assert_eq!(framemd5_lines(&one), framemd5_lines(&other));
    for picture in pictures("64x48:rgb24", 3) {
        let frame = subscriber.try_next().unwrap().unwrap();
        assert!(*frame == picture && frame.descriptor().dimensions() == [48, 64, 3]);
    }
}

#[test]
fn a_writer_waits_for_a_reader_if_it_is_told_to() {
    let ring = Ring::start(MIB);
    let output = ring.path("output.yuv");
    let writer = ring.writer(&["--generate", "64x48:yuv420p", "--frames", "100", "--rate", "1000", "--wait", "30"]);
    writer.wait_for("waiting for a reader");
    let reader = ring.reader(&["--lossless", "--output", text(&output), "--output-format", "raw"]);
    writer.finish().good();
    reader.finish().good();
    assert!(std::fs::read(output).unwrap() == pictures("64x48:yuv420p", 100).concat());
}

#[test]
fn y4m_from_standard_input_comes_out_byte_for_byte() {
    let ring = Ring::start(MIB);
    let mut stream = b"YUV4MPEG2 W32 H18 F30000:1001 Ip A1:1 C420p10 XCOLORRANGE=FULL\n".to_vec();
    for n in 0..30_u8 {
        stream.extend_from_slice(if n % 3 == 0 { b"FRAME Ip XN=1\n" } else { b"FRAME\n" });
        stream.extend((0..32 * 18 * 3).map(|at: u32| (at as u8).wrapping_mul(7).wrapping_add(n)));
    }
    let reader = ring.reader(&["--lossless", "--output", "-"]);
    let mut writer = ring.writer(&["-"]);
    writer.feed(&stream);
    writer.finish().good();
    assert!(reader.finish().good().stdout == stream);
}

#[test]
fn raw_frames_come_out_as_y4m_when_they_have_a_tag() {
    let ring = Ring::start(MIB);
    let frames = pictures("33x17:gray8", 5);
    let input = ring.path("input.gray");
    std::fs::write(&input, frames.concat()).unwrap();
    let reader = ring.reader(&["--lossless", "--rate", "600", "--output", "-"]);
    let raw = [text(&input), "--raw", "33x17:gray8", "--loop", "--frames", "12", "--keep", "2", "--rate", "600"];
    ring.writer(&raw).finish().good();
    let mut expected = b"YUV4MPEG2 W33 H17 F600:1 Ip A0:0 Cmono\n".to_vec();
    (0..12).for_each(|n| expected.extend([b"FRAME\n".as_slice(), &frames[n % 5]].concat()));
    assert!(reader.finish().good().stdout == expected);
}

/// The clip is any video that ffmpeg decodes to 8 bits; `cargo xtask test` fetches one and names it.
#[test]
fn every_frame_of_a_real_clip_has_ffmpegs_own_checksum() {
    let Some(clip) = std::env::var_os("FRAMEBUFFER_CLIP") else {
        eprintln!("skipped: FRAMEBUFFER_CLIP names no clip; `cargo xtask test` fetches one");
        return;
    };
    let ffmpeg = |arguments: &[&str]| {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-i"]).arg(&clip).args(arguments);
        command.stdin(Stdio::null()).output()
    };
    let expected = match ffmpeg(&["-an", "-f", "framemd5", "-"]) {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: ffmpeg cannot be run ({error})");
            return;
        }
    };
    assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stderr));
    let expected = framemd5_lines(&expected.stdout);
    assert!(expected.len() > 20, "a clip of at least some frames: {expected:?}");

    let ring = Ring::start(16 * MIB);
    let y4m = ring.path("clip.y4m");
    assert!(ffmpeg(&["-an", "-f", "yuv4mpegpipe", text(&y4m)]).unwrap().status.success());
    let (framemd5, output) = (ring.path("framemd5"), ring.path("output.y4m"));
    let reader = ring.reader(&["--lossless", "--framemd5", text(&framemd5), "--output", text(&output), "--json"]);
    ring.writer(&[text(&y4m)]).finish().good();
    assert_eq!(reader.finish().number("/lost"), 0);
    assert_eq!(framemd5_lines(&std::fs::read(framemd5).unwrap()), expected);
    let second =
        Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i", text(&output), "-f", "framemd5", "-"]).output();
    assert_eq!(framemd5_lines(&second.unwrap().stdout), expected, "the output file, read by ffmpeg");
}

#[test]
fn a_slow_reader_gets_each_frame_intact_or_counts_it_as_lost() {
    const FRAMES: u64 = 3000;
    let format: RawFormat = "160x120:rgb24".parse().unwrap();
    let mut expected = FrameMd5::new(Vec::new());
    let video = Format::Raw(format).video().unwrap();
    for (sequence, frame) in (0..).zip(pictures("160x120:rgb24", FRAMES)) {
        expected.frame(&video, sequence, &frame).unwrap();
    }
    let expected = framemd5_lines(&expected.into_inner());
    for access in ["view", "copy"] {
        let ring = Ring::start(MIB / 4);
        let framemd5 = ring.path("framemd5");
        let reader = ring.reader(&["--framemd5", text(&framemd5), "--slow-ms", "20", "--access", access, "--json"]);
        let writer = ring.writer(&["--generate", "160x120:rgb24", "--frames", &FRAMES.to_string(), "--json"]);
        assert_eq!(writer.finish().number("/frames"), FRAMES);
        let reader = reader.finish();
        let (delivered, lost) = (reader.number("/frames"), reader.number("/lost"));
        assert_eq!((delivered + lost, reader.number("/damaged")), (FRAMES, 0), "{access}");
        assert!(delivered > 0 && lost > 0, "{access}: {delivered} delivered, {lost} lost");
        let lines = framemd5_lines(&std::fs::read(framemd5).unwrap());
        let frames = lines.iter().filter(|line| !line.starts_with('#')).count();
        assert_eq!(frames as u64, delivered, "{access}");
        // Each line has the frame's number, so that it can only be equal to that frame's own line.
        assert!(lines.iter().all(|line| expected.contains(line)), "{access}");
    }
}

#[test]
fn a_slow_reader_that_asks_for_it_loses_nothing() {
    let ring = Ring::start(4 * 160 * 120 * 3);
    let reader = ring.reader(&["--lossless", "--slow-ms", "2", "--json"]);
    ring.writer(&["--generate", "160x120:rgb24", "--frames", "300"]).finish().good();
    let reader = reader.finish();
    assert_eq!((reader.number("/frames"), reader.number("/lost")), (300, 0));
}
