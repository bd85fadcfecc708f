//! The examples: writers and readers in both languages, with each other and with Rust, with a sidecar and with a key.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use framebuffer::{Connect, Descriptor, Element, Frame, FrameBufferClient};

use super::compiler::{Flavour, place, program, run, source, succeed, with_pkg_config};
use super::ring::{FRAMES, OwnRing, Sidecar, drawn};

const WRITERS: [&str; 2] = ["examples/writer.c", "examples/writer.cpp"];
const READERS: [&str; 2] = ["examples/reader.c", "examples/reader.cpp"];
const PUBLISHER: &str = "examples/publisher.cpp";
const SUBSCRIBER: &str = "examples/subscriber.cpp";

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn readers_in_c_and_cpp_read_what_writers_in_c_and_cpp_write() {
    through_a_sidecar(|path| program(path, Flavour::Shared));
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn sanitizers_see_nothing_in_the_examples() {
    through_a_sidecar(|path| program(path, Flavour::Sanitized));
    through_a_channel(|path| program(path, Flavour::Sanitized));
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn cmake_builds_the_examples_as_their_file_says() {
    let build = place("cmake");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(source("examples")).arg("-B").arg(&build).arg("-DCMAKE_C_FLAGS=-Werror");
    succeed(with_pkg_config(&mut configure));
    succeed(Command::new("cmake").arg("--build").arg(&build));
    let built = |path: &str| {
        let name = path.trim_start_matches("examples/").trim_end_matches(".c").replace(".cpp", "-cpp");
        build.join(name)
    };
    through_a_sidecar(built);
    through_a_channel(built);
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn a_subscriber_receives_what_a_publisher_sends() {
    through_a_channel(|path| program(path, Flavour::Shared));
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn rust_receives_what_a_publisher_in_cpp_sends_and_the_other_way_round() {
    let ring = OwnRing::new();
    let mut subscriber = ring.client.subscriber("camera").expect("a subscriber");
    succeed(at(&ring, PUBLISHER, Flavour::Static).arg(FRAMES.to_string()));
    for number in 0..FRAMES {
        let frame = subscriber.try_next().expect("the ring is there").expect("it was sent");
        let descriptor = frame.descriptor();
        assert_eq!((descriptor.element_type(), descriptor.dimensions()), (Element::U8, &[480, 640, 3][..]));
        assert_eq!((frame.number(), descriptor.user_word()), (number as u64, number as u64));
        assert!(*frame == *drawn(number), "frame {number}");
    }
    let child = start(at(&ring, SUBSCRIBER, Flavour::Static).arg("2"));
    wait_for_subscribers(&ring.client, 2);
    let mut publisher = ring.client.publisher("camera").expect("a publisher");
    let image = Descriptor::new().element(Element::U8).shape(&[480, 640, 3]).expect("three");
    let mut wrong = drawn(FRAMES);
    wrong[7] ^= 1;
    publisher.send_with(&wrong, &image.user(FRAMES as u64)).expect("there is room");
    let output = child.wait_with_output().expect("an end");
    // The last one of before it finds there, and it is right.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 frames, 0 lost, 1 wrong\n");
    assert_eq!(output.status.code(), Some(1));
}

/// Every writer to every reader, each found at `program`, with the ring of a sidecar.
fn through_a_sidecar(program: impl Fn(&str) -> PathBuf) {
    let sidecar = Sidecar::start();
    for (writer, reader) in WRITERS.iter().flat_map(|writer| READERS.map(|reader| (writer, reader))) {
        let run = |path: &str| {
            let mut command = run(&program(path), sidecar.dir());
            command.env("FRAMEBUFFER_URL", sidecar.url());
            command
        };
        let mut writer = start(run(writer).arg(FRAMES.to_string()));
        let said = succeed(run(reader).stdin(writer.stdout.take().expect("a pipe")));
        assert!(writer.wait().expect("an end").success(), "the writer fails");
        assert_eq!(said, format!("{FRAMES} frames, 0 lost, 0 wrong\n"));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn a_subscriber_goes_over_to_the_ring_of_the_next_sidecar() {
    let mut sidecar = Sidecar::start();
    let mut waiting = run(&program(SUBSCRIBER, Flavour::Shared), sidecar.dir());
    let subscriber = start(waiting.arg("1").env("FRAMEBUFFER_URL", sidecar.url()));
    let connect =
        |sidecar: &Sidecar| Connect::new(&sidecar.url()).dir(sidecar.dir()).connect().expect("the sidecar's ring");
    wait_for_subscribers(&connect(&sidecar), 1);
    sidecar.restart();
    let client = connect(&sidecar);
    wait_for_subscribers(&client, 1);
    let image = Descriptor::new().element(Element::U8).shape(&[480, 640, 3]).expect("three");
    client.publisher("camera").expect("a publisher").send_with(&drawn(0), &image).expect("there is room");
    let output = subscriber.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 frames, 0 lost, 0 wrong\n");
}

/// The publisher to the subscriber, each found at `program`, over a channel in the ring of a sidecar.
fn through_a_channel(program: impl Fn(&str) -> PathBuf) {
    let sidecar = Sidecar::start();
    let run = |path: &str| {
        let mut command = run(&program(path), sidecar.dir());
        command.arg(FRAMES.to_string()).env("FRAMEBUFFER_URL", sidecar.url());
        command
    };
    let subscriber = start(&mut run(SUBSCRIBER));
    let client = Connect::new(&sidecar.url()).dir(sidecar.dir()).connect().expect("the sidecar's ring");
    wait_for_subscribers(&client, 1);
    succeed(&mut run(PUBLISHER));
    let output = subscriber.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{FRAMES} frames, 0 lost, 0 wrong\n"));
    assert!(output.status.success(), "{}", output.status);
}

/// Waits until the channel has so many subscribers.
fn wait_for_subscribers(client: &FrameBufferClient, count: usize) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while client.channels().expect("the ring is there").iter().map(|channel| channel.subscribers).sum::<usize>() < count
    {
        assert!(Instant::now() < deadline, "nobody subscribes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn rust_reads_what_writers_in_c_and_cpp_write() {
    for writer in WRITERS {
        let ring = OwnRing::new();
        let mut child = start(at(&ring, writer, Flavour::Shared).arg(FRAMES.to_string()));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut read = 0;
        for (number, line) in lines.enumerate() {
            let frame: Frame = serde_json::from_str(&line.expect("a line")).expect("a frame");
            assert!(ring.client.read_frame(&frame).expect("the frame") == drawn(number), "{writer}, frame {number}");
            read += 1;
        }
        assert!(child.wait().expect("an end").success(), "{writer} fails");
        assert_eq!(read, FRAMES);
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn readers_in_c_and_cpp_read_what_rust_writes() {
    for reader in READERS {
        let ring = OwnRing::new();
        let frames = publish(&ring);
        assert_eq!(read_by(reader, &ring, &frames), format!("{FRAMES} frames, 0 lost, 0 wrong\n"));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn readers_that_are_too_slow_lose_frames_and_go_on() {
    for reader in READERS {
        let ring = OwnRing::of(3 << 20);
        let frames = publish(&ring);
        // The ring keeps three of them.
        assert_eq!(read_by(reader, &ring, &frames), format!("{FRAMES} frames, {} lost, 0 wrong\n", FRAMES - 3));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn readers_notice_a_frame_with_other_bytes_than_were_drawn() {
    for reader in READERS {
        let ring = OwnRing::new();
        let mut bytes = drawn(0);
        *bytes.last_mut().expect("there are bytes") ^= 1;
        let frame = ring.client.publish(&bytes).expect("there is room");
        let mut child = start(at(&ring, reader, Flavour::Shared).stdin(Stdio::piped()).stderr(Stdio::piped()));
        tell(&mut child, &[frame]);
        let output = child.wait_with_output().expect("an end");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1 frames, 0 lost, 1 wrong\n");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn a_program_without_its_ring_says_what_is_missing() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    for path in WRITERS {
        let output =
            run(&program(path, Flavour::Static), empty.path()).env("FRAMEBUFFER_KEY", "absent").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("writer: there is no ring with this key in ") && !said.contains("absent"), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
}

fn at(ring: &OwnRing, path: &str, flavour: Flavour) -> Command {
    let mut command = run(&program(path, flavour), ring.dir());
    command.env("FRAMEBUFFER_KEY", ring.key());
    command
}

/// All frames that the examples draw, written by this process.
fn publish(ring: &OwnRing) -> Vec<Frame> {
    (0..FRAMES).map(|number| ring.client.publish(&drawn(number)).expect("there is room")).collect()
}

fn read_by(reader: &str, ring: &OwnRing, frames: &[Frame]) -> String {
    let mut child = start(at(ring, reader, Flavour::Static).stdin(Stdio::piped()).stderr(Stdio::piped()));
    tell(&mut child, frames);
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{reader}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Sends the descriptions of frames, and closes the pipe.
fn tell(child: &mut Child, frames: &[Frame]) {
    let mut pipe = child.stdin.take().expect("a pipe");
    for frame in frames {
        writeln!(pipe, "{}", serde_json::to_string(frame).expect("JSON")).expect("it reads");
    }
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
