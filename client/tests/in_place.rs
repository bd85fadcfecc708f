//! Frames in place: loans and views, which occupy a part of the ring for as long as they live.

mod common;

use common::{TestRing, chain, is_payload, length, move_on, payload, timeout};
use framebuffer::layout::{FRAME_ALIGN, HEADER_SIZE, PINS};
use framebuffer::{Checksum, Error, Frame, TimeoutReason};

#[test]
fn a_view_is_never_overwritten_while_thousands_of_laps_pass_and_the_writer_never_waits() {
    let ring = TestRing::new(64 << 10);
    let (reader, writer) = (ring.client(), ring.client());
    let frame = writer.publish(&payload(1, 5000)).expect("there is room");
    let view = reader.view(&frame).expect("it is there");
    let mut seed = 2;
    while ring.head() / ring.capacity() < 3000 {
        let data = payload(seed, 20_000);
        let newest = writer.publish(&data).expect("the writer goes around the view");
        assert_eq!(*writer.view(&newest).expect("it is there"), *data);
        assert!(is_payload(1, &view), "after {} laps", ring.head() / ring.capacity());
        seed += 1;
    }
    view.verify().expect("the view is whole");
    let hops = ring.server.stats().expect("stats").counters.hops;
    assert!((2900..=3100).contains(&hops), "about one hop for each lap, not {hops}");
    // The view is whole, but nobody new can have it: the ring has moved on.
    assert!(matches!(timeout(reader.view(&frame), &frame), TimeoutReason::Overwritten { laps: 2999.., .. }));
    drop(view);
    let before = ring.server.stats().expect("stats").counters.hops;
    move_on(&writer, 4 * ring.capacity(), 20_000);
    assert_eq!(ring.server.stats().expect("stats").counters.hops, before, "nothing is in the way any more");
}

#[test]
fn a_dropped_loan_is_never_readable() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let offset = ring.head() + HEADER_SIZE;
    let mut loan = client.loan(100).expect("there is room");
    loan.copy_from_slice(&payload(1, 100));
    let frame = Frame::new(offset, 100, Checksum::of(&loan));
    assert_eq!(timeout(client.read_frame(&frame), &frame), TimeoutReason::NotWritten, "while it is lent");
    drop(loan);
    assert_eq!(timeout(client.read_frame(&frame), &frame), TimeoutReason::NotWritten, "after it was given back");
    assert!(matches!(client.write(offset, &[0; 100]), Err(Error::AlreadyWritten { offset: o }) if o == offset));
    assert_eq!(ring.server.stats().expect("stats").pins, 0);
}

#[test]
fn a_loan_is_written_in_place_and_can_be_truncated() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    for (size, len) in [(1000, 300), (1000, 0), (1000, 1000), (1000, 5000), (0, 0)] {
        let mut loan = client.loan(size).expect("there is room");
        assert_eq!(loan.len() as u64, size);
        assert_eq!(loan.as_ptr() as u64 % FRAME_ALIGN, 0, "aligned to a cache line");
        common::fill(size, &mut loan);
        loan.truncate(len);
        let frame = loan.commit().expect("it is ours");
        assert_eq!(frame.size, size.min(len));
        assert!(is_payload(size, &client.read_frame(&frame).expect("it is there")));
    }
}

#[test]
fn a_frame_that_nobody_hashed_is_read_as_any_other_until_the_ring_moves_on() {
    let ring = TestRing::new(64 << 10);
    let (writer, reader) = (ring.client(), ring.client());
    let bytes = payload(1, 5000);
    let mut loan = writer.loan(5000).expect("there is room");
    loan.copy_from_slice(&bytes);
    let frame = loan.commit_unhashed().expect("not forked");
    assert_ne!(frame.checksum, Checksum::of(&bytes));

    let view = reader.view(&frame).expect("just written");
    assert!(!view.is_hashed() && *view == *bytes);
    view.verify().expect("nothing was promised of the bytes");
    drop(view);
    assert_eq!(reader.read_frame(&frame).expect("just written"), bytes);
    let other = Frame { checksum: Checksum::of(b"another frame"), ..frame };
    let reason = timeout(reader.read_frame(&other), &other);
    assert!(matches!(reason, TimeoutReason::ChecksumMismatch { .. }), "{reason}");

    for _ in 0..=ring.capacity() / 5000 {
        writer.publish(&bytes).expect("there is room");
    }
    let reason = timeout(reader.view(&frame), &frame);
    assert!(matches!(reason, TimeoutReason::Overwritten { .. }), "{reason}");
}

#[test]
fn a_ring_full_of_views_is_exhausted_and_loses_no_frame() {
    let ring = TestRing::new(64 << 10);
    assert_eq!(ring.capacity(), 128 << 10);
    let client = ring.client();
    let frames: Vec<_> = (0..3).map(|seed| client.publish(&payload(seed, 40_000)).expect("there is room")).collect();
    let mut views: Vec<_> = frames.iter().map(|frame| client.view(frame).expect("it is there")).collect();
    let head = ring.head();
    let gap = ring.capacity() - 3 * length(40_000) - HEADER_SIZE;
    for _ in 0..10 {
        let error = client.publish(&payload(9, 20_000)).expect_err("there is no room");
        let Error::Exhausted { size: 20_000, pins: 3, largest_free } = error else { panic!("{}", chain(&error)) };
        assert_eq!(largest_free, gap);
        assert!(matches!(ring.server.allocate(20_000), Err(Error::Exhausted { size: 20_000, pins: 3, .. })));
    }
    assert_eq!(ring.head(), head, "the attempts moved nothing");
    for (seed, frame) in frames.iter().enumerate() {
        assert!(is_payload(seed as u64, &client.read_frame(frame).expect("no frame is lost")));
    }
    assert_eq!(ring.server.stats().expect("stats").counters.exhausted, 20);

    client.publish(&payload(9, gap as usize)).expect("what fits into the gap still fits");
    client.publish(&vec![0; gap as usize + 1]).expect_err("what does not fit is refused");
    drop(views.remove(1));
    client.publish(&payload(10, 40_000)).expect("a view that is closed makes room");
    assert!(is_payload(0, &views[0]) && is_payload(2, &views[1]));
}

#[test]
fn more_views_at_once_than_a_slot_has_pins_take_another_slot() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frames: Vec<_> = (0..200).map(|seed| client.publish(&payload(seed, 100)).expect("there is room")).collect();
    let participants = || ring.server.stats().expect("stats").participants;
    let mut views = Vec::new();
    for (open, frame) in frames.iter().enumerate() {
        assert_eq!(participants(), 2 + open.saturating_sub(1) / PINS, "{open} views");
        views.push(client.view(frame).expect("there are slots"));
    }
    assert_eq!(ring.server.stats().expect("stats").pins, 200);
    for round in 0..1000 {
        client.publish(&payload(round, 20_000)).expect("there is room between the views");
    }
    for (seed, view) in views.iter().enumerate() {
        assert!(is_payload(seed as u64, view), "view {seed}");
    }
    drop(views);
    assert_eq!(ring.server.stats().expect("stats").pins, 0);
    assert_eq!(participants(), 2, "the slots of the burst are given back");
    drop(client);
    assert_eq!(participants(), 1, "the client gave all its slots back");
}
