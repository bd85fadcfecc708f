//! A ring as it looks from outside: its channels, their last frames, and all frames that are there, read from a mapping
//! that cannot be written, while others use the ring.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{Random, TestRing, is_payload, key, payload, segment_path};
use framebuffer::layout::{
    CHANNEL_SIZE, CHANNELS, CHANNELS_OFFSET, Control, INDEXES_OFFSET, RING_OFFSET, SLOT_SIZE, SLOTS_OFFSET,
};
use framebuffer::{ChannelError, Descriptor, Element, Error, FrameInfo, FrameState, Latest, LatestFrame};

const SIZE: u64 = 256 << 10;

fn latest(ring: &TestRing, name: &str) -> Latest {
    framebuffer::latest(ring.dir.path(), &key(), name).expect("the ring is there")
}

fn there(ring: &TestRing, name: &str) -> LatestFrame {
    match latest(ring, name) {
        Latest::There(frame) => frame,
        other => panic!("{other:?}"),
    }
}

fn frames(ring: &TestRing) -> Vec<FrameInfo> {
    framebuffer::frames(ring.dir.path(), &key()).expect("the ring is there").collect()
}

#[test]
fn the_last_frame_of_a_channel_is_described_as_its_subscribers_receive_it() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    assert_eq!(latest(&ring, "robot/depth"), Latest::NoChannel);
    let mut publisher = client.publisher_options("robot/depth").keep(0).open().expect("a publisher");
    assert_eq!(latest(&ring, "robot/depth"), Latest::NothingSent);
    let image = Descriptor::new().element(Element::U16).shape(&[10, 5]).expect("two").fourcc(*b"Z16 ").time(5).user(9);
    for number in 0..3 {
        let sent = publisher.send_with(&payload(number, 100), &image).expect("there is room");
        let found = there(&ring, "robot/depth");
        assert_eq!((found.number, found.frame, found.descriptor, found.hashed), (number, sent.frame, image, true));
        assert!(found.committed.elapsed().expect("a clock") < Duration::from_mins(1));
        assert!(is_payload(number, &client.read_frame(&found.frame).expect("it is there")));
    }
    while client.publish(&payload(0, 10_000)).expect("there is room").offset < 2 * SIZE {}
    assert_eq!(latest(&ring, "robot/depth"), Latest::Overwritten { number: 2 });
    assert!(frames(&ring).iter().all(|frame| frame.channel.is_none()));
}

#[test]
fn a_frame_that_is_kept_can_be_read_by_its_description_however_far_the_ring_has_gone() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let mut publisher = client.publisher("quiet").expect("a publisher");
    publisher.send(&payload(7, 5000)).expect("there is room");
    while client.publish(&payload(0, 10_000)).expect("there is room").offset < 5 * SIZE {}
    let found = there(&ring, "quiet");
    assert!(is_payload(7, &client.read_frame(&found.frame).expect("it is kept")));
    assert!(is_payload(7, &client.view(&found.frame).expect("it is kept")));
    let listed: Vec<_> = frames(&ring).into_iter().filter(|frame| frame.channel.is_some()).collect();
    let [kept] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((kept.offset, kept.number, kept.in_use), (found.frame.offset, Some(0), true));
    drop(publisher);
    assert_eq!(latest(&ring, "quiet"), Latest::Overwritten { number: 0 });
    assert!(matches!(client.read_frame(&found.frame), Err(Error::Timeout(_))));
    assert!(frames(&ring).iter().all(|frame| frame.channel.is_none()));
}

#[test]
fn all_frames_that_are_there_are_listed_with_what_is_known_of_them() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    assert_eq!(frames(&ring), []);
    let mut publisher = client.publisher("camera").expect("a publisher");
    for round in 0..200_u64 {
        let image = Descriptor::new().element(Element::U8).shape(&[10, 70]).expect("two");
        let plain = client.publish(&payload(round, (round % 50) as usize)).expect("there is room");
        let sent = publisher.send_with(&payload(round, 700), &image).expect("there is room");
        let reserved = client.allocate(300).expect("there is room");
        let (loan, empty) = (client.loan(400).expect("there is room"), client.publish(&[]).expect("there is room"));
        let listed = frames(&ring);
        let [.., one, two, three, four, five] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((one.offset, one.size, one.state), (plain.offset, plain.size, FrameState::Committed));
        assert_eq!((one.checksum, one.channel.as_deref(), one.descriptor), (Some(plain.checksum), None, None));
        assert_eq!((two.offset, two.size, two.checksum), (sent.frame.offset, 700, Some(sent.frame.checksum)));
        assert_eq!((two.channel.as_deref(), two.number), (Some("camera"), Some(round)));
        assert_eq!((two.descriptor, two.in_use), (Some(image), true));
        assert_eq!((three.offset, three.size, three.state), (reserved, 300, FrameState::Reserved));
        assert_eq!((three.in_use, three.committed, three.checksum), (false, None, None));
        assert_eq!((four.size, four.state, four.in_use), (loan.len() as u64, FrameState::Writing, true));
        assert_eq!((five.offset, five.size, one.in_use), (empty.offset, 0, false));
    }
    // As many as the ring keeps: none is missing between the oldest and the newest.
    let listed = frames(&ring);
    let oldest = listed[0].offset;
    assert!(ring.head() - oldest > SIZE - 2000, "{oldest} of {}", ring.head());
    assert!(listed.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    for frame in listed.iter().filter(|frame| frame.channel.is_none() && frame.state == FrameState::Committed) {
        let checksum = frame.checksum.expect("it is written");
        client.read(frame.offset, frame.size, checksum).expect("it is there");
    }
}

#[test]
fn what_comes_while_one_looks_is_not_listed() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    client.publish(&payload(0, 100)).expect("there is room");
    client.publisher("first").expect("a publisher").send(&payload(0, 100)).expect("there is room");
    let mut looking = framebuffer::frames(ring.dir.path(), &key()).expect("the ring is there");
    assert_eq!(looking.next().expect("a frame").channel, None);
    client.publisher("second").expect("a publisher").send(&payload(0, 100)).expect("there is room");
    assert_eq!(looking.next().expect("a frame").channel.as_deref(), Some("first"));
    // Nobody can say when that would end.
    assert_eq!(looking.next(), None);
    let channels: Vec<_> = frames(&ring).into_iter().filter_map(|frame| frame.channel).collect();
    assert_eq!(channels, ["first", "second"]);
}

#[test]
fn a_frame_that_was_written_for_a_channel_and_not_sent_has_no_number() {
    let ring = TestRing::new(SIZE);
    let (writer, reader) = (ring.client(), ring.client());
    let mut slow = reader.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut publisher = writer.publisher("log").expect("a publisher");
    let loan = publisher.loan(500).expect("there is room");
    let mut other = writer.publisher("log").expect("a publisher");
    other.send(&payload(0, 100)).expect("nobody is behind");
    match loan.send() {
        Err(Error::Channel(ChannelError::Backlog { unread: 0, .. })) => {}
        other => panic!("{other:?}"),
    }
    // The number that was refused is another frame's now.
    slow.try_next().expect("no error").expect("it was sent");
    other.send(&payload(1, 150)).expect("nobody is behind");
    let listed = frames(&ring);
    let found: Vec<_> = listed.iter().map(|frame| (frame.size, frame.channel.as_deref(), frame.number)).collect();
    assert_eq!(found, [(500, Some("log"), None), (100, Some("log"), Some(0)), (150, Some("log"), Some(1))]);
    assert_eq!(there(&ring, "log").frame.size, 150);
}

#[test]
fn whoever_holds_up_publishers_is_named_with_process_and_backlog() {
    let ring = TestRing::new(SIZE);
    let (writer, reader) = (ring.client(), ring.client());
    let slow = reader.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut publisher = writer.publisher_options("log").keep(3).open().expect("a publisher");
    for number in 0..3 {
        publisher.send(&payload(number, 100)).expect("there is room");
    }
    let listed = framebuffer::channels(ring.dir.path(), &key()).expect("the ring is there");
    let [log] = &listed[..] else { panic!("{listed:?}") };
    let [holder] = &log.lossless[..] else { panic!("{log:?}") };
    assert_eq!((holder.process, holder.next_number, holder.unread), (Some(std::process::id()), 0, 3));
    match publisher.send(b"one more") {
        Err(Error::Channel(ChannelError::Backlog { participant, .. })) => assert_eq!(participant, holder.participant),
        other => panic!("{other:?}"),
    }
    assert_eq!((log.most_unread(), log.metrics().count()), (3, 9));
    drop(slow);
    let listed = framebuffer::channels(ring.dir.path(), &key()).expect("the ring is there");
    assert_eq!((&listed[0].lossless[..], listed[0].most_unread()), (&[][..], 0));

    // A participant that has gone without giving its place up.
    let gone = ring.client();
    std::mem::forget(gone.subscriber_options("log").lossless().open().expect("a subscriber"));
    let lossless = || framebuffer::channels(ring.dir.path(), &key()).expect("the ring is there")[0].lossless.len();
    assert_eq!(lossless(), 1);
    drop(gone);
    assert_eq!(lossless(), 0);
}

/// The index goes around many times, and so does the ring: what is found was there.
#[test]
fn while_a_channel_is_busy_its_last_frame_is_found_and_never_a_mixture() {
    let ring = TestRing::new(64 << 10);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for the thread.
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let client = ring.client();
            let mut publisher = client.publisher("busy").expect("a publisher");
            for number in 0_u64.. {
                let said = Descriptor::new().time(number + 1).user(number ^ 0xff).stride(number);
                publisher.send_with(&payload(0, (number % 900) as usize), &said).expect("there is room");
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        let (mut found, mut last) = (0, 0);
        while found < 5_000 {
            if let Latest::There(LatestFrame { number, frame, descriptor, .. }) = latest(&ring, "busy") {
                assert!(number >= last, "{number} after {last}");
                assert_eq!((descriptor.time_nanoseconds(), descriptor.user_word()), (number + 1, number ^ 0xff));
                assert_eq!((descriptor.row_stride(), frame.size), (number, number % 900));
                (found, last) = (found + 1, number);
            }
            for frame in frames(&ring).iter().filter(|_| found % 100 == 0) {
                let (Some(number), Some(descriptor)) = (frame.number, frame.descriptor) else { continue };
                assert_eq!((descriptor.user_word(), frame.size), (number ^ 0xff, number % 900));
            }
        }
    });
}

/// Stops a thread when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn whatever_is_scribbled_whoever_looks_from_outside_gets_an_answer() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let file = OpenOptions::new().write(true).open(segment_path(&ring.dir)).expect("the segment");
    let mut random = Random::new(1);
    for round in 0..1000_u64 {
        if let Ok(mut publisher) = client.publisher(["a", "b/c"][round as usize % 2]) {
            let _ = publisher.send(&payload(round, 300));
        }
        for _ in 0..20 {
            let at = match random.below(5) {
                0 => SLOTS_OFFSET + random.below(4) * SLOT_SIZE + random.below(SLOT_SIZE / 8) * 8,
                1 => CHANNELS_OFFSET + random.below(CHANNELS as u64 * CHANNEL_SIZE / 8) * 8,
                2 => INDEXES_OFFSET + random.below((RING_OFFSET - INDEXES_OFFSET) / 8) * 8,
                3 => RING_OFFSET + random.below(SIZE / 8) * 8,
                _ => std::mem::offset_of!(Control, head) as u64,
            };
            let value = match random.below(5) {
                0 => u64::MAX - random.below(200),
                1 => 1 << random.below(64),
                2 => random.below(SIZE) / 64 * 64,
                3 => random.below(70),
                _ => random.next(),
            };
            file.write_all_at(&value.to_le_bytes(), at).expect("it can be written");
        }
        for name in ["a", "b/c"] {
            // The ring may say that it is out of order.
            if let Ok(Latest::There(found)) = framebuffer::latest(ring.dir.path(), &key(), name) {
                assert!(found.frame.size <= SIZE, "{found:?}");
                let _ = found.descriptor.check(found.frame.size);
            }
        }
        for channel in framebuffer::channels(ring.dir.path(), &key()).expect("the identity is right") {
            assert_eq!(channel.metrics().count(), 9);
        }
        if let Ok(frames) = framebuffer::frames(ring.dir.path(), &key()) {
            assert!(frames.take(100_000).all(|frame| frame.size <= SIZE));
        }
        file.write_all_at(&(round * 640).to_le_bytes(), std::mem::offset_of!(Control, head) as u64).expect("written");
    }
}
