//! A ring with a window: where frames come to lie, and how long they stay.

mod common;

use std::time::Duration;

use common::{client_in, folder, is_payload, key, length, options, payload, timeout};
use framebuffer::{ChannelError, Error, FrameBufferClient, FrameBufferServer, Prefault, Window};
use tempfile::TempDir;

const RING: u64 = 1 << 20;
const WINDOW: u64 = 64 << 10;
const SIZE: usize = 4000;

fn ring(window: Window) -> (FrameBufferServer, FrameBufferClient, TempDir) {
    let dir = folder();
    let options = FrameBufferServer::options(RING).key(key()).dir(dir.path()).prefault(Prefault::Off);
    let server = options.window(window).start().expect("a ring");
    let client = client_in(&dir);
    (server, client, dir)
}

/// Where a position lies in the ring.
fn place(server: &FrameBufferServer, offset: u64) -> u64 {
    offset % server.stats().expect("stats").capacity
}

#[test]
fn frames_that_nobody_holds_stay_for_as_many_bytes_as_the_window_has() {
    let (server, client, _dir) = ring(Window::Bytes(WINDOW));
    let kept = server.frames_kept(SIZE as u64) as usize;
    assert_eq!(kept as u64, WINDOW / length(SIZE as u64));
    let frames: Vec<_> = (0..200).map(|seed| client.publish(&payload(seed, SIZE)).expect("there is room")).collect();
    for frame in &frames {
        assert!(place(&server, frame.offset) + SIZE as u64 <= WINDOW);
    }
    let (gone, there) = frames.split_at(frames.len() - kept);
    for (seed, frame) in (gone.len() as u64..).zip(there) {
        assert!(is_payload(seed, &client.read_frame(frame).expect("it is still there")));
    }
    for frame in gone {
        assert_eq!(timeout(client.read_frame(frame), frame).label(), "overwritten");
    }
}

#[test]
fn what_is_held_stays_and_frames_go_beyond_the_window_until_it_is_let_go() {
    let (server, client, _dir) = ring(Window::Bytes(WINDOW));
    let mut views = Vec::new();
    let mut places = Vec::new();
    for seed in 0..240 {
        let frame = client.publish(&payload(seed, SIZE)).expect("the ring has room for 256");
        places.push(place(&server, frame.offset));
        views.push(client.view(&frame).expect("it is there"));
        if views.len() > 60 {
            // Its participant has no more pins than 64.
            views.remove(0);
        }
    }
    for (seed, view) in (180..).zip(&views) {
        assert!(is_payload(seed, view), "a view has changed");
    }
    assert!(places.iter().any(|place| *place > 2 * WINDOW), "{places:?}");
    views.clear();
    for seed in 0..3 {
        let frame = client.publish(&payload(seed, SIZE)).expect("there is room");
        assert!(place(&server, frame.offset) + SIZE as u64 <= WINDOW);
    }
}

#[test]
fn frames_that_nobody_holds_stay_as_long_however_much_of_the_window_is_held() {
    let (server, client, _dir) = ring(Window::Bytes(WINDOW));
    let kept = server.frames_kept(SIZE as u64) as usize;
    // All of the window but two frames, and then what is behind it.
    let held: Vec<_> = (0..kept - 2)
        .map(|seed| client.publish(&payload(seed as u64, SIZE)).expect("there is room"))
        .map(|frame| client.view(&frame).expect("it is there"))
        .collect();
    let frames: Vec<_> = (0..100).map(|seed| client.publish(&payload(seed, SIZE)).expect("there is room")).collect();
    for (seed, frame) in (100 - kept as u64..).zip(&frames[100 - kept..]) {
        assert!(is_payload(seed, &client.read_frame(frame).expect("it is still there")));
    }
    assert!(client.read_frame(&frames[100 - kept - 2]).is_err(), "no longer than that: {}", held.len());
}

#[test]
fn a_lossless_subscriber_loses_nothing_that_its_publisher_keeps_beyond_the_window() {
    let (_server, client, _dir) = ring(Window::Bytes(WINDOW));
    let mut subscriber = client.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut publisher = client.publisher_options("log").keep(32).open().expect("a publisher");
    let (mut sent, mut received) = (0, 0);
    while received < 500 {
        // As far ahead as it may: twice the window.
        match publisher.send(&payload(sent, SIZE)) {
            Ok(_) => sent += 1,
            Err(Error::Channel(ChannelError::Backlog { .. })) => {
                for _ in 0..20 {
                    let frame = subscriber.next(Duration::ZERO).expect("the ring").expect("it was sent");
                    assert!(is_payload(received, &frame));
                    received += 1;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((subscriber.lost(), subscriber.received()), (0, received));
}

#[test]
fn a_window_holds_four_of_the_largest_frames_lately() {
    let (server, client, _dir) = ring(Window::Bytes(WINDOW));
    let large = 100_000;
    assert_eq!(server.frames_kept(large), 4);
    let frames: Vec<_> = (0..9).map(|seed| client.publish(&payload(seed, large as usize)).expect("room")).collect();
    for (seed, frame) in (5..).zip(&frames[5..]) {
        assert!(is_payload(seed, &client.read_frame(frame).expect("one of the last four")));
    }
    assert_eq!(timeout(client.read_frame(&frames[4]), &frames[4]).label(), "overwritten");
    // For a small one, too.
    assert_eq!(server.frames_kept(64), 4 * length(large) / length(64));
}

#[test]
fn a_window_is_bounded_by_the_ring() {
    let kept = |window| ring(window).0.frames_kept(64);
    let whole = kept(Window::Whole);
    assert_eq!(kept(Window::Bytes(u64::MAX)), whole);
    assert_eq!(kept(Window::Auto), whole, "all of a small ring stays in the cache");
    // At least a 64th, or laps would pass too fast.
    assert_eq!(kept(Window::Bytes(0)), whole / 64);
}

#[test]
fn who_adopts_a_ring_sets_its_window() {
    let dir = folder();
    let start = |window| options(&dir).keep(true).window(window).start().expect("a ring");
    let kept = |server: &FrameBufferServer| server.frames_kept(64);
    let first = start(Window::Bytes(8192));
    assert_eq!(kept(&first), 8192 / 128);
    let frame = client_in(&dir).publish(b"stays").expect("there is room");
    drop(first);
    let second = start(Window::Whole);
    assert!(second.adopted() && kept(&second) > 1000);
    assert_eq!(client_in(&dir).read_frame(&frame).expect("it is there"), b"stays");
}
