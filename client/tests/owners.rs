//! Who owns a segment: one server at a time, which may be killed, followed by another, and leaves nothing behind.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};

use common::{
    KEY, SIZE, chain, client_in, folder, is_empty, is_payload, kept_segment, key, options, payload, segment_path,
    this_test_binary,
};
use framebuffer::layout::HEADER_SIZE;
use framebuffer::{Error, FrameBufferServer, SegmentError};
use tempfile::TempDir;

#[test]
fn the_second_server_of_a_key_is_refused() {
    let dir = folder();
    let first = options(&dir).start().expect("a ring");
    let frame = client_in(&dir).publish(&payload(1, 1000)).expect("there is room");
    for keep in [false, true] {
        let error = options(&dir).keep(keep).start().expect_err("it has an owner");
        assert!(matches!(error, SegmentError::AlreadyOwned), "{}", chain(&error));
    }
    assert!(is_payload(1, &client_in(&dir).read_frame(&frame).expect("the first one's ring is untouched")));
    drop(first);
    assert!(is_empty(&dir));
    options(&dir).start().expect("now the key is free");
}

/// A server in a process of its own.
struct OtherServer(Child);

impl OtherServer {
    fn start(dir: &TempDir, keep: bool) -> Self {
        let mut command = this_test_binary("helper_that_serves");
        command.env("FRAMEBUFFER_TEST_DIR", dir.path()).env("FRAMEBUFFER_TEST_KEEP", keep.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the test binary runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let serves = output.lines().map_while(Result::ok).any(|line| line.contains("serving"));
        assert!(serves, "the other server came up");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it was killed");
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper_that_serves() {
    let (Ok(dir), Ok(keep)) = (std::env::var("FRAMEBUFFER_TEST_DIR"), std::env::var("FRAMEBUFFER_TEST_KEEP")) else {
        return;
    };
    let options = FrameBufferServer::options(SIZE).key(key()).dir(dir).keep(keep == "true");
    let _server = options.start().expect("a ring");
    println!("\nserving");
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_second_server_of_a_key_is_refused_across_processes() {
    let dir = folder();
    let other = OtherServer::start(&dir, false);
    for keep in [false, true] {
        let error = options(&dir).keep(keep).start().expect_err("it has an owner");
        assert!(matches!(error, SegmentError::AlreadyOwned), "{}", chain(&error));
    }
    client_in(&dir).publish(&payload(1, 1000)).expect("the other's ring works");
    other.kill();
}

#[test]
fn the_segment_of_a_killed_server_is_replaced_without_keep() {
    let dir = folder();
    let other = OtherServer::start(&dir, false);
    let old = client_in(&dir);
    let frame = old.publish(&payload(1, 1000)).expect("there is room");
    let view = old.view(&frame).expect("it is there");
    let inode = fs::metadata(segment_path(&dir)).expect("the segment").ino();
    other.kill();
    assert!(segment_path(&dir).exists(), "a killed server leaves its segment behind");

    let server = options(&dir).start().expect("its owner is dead");
    assert!(!server.adopted());
    assert_ne!(fs::metadata(segment_path(&dir)).expect("the segment").ino(), inode);
    assert!(is_payload(1, &view) && view.verify().is_ok(), "who holds a view of the old ring still has it");
    assert!(matches!(old.read_frame(&frame), Err(Error::Retired)), "who has the old ring open is told");
    assert!(matches!(client_in(&dir).read_frame(&frame), Err(Error::OtherRing { .. })), "the new ring is another");
    drop(server);
    assert!(is_empty(&dir));
}

#[test]
fn the_segment_of_a_killed_server_is_adopted_with_keep() {
    let dir = folder();
    let other = OtherServer::start(&dir, true);
    let attached = client_in(&dir);
    let frames: Vec<_> = (0..20).map(|seed| attached.publish(&payload(seed, 3000)).expect("there is room")).collect();
    let before = attached.stats().expect("stats");
    other.kill();
    attached.publish(&payload(20, 3000)).expect("clients go on without the server");

    let server = options(&dir).keep(true).start().expect("its owner is dead");
    assert!(server.adopted());
    assert_eq!(server.get_key(), KEY);
    server.reap().expect("it serves");
    let after = server.stats().expect("stats");
    assert!(after.head > before.head && after.created == before.created);
    assert_eq!(after.participants, 2, "the dead server's slot is free again");
    let new = client_in(&dir);
    for (seed, frame) in frames.iter().enumerate() {
        assert!(is_payload(seed as u64, &new.read_frame(frame).expect("no frame is lost")));
    }
    let offset = server.allocate(100).expect("there is room");
    assert!(offset > before.head);
    let checksum = attached.write(offset, &payload(1, 100)).expect("attached clients are still attached");
    assert!(is_payload(1, &new.read(offset, 100, checksum).expect("it is there")));
}

#[test]
fn a_ring_of_another_size_is_not_adopted() {
    let (dir, frame) = kept_segment();
    for size in [SIZE - 1, SIZE + 1, 1, 10 << 20] {
        let error = FrameBufferServer::options(size).key(key()).dir(dir.path()).keep(true).start();
        let error = error.expect_err("another size");
        let named = matches!(error, SegmentError::SizeDiffers { found: SIZE, asked } if asked == size);
        assert!(named, "{}", chain(&error));
        assert!(chain(&error).contains(&size.to_string()) && chain(&error).contains("65536"));
    }
    assert!(is_payload(1, &client_in(&dir).read_frame(&frame).expect("nothing has happened to it")));
    let server = options(&dir).keep(true).start().expect("the same size");
    assert!(server.adopted());
}

#[test]
fn a_server_removes_its_segment_and_only_its_own() {
    let dir = folder();
    let mut server = options(&dir).start().expect("a ring");
    assert!(segment_path(&dir).exists());
    server.stop().expect("it can be removed");
    assert!(is_empty(&dir));

    server.start().expect("the key is free");
    // Somebody removes the segment under its server, and another one takes its name.
    fs::remove_file(segment_path(&dir)).expect("the segment");
    let other = options(&dir).start().expect("the name is free");
    server.stop().expect("nothing is to be removed");
    assert!(segment_path(&dir).exists(), "that is the other's");
    drop(other);
    assert!(is_empty(&dir));
}

#[test]
fn many_servers_that_start_at_once_have_one_winner() {
    for round in 0..20 {
        let dir = if round % 2 == 0 { folder() } else { kept_segment().0 };
        let winners = std::thread::scope(|scope| {
            let start = || match options(&dir).keep(round % 4 > 1).start() {
                Ok(server) => Some(server),
                Err(SegmentError::AlreadyOwned) => None,
                Err(error) => panic!("{}", chain(&error)),
            };
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starting.into_iter().filter_map(|starting| starting.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        let frame = client_in(&dir).publish(&[1; 10]).expect("there is room");
        assert!(frame.offset >= HEADER_SIZE);
    }
}
