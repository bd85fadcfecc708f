//! A program scribbles on the segment without this library. That may stop the traffic, but makes nobody crash, hang, or
//! touch memory outside the ring. The findings of `fuzz/fuzz_targets/control_block.rs` are kept here.

mod common;

use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use common::{Random, TestRing, chain, payload, segment_path};
use framebuffer::layout::{
    CHANNEL_SIZE, CHANNELS, CHANNELS_OFFSET, ChannelWords, Control, ENROLLED_WORDS, FRAME_ALIGN, FrameHeader,
    HEADER_SIZE, INDEXES_OFFSET, PARTICIPANTS, PINS, PinWords, RING_OFFSET, Slot, active_offset, slot_offset,
};
use framebuffer::{Descriptor, Error, Frame, Start};

const SIZE: u64 = 64 << 10;

/// The file of the ring's segment, open for scribbling.
fn segment(ring: &TestRing) -> File {
    OpenOptions::new().read(true).write(true).open(segment_path(&ring.dir)).expect("the segment")
}

fn scribble(file: &File, at: u64, value: u64) {
    file.write_all_at(&value.to_le_bytes(), at).expect("it can be written");
}

/// Where a field of the frame's header is in the file.
fn header(frame_offset: u64, field: usize) -> u64 {
    RING_OFFSET + frame_offset - HEADER_SIZE + field as u64
}

/// Where a field of a slot is in the file.
fn slot(index: usize, field: usize) -> u64 {
    slot_offset(index) + field as u64
}

/// Makes a pin of a slot the range from `start` to `end`.
fn scribble_pin(file: &File, index: usize, pin: usize, start: u64, end: u64) {
    let words = slot(index, offset_of!(Slot, pins) + pin * size_of::<PinWords>());
    scribble(file, words + offset_of!(PinWords, start) as u64, start);
    scribble(file, words + offset_of!(PinWords, end) as u64, end);
}

#[test]
fn a_header_that_claims_more_than_the_ring_does_not_let_a_write_leave_it() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let offset = client.allocate(100).expect("there is room");
    scribble(&segment(&ring), header(offset, offset_of!(FrameHeader, allocated)), u64::MAX);
    for len in [SIZE as usize + 1, 1 << 20, 16 << 20] {
        let error = client.write(offset, &vec![1; len]).expect_err("longer than the ring");
        assert!(matches!(error, Error::TooLarge { allocated: SIZE, .. }), "{}", chain(&error));
    }
}

#[test]
fn a_header_that_claims_more_than_the_ring_does_not_let_a_read_leave_it() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let frame = client.publish(&payload(1, 100)).expect("there is room");
    for size in [SIZE + 1, 1 << 30, u64::MAX] {
        scribble(&segment(&ring), header(frame.offset, offset_of!(FrameHeader, length)), size);
        let promised = Frame { size, ..frame };
        let error = client.view(&promised).map(|_| ()).expect_err("longer than the ring");
        assert!(matches!(error, Error::LargerThanRing { limit: SIZE, .. }), "{}", chain(&error));
        client.read_frame(&promised).expect_err("longer than the ring");
        client.read_frame(&frame).expect_err("not what the header says");
    }
    // What the header claims and is mapped can be read, but is not taken for the frame.
    scribble(&segment(&ring), header(frame.offset, offset_of!(FrameHeader, length)), SIZE);
    client.read_frame(&Frame { size: SIZE, ..frame }).expect_err("the checksum says otherwise");
    client
        .view(&Frame { size: SIZE, ..frame })
        .expect("it is mapped")
        .verify()
        .expect_err("the checksum says otherwise");
}

#[test]
fn pins_from_nowhere_neither_hang_an_allocation_nor_stay() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    client.publish(&payload(1, 50_000)).expect("there is room");
    let file = segment(&ring);
    for word in 0..ENROLLED_WORDS {
        scribble(&file, (offset_of!(Control, enrolled) + word * size_of::<u64>()) as u64, u64::MAX);
    }
    for index in 2..PARTICIPANTS {
        scribble(&file, active_offset(index), u64::MAX);
        for pin in 0..PINS {
            // All over the ring, genuine, empty, backwards, endless and unaligned ones.
            let start = index as u64 * FRAME_ALIGN + pin as u64;
            scribble_pin(&file, index, pin, start, [start + FRAME_ALIGN, start, 0, u64::MAX][pin % 4]);
        }
    }
    for seed in 0..100 {
        let frame = client.publish(&payload(seed, 10_000)).expect("nobody is behind those pins");
        assert_eq!(client.read_frame(&frame).expect("it is there"), payload(seed, 10_000));
    }
    ring.server.reap().expect("it serves");
    let stats = ring.server.stats().expect("stats");
    assert_eq!((stats.participants, stats.pins), (2, 0));
}

#[test]
fn pins_in_the_slot_of_a_living_participant_exhaust_the_ring_at_worst() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    while ring.head() < 2 * ring.capacity() {
        client.publish(&payload(1, 10_000)).expect("there is room");
    }
    let file = segment(&ring);
    // The server has the first slot. Its other pins cover the ring, and are too unaligned to be a frame's.
    scribble(&file, active_offset(0), u64::MAX << 1);
    for pin in 1..PINS {
        let start = ring.capacity() + pin as u64 * 1984 + 1;
        scribble_pin(&file, 0, pin, start, start + 1900);
    }
    let error = client.publish(&payload(1, 10_000)).expect_err("the whole ring is held");
    assert!(matches!(error, Error::Exhausted { .. }), "{}", chain(&error));
    let _ = ring.server.allocate(10);
}

#[test]
fn a_participant_whose_slot_was_scribbled_on_joins_anew() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    for value in [0, 7, u64::MAX] {
        // The client has the second slot at first, a later one after each of these.
        for index in 1..4 {
            scribble(&segment(&ring), slot(index, offset_of!(Slot, incarnation)), value);
        }
        assert_eq!(client.read_frame(&frame).expect("it is there"), payload(1, 1000));
        client.publish(&payload(2, 100)).expect("there is room");
    }
}

#[test]
fn a_head_that_jumps_makes_no_bytes_wrong() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let frames: Vec<_> = (0..5).map(|seed| client.publish(&payload(seed, 10_000)).expect("there is room")).collect();
    for head in [0, FRAME_ALIGN, 1 << 40, (1 << 63) - FRAME_ALIGN, 1 << 63, u64::MAX, 12_345] {
        scribble(&segment(&ring), offset_of!(Control, head) as u64, head);
        for (seed, frame) in frames.iter().enumerate() {
            if let Ok(data) = client.read_frame(frame) {
                assert_eq!(data, payload(seed as u64, 10_000));
            }
        }
        let _ = ring.server.stats().expect("stats");
        if let Ok(frame) = client.publish(&payload(9, 1000)) {
            let _ = client.read_frame(&frame);
        }
    }
}

/// Anywhere in the channels, their indexes and the frames, with values that mean something there.
#[test]
fn whatever_is_scribbled_on_channels_nobody_crashes_or_hangs() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let file = segment(&ring);
    let mut random = Random::new(1);
    for round in 0..3000_u64 {
        let name = format!("channel-{}", random.below(3));
        let of_value = |random: &mut Random| match random.below(6) {
            0 => u64::MAX - random.below(3),
            1 => 1 << random.below(64),
            2 => random.below(5000),
            3 => ring.head().wrapping_sub(random.below(SIZE)) / FRAME_ALIGN * FRAME_ALIGN + random.below(64),
            4 => 0,
            _ => random.next(),
        };
        // Errors are fine: of a name that is gone, of a channel that is full, of a content type that has changed.
        let keep = random.below(4) as usize;
        let (publisher, subscriber) = (
            client.publisher_options(&name).keep(keep).content_type("text/plain").open(),
            client.subscriber_options(&name).start(Start::Oldest),
        );
        let subscriber = if random.below(3) == 0 { subscriber.lossless() } else { subscriber }.open();
        for _ in 0..20 {
            let at = match random.below(4) {
                0 => {
                    random.below(CHANNELS as u64) * CHANNEL_SIZE + CHANNELS_OFFSET + random.below(CHANNEL_SIZE / 8) * 8
                }
                1 => INDEXES_OFFSET + random.below((RING_OFFSET - INDEXES_OFFSET) / 8) * 8,
                2 => RING_OFFSET + random.below(SIZE / 8) * 8,
                // The channels that are in use: their tails.
                _ => {
                    let in_use =
                        (0..CHANNELS as u64).map(|place| CHANNELS_OFFSET + place * CHANNEL_SIZE).filter(|at| {
                            let mut hash = [0; 8];
                            file.read_exact_at(&mut hash, *at).expect("the segment");
                            hash != [0; 8]
                        });
                    let in_use: Vec<_> = in_use.collect();
                    let tail = offset_of!(ChannelWords, tail) as u64 + random.below(4) * 8;
                    in_use.get(random.below(64) as usize % in_use.len().max(1)).map_or(CHANNELS_OFFSET, |at| at + tail)
                }
            };
            scribble(&file, at, of_value(&mut random));
        }
        if let Ok(mut publisher) = publisher {
            for _ in 0..3 {
                let _ = publisher.send_timeout(&payload(round, 700), &Descriptor::new(), Duration::from_millis(1));
            }
        }
        if let Ok(mut subscriber) = subscriber {
            for _ in 0..10 {
                // Each of them first: what one skips the next does not see.
                let received = match random.below(3) {
                    0 => subscriber.try_next(),
                    1 => subscriber.latest(),
                    _ => subscriber.next(Duration::from_micros(10)),
                };
                // Whatever is received is in the ring, and can be hashed.
                if let Ok(Some(sample)) = received {
                    let _ = (sample.view().verify(), sample.descriptor().check(sample.len() as u64));
                }
            }
        }
        let _ = client.channels().expect("they can be listed");
    }
    // Plain frames have nothing to do with it.
    let frame = client.publish(&payload(5, 1000)).expect("there is room");
    assert!(common::is_payload(5, &client.read_frame(&frame).expect("it is there")));
}
