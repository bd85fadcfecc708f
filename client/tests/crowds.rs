//! Many clients, many views: who gets a slot, who gives one back, and who is refused.

mod common;

use common::{TestRing, chain, client_in, folder, key, options, payload};
use framebuffer::layout::{PARTICIPANTS, PINS};
use framebuffer::{Error, FrameBufferClient, SegmentError};
use tempfile::TempDir;

fn open(dir: &TempDir) -> Result<FrameBufferClient, SegmentError> {
    FrameBufferClient::options(key()).dir(dir.path()).prefault(framebuffer::Prefault::Off).open()
}

fn participants(ring: &TestRing) -> usize {
    ring.server.stats().expect("stats").participants
}

#[test]
fn one_client_with_many_views_leaves_slots_for_others_and_is_told_so() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frame = client.publish(&[1; 100]).expect("there is room");
    let mut views = Vec::new();
    let error = loop {
        match client.view(&frame) {
            Ok(view) => views.push(view),
            Err(error) => break error,
        }
        assert!(views.len() <= PINS * PARTICIPANTS, "there are no more pins than that");
    };
    let Error::Join(SegmentError::PinsFull { pins, participants: PARTICIPANTS, left }) = error else {
        panic!("{}", chain(&error))
    };
    assert_eq!(pins, views.len());
    assert!(chain(&error).contains("release views"), "{}", chain(&error));
    for error in [client.publish(&[1]).map(|_| ()), client.loan(1).map(|_| ()), client.allocate(1).map(|_| ())] {
        let error = error.expect_err("no pin is left");
        assert!(matches!(error, Error::Join(SegmentError::PinsFull { .. })), "{}", chain(&error));
    }
    let others: Vec<_> = (0..left).map(|_| ring.client()).collect();
    for other in &others {
        assert_eq!(other.read_frame(&frame).expect("others are not concerned"), [1; 100]);
    }
    drop(views.pop());
    assert_eq!(client.read_frame(&frame).expect("one view fewer, one operation more"), [1; 100]);
    drop(views);
    assert_eq!(participants(&ring), 2 + left, "the slots are given back");
}

/// Whatever order views are released in, the slots that they took are given back; and none while it is in use.
#[test]
fn a_burst_of_views_gives_its_slots_back_in_whatever_order_they_are_released() {
    type Order = fn(usize) -> Vec<usize>;
    let orders: [Order; 3] = [
        |count| (0..count).collect(),
        |count| (0..count).rev().collect(),
        |count| (0..count).map(|number| number * 7 % count).collect(),
    ];
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frames: Vec<_> = (0..10).map(|seed| client.publish(&payload(seed, 100)).expect("there is room")).collect();
    for order in orders {
        let count = 10 * PINS + 1;
        let view = |number: usize| Some(client.view(&frames[number % 10]).expect("there are slots"));
        let mut views: Vec<_> = (0..count).map(view).collect();
        assert_eq!(participants(&ring), 1 + 11);
        for (done, number) in order(count).into_iter().enumerate() {
            views[number] = None;
            assert_eq!(ring.server.stats().expect("stats").pins, count - done - 1);
        }
        assert_eq!(participants(&ring), 2);
    }
}

#[test]
fn two_threads_at_the_edge_of_a_slot_lose_no_pin() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let frame = client.publish(&payload(1, 100)).expect("there is room");
    let most: Vec<_> = (0..PINS / 2).map(|_| client.view(&frame).expect("there are pins")).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let views: Vec<_> = (0..PINS).map(|_| client.view(&frame).expect("there are slots")).collect();
                    assert!(views.iter().all(|view| view.is_protected() && common::is_payload(1, view)));
                }
            });
        }
    });
    let stats = ring.server.stats().expect("stats");
    assert_eq!((stats.pins, stats.participants), (most.len(), 2));
}

#[test]
fn the_owner_joins_its_ring_however_many_clients_there_are() {
    let dir = folder();
    let server = options(&dir).keep(true).start().expect("a ring");
    let mut clients: Vec<_> = (0..PARTICIPANTS - 1).map(|_| client_in(&dir)).collect();
    let error = open(&dir).map(|_| ()).expect_err("no slot is left");
    assert!(matches!(error, SegmentError::ParticipantsFull { limit: PARTICIPANTS }), "{}", chain(&error));
    drop(server);
    open(&dir).map(|_| ()).expect_err("the owner's slot is for the owner");
    let server = options(&dir).keep(true).start().expect("its slot was left free");
    server.allocate(100).expect("it serves");
    drop(clients.pop());
    client_in(&dir).publish(&[1]).expect("a slot is free again");
}
