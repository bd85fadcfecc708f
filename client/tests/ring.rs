//! One process and its ring: how long frames stay readable, which give way, and which requests are refused.

mod common;

use std::sync::mpsc;

use common::{TestRing, chain, client_in, is_payload, key, length, payload, timeout};
use framebuffer::layout::{FRAME_ALIGN, HEADER_SIZE};
use framebuffer::{Checksum, Error, Frame, FrameBufferServer, Prefault, TimeoutReason};

#[test]
fn a_frame_as_large_as_the_ring_works_wherever_it_lies() {
    for size in [1, FRAME_ALIGN - 1, FRAME_ALIGN, FRAME_ALIGN + 1, 4096, 1_000_000, 70 << 20] {
        let ring = TestRing::new(size);
        let client = ring.client();
        for round in 0..3 {
            let data = payload(round, size as usize);
            let frame = client.publish(&data).expect("it fits");
            assert_eq!(client.read_frame(&frame).expect("it is there"), data, "{size} bytes, round {round}");
            let view = client.view(&frame).expect("it is there");
            view.verify().expect("it is whole");
            assert_eq!(*view, *data);
        }
    }
}

#[test]
fn a_frame_that_crosses_the_rings_end_is_contiguous() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut crossed = 0;
    for round in 0..200 {
        let data = payload(round, 10_007);
        let frame = client.publish(&data).expect("there is room");
        assert_eq!(*client.view(&frame).expect("it is there"), *data);
        crossed += u64::from(frame.offset % ring.capacity() + 10_007 > ring.capacity());
    }
    assert!(crossed >= 10, "{crossed} frames crossed the end");
}

#[test]
fn ten_frames_of_a_tenth_are_readable_at_once_and_the_eleventh_overwrites_the_first() {
    // From 640 KiB on a tenth is more than what is added for headers; below, more than ten fit.
    for size in [1_000_000, 4 << 20, 64 << 20] {
        let ring = TestRing::new(size);
        let client = ring.client();
        let tenth = size / 10;
        let data: Vec<_> = (0..11).map(|seed| payload(seed, tenth as usize)).collect();
        let mut frames: Vec<_> = data[..10].iter().map(|data| client.publish(data).expect("there is room")).collect();
        for (frame, data) in frames.iter().zip(&data) {
            assert_eq!(client.read_frame(frame).expect("it is still there"), *data);
        }
        frames.push(client.publish(&data[10]).expect("there is room"));

        let head = frames[10].offset - HEADER_SIZE + length(tenth);
        let reason = timeout(client.read_frame(&frames[0]), &frames[0]);
        let behind = head - ring.capacity() - (frames[0].offset - HEADER_SIZE);
        assert_eq!(reason, TimeoutReason::Overwritten { behind, laps: 1 });
        assert_eq!(reason.label(), "overwritten");
        for (frame, data) in frames.iter().zip(&data).skip(1) {
            assert_eq!(client.read_frame(frame).expect("it is still there"), *data);
        }
    }
}

#[test]
fn an_overwritten_frame_says_how_many_laps_ago_it_was() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frame = client.publish(&[1; 100]).expect("there is room");
    for lap in 1..20 {
        // One frame fewer than what fits a lap is not yet behind by another lap.
        while ring.head() <= frame.offset - HEADER_SIZE + lap * ring.capacity() {
            client.publish(&[2; 4032]).expect("there is room");
        }
        let behind = ring.head() - ring.capacity() - (frame.offset - HEADER_SIZE);
        assert_eq!(timeout(client.view(&frame), &frame), TimeoutReason::Overwritten { behind, laps: lap });
    }
}

#[test]
fn a_slow_reader_gets_each_frame_intact_or_a_timeout() {
    const FRAMES: u64 = 4000;
    let ring = TestRing::new(256 << 10);
    let (writer, reader) = (ring.client(), ring.client());
    let (send, receive) = mpsc::channel();
    let writing = std::thread::spawn(move || {
        for seed in 0..FRAMES {
            let data = payload(seed, 1 + seed as usize * 37 % 20_000);
            send.send((seed, writer.publish(&data).expect("there is room"))).expect("the reader waits for all");
        }
    });
    // A frame that has waited for a lap is gone for certain: the reader begins late.
    common::wait_until("some laps have passed", || ring.head() > 3 * ring.capacity());
    let (mut delivered, mut timeouts) = (0, 0);
    for (seed, frame) in receive {
        match reader.read_frame(&frame) {
            Ok(data) => {
                assert!(data.len() as u64 == frame.size && is_payload(seed, &data), "frame {seed} is intact");
                delivered += 1;
            }
            Err(Error::Timeout(error)) => {
                assert!(matches!(error.reason, TimeoutReason::Overwritten { .. }), "{error}");
                timeouts += 1;
            }
            Err(error) => panic!("frame {seed}: {}", chain(&error)),
        }
    }
    writing.join().expect("the writer is well");
    assert_eq!(delivered + timeouts, FRAMES);
    assert!(delivered > 0 && timeouts > 0, "{delivered} delivered, {timeouts} timed out");
}

#[test]
fn a_frame_is_written_once() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let offset = ring.server.allocate(100).expect("there is room");
    let unwritten = Frame::new(offset, 100, Checksum::of(&[0; 100]));
    assert_eq!(timeout(client.read_frame(&unwritten), &unwritten), TimeoutReason::NotWritten);

    let data = payload(1, 60);
    let checksum = client.write(offset, &data).expect("shorter than allocated is fine");
    assert_eq!(checksum, Checksum::of(&data));
    for second in [&data[..], &[0; 100], &[]] {
        let error = client.write(offset, second).expect_err("it is written");
        assert!(matches!(error, Error::AlreadyWritten { offset: o } if o == offset), "{}", chain(&error));
    }
    assert_eq!(client.read(offset, 60, checksum).expect("the first write counts"), data);
    let published = client.publish(&data).expect("there is room");
    assert!(matches!(client.write(published.offset, &data), Err(Error::AlreadyWritten { .. })));
}

#[test]
fn a_write_longer_than_its_allocation_is_refused_and_changes_nothing() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let offset = client.allocate(100).expect("there is room");
    let neighbour = client.publish(&payload(2, 100)).expect("there is room");
    for len in [101, 128, 1000, 65_536, 10 << 20] {
        let error = client.write(offset, &vec![9; len]).expect_err("too long");
        let named = matches!(error, Error::TooLarge { len: l, allocated: 100 } if l == len as u64);
        assert!(named, "{len} bytes: {}", chain(&error));
    }
    assert!(is_payload(2, &client.read_frame(&neighbour).expect("it is there")));
    let checksum = client.write(offset, &payload(1, 100)).expect("as long as allocated is fine, also after that");
    assert!(is_payload(1, &client.read(offset, 100, checksum).expect("it is there")));
}

#[test]
fn an_offset_that_was_never_allocated_is_refused() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    let head = ring.head();
    let inside = frame.offset + 2 * FRAME_ALIGN;
    let beyond = head + FRAME_ALIGN;
    let last = u64::MAX - (FRAME_ALIGN - 1);
    for offset in
        [0, 1, HEADER_SIZE - 1, frame.offset + 1, frame.offset - 1, inside, head, beyond, beyond + 1, 1 << 40, last]
    {
        let wrong = Frame { offset, ..frame };
        for error in [
            client.read_frame(&wrong).map(|_| ()).expect_err("no such frame"),
            client.view(&wrong).map(|_| ()).expect_err("no such frame"),
            client.write(offset, &[1]).map(|_| ()).expect_err("no such frame"),
        ] {
            let named = matches!(error, Error::NeverAllocated { offset: o, head: h } if o == offset && h == head);
            assert!(named, "{offset}: {}", chain(&error));
            assert!(chain(&error).contains(&offset.to_string()));
        }
    }
    assert!(is_payload(1, &client.read_frame(&frame).expect("nothing has happened to it")));
}

#[test]
fn what_was_promised_must_match_what_was_written() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    let promised = Checksum::from_u64(7);
    let wrong = Frame { checksum: promised, ..frame };
    let reason = timeout(client.read_frame(&wrong), &wrong);
    assert_eq!(reason, TimeoutReason::ChecksumMismatch { promised, found: frame.checksum });
    for size in [0, 999, 1001, 65_536] {
        let wrong = Frame { size, ..frame };
        let reason = timeout(client.view(&wrong), &wrong);
        assert_eq!(reason, TimeoutReason::SizeMismatch { promised: size, committed: 1000 });
        assert_eq!(reason.label(), "mismatch");
    }
    for len in [0, 999, 1001] {
        let error = client.read_into(&frame, &mut vec![0; len]).expect_err("another length");
        assert!(matches!(error, Error::BufferLength { len: l, size: 1000 } if l == len as u64), "{}", chain(&error));
    }
}

#[test]
fn more_than_the_ring_holds_is_refused() {
    let ring = TestRing::new(10_000);
    let client = ring.client();
    let head = ring.head();
    let frame = |size| Frame::new(HEADER_SIZE, size, Checksum::of(&[]));
    for size in [10_001, 70_000, 1 << 40, u64::MAX - HEADER_SIZE, u64::MAX] {
        let mut errors = vec![
            client.allocate(size).map(|_| ()),
            ring.server.allocate(size).map(|_| ()),
            client.loan(size).map(|_| ()),
            client.view(&frame(size)).map(|_| ()),
            client.read_frame(&frame(size)).map(|_| ()),
        ];
        if size < 100_000 {
            errors.push(client.publish(&vec![0; size as usize]).map(|_| ()));
        }
        for error in errors {
            let error = error.expect_err("larger than the ring");
            let named = matches!(error, Error::LargerThanRing { size: s, limit: 10_000 } if s == size);
            assert!(named, "{size}: {}", chain(&error));
            assert!(chain(&error).contains("10000"));
        }
    }
    assert_eq!(ring.head(), head, "nothing was allocated");
}

#[test]
fn the_ring_keeps_as_many_frames_as_it_says_whatever_their_size() {
    let ring = TestRing::new(1 << 20);
    let client = ring.client();
    for size in [0, 1, 64, 65, 1000, 4096, 16_384, 32_769, 100_000, 1 << 20] {
        let kept = ring.server.frames_kept(size) as usize;
        let data = vec![7; size as usize];
        let frames: Vec<_> = (0..=2 * kept).map(|_| client.publish(&data).expect("there is room")).collect();
        for frame in &frames[frames.len() - kept..] {
            assert_eq!(client.read_frame(frame).expect("it is among the last"), data, "{kept} frames of {size} bytes");
        }
        assert!(client.read_frame(&frames[frames.len() - kept - 1]).is_err(), "it keeps more than it says");
        if size >= 32 << 10 {
            assert!(kept as u64 * size + size > 1 << 20, "{kept} frames of {size} bytes are not the last MiB");
        }
    }
    assert_eq!(ring.server.frames_kept((1 << 20) + 1), 0);
}

#[test]
fn counters_add_up_over_participants_that_come_and_go() {
    let ring = TestRing::new(64 << 10);
    for round in 1..=5_u64 {
        let client = ring.client();
        let frame = client.publish(&[1; 100]).expect("there is room");
        let offset = ring.server.allocate(50).expect("there is room");
        let unwritten = Frame::new(offset, 50, frame.checksum);
        timeout(client.view(&unwritten), &unwritten);
        client.write(offset, &[1; 30]).expect("it is ours");
        drop(client.loan(7).expect("there is room"));
        client.read_frame(&frame).expect("it is there");
        client.read_into(&frame, &mut [0; 100]).expect("it is there");
        drop(client.view(&frame).expect("it is there"));
        let wrong = Frame { size: 99, ..frame };
        timeout(client.view(&wrong), &wrong);
        let stats = client.stats().expect("stats");
        assert_eq!(stats.counters, ring.server.stats().expect("stats").counters);
        let counters = stats.counters;
        assert_eq!((counters.allocations, counters.allocated_bytes), (3 * round, 157 * round));
        assert_eq!((counters.frames_written, counters.bytes_written), (2 * round, 130 * round));
        assert_eq!((counters.frames_read, counters.bytes_read), (2 * round, 200 * round));
        assert_eq!((counters.views, counters.timeouts_not_written, counters.timeouts_mismatch), (round, round, round));
        assert_eq!((counters.hops, counters.exhausted, counters.reaped, counters.timeouts_overwritten), (0, 0, 0, 0));
        assert_eq!((stats.participants, stats.pins, stats.size), (2, 0, 64 << 10));
        assert_eq!(stats.head, round * (length(100) + length(50) + length(7)));
        assert_eq!(framebuffer::stat(ring.dir.path(), &key()).expect("stats"), stats);
    }
}

#[test]
fn a_frame_of_no_bytes_is_a_frame() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frames: Vec<_> = (0..3000).map(|_| client.publish(&[]).expect("there is room")).collect();
    let kept = (ring.capacity() / length(0)) as usize;
    let (gone, kept) = frames.split_at(frames.len() - kept);
    for frame in gone {
        assert!(matches!(timeout(client.read_frame(frame), frame), TimeoutReason::Overwritten { .. }));
    }
    for frame in kept {
        assert!(client.read_frame(frame).expect("it is there").is_empty());
        assert!(client.view(frame).expect("it is there").is_empty());
    }
}

#[test]
fn a_stopped_client_says_so_and_can_start_again() {
    let ring = TestRing::new(64 << 10);
    let mut client = ring.client();
    let frame = client.publish(&[1; 100]).expect("there is room");
    client.start().expect("starting twice is fine");
    client.stop();
    client.stop();
    assert_eq!(ring.server.stats().expect("stats").participants, 1);
    for error in [
        client.publish(&[1]).map(|_| ()).expect_err("stopped"),
        client.allocate(1).map(|_| ()).expect_err("stopped"),
        client.write(HEADER_SIZE, &[1]).map(|_| ()).expect_err("stopped"),
        client.read_frame(&frame).map(|_| ()).expect_err("stopped"),
        client.read_into(&frame, &mut [0; 100]).expect_err("stopped"),
        client.view(&frame).map(|_| ()).expect_err("stopped"),
        client.loan(1).map(|_| ()).expect_err("stopped"),
        client.size().map(|_| ()).expect_err("stopped"),
        client.stats().map(|_| ()).expect_err("stopped"),
    ] {
        assert!(matches!(error, Error::Stopped), "{}", chain(&error));
    }
    client.start().expect("the ring is there");
    assert_eq!(client.read_frame(&frame).expect("it is there"), [1; 100]);
}

#[test]
fn clients_of_a_server_that_stopped_keep_their_views_and_are_told() {
    let mut ring = TestRing::new(64 << 10);
    let old = ring.client();
    let frame = old.publish(&[1; 100]).expect("there is room");
    let view = old.view(&frame).expect("it is there");
    ring.server.stop().expect("it can be removed");
    ring.server.stop().expect("stopping twice is fine");
    assert!(matches!(ring.server.allocate(1), Err(Error::Stopped)));
    assert!(matches!(ring.server.stats(), Err(Error::Stopped)));
    assert!(matches!(ring.server.reap(), Err(Error::Stopped)));
    assert!(!common::segment_path(&ring.dir).exists());
    assert!(matches!(old.publish(&[1; 100]), Err(Error::Retired)));
    assert!(matches!(old.read_frame(&frame), Err(Error::Retired)));
    assert_eq!(old.stats().expect("it can still be looked at").pins, 1);
    assert_eq!(*view, [1; 100], "the ring lives as long as somebody has it");

    ring.server.start().expect("the key is free");
    assert!(!ring.server.adopted());
    let new = ring.client();
    assert_eq!(ring.head(), 0, "it is another ring");
    assert!(matches!(new.read_frame(&frame), Err(Error::OtherRing { .. })));
    let unnamed = Frame { ring: None, ..frame };
    assert!(matches!(new.read_frame(&unnamed), Err(Error::NeverAllocated { .. })));
}

#[test]
fn offsets_keep_growing_after_adoption() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let start = || {
        let options = FrameBufferServer::options(64 << 10).key(key()).dir(dir.path());
        options.keep(true).prefault(Prefault::Off).start().expect("a ring")
    };
    let mut server = start();
    assert!(!server.adopted());
    let client = client_in(&dir);
    let mut last = 0;
    for round in 0..20 {
        let offset = server.allocate(10_000).expect("there is room");
        assert!(offset > last);
        last = offset;
        let checksum = client.write(offset, &payload(round, 10_000)).expect("it is ours");
        drop(server);
        assert!(common::segment_path(&dir).exists(), "it is kept");
        server = start();
        assert!(server.adopted());
        assert!(is_payload(round, &client.read(offset, 10_000, checksum).expect("no frame is lost")));
    }
}
