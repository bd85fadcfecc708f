//! Channels: what is sent is received in order or counted, however the two sides come, go, and fall behind.

#[path = "../common/mod.rs"]
mod common;
mod event_loops;
mod lossless;

use std::time::Duration;

use common::{KEY, TestRing, alone, chain, client_in, is_payload, key, move_on, options, payload};
use framebuffer::{
    ChannelError, ChannelInfo, Descriptor, Element, Error, FrameBufferClient, Publisher, Sample, Start, Subscriber,
};
use proptest::prelude::*;

const LONG: Duration = Duration::from_secs(30);

fn channel_error<T: std::fmt::Debug>(result: Result<T, Error>) -> ChannelError {
    match result.expect_err("an error of the channel") {
        Error::Channel(error) => error,
        error => panic!("another error: {}", chain(&error)),
    }
}

fn next<'c>(subscriber: &mut Subscriber<'c>) -> Sample<'c> {
    subscriber.next(LONG).expect("no error").expect("a frame was sent")
}

fn nothing(subscriber: &mut Subscriber<'_>) {
    assert_eq!(subscriber.try_next().expect("no error").map(|sample| sample.number()), None);
}

fn info(client: &FrameBufferClient, name: &str) -> ChannelInfo {
    let all = client.channels().expect("the channels");
    all.into_iter().find(|channel| channel.name == name).unwrap_or_else(|| panic!("no channel {name}"))
}

#[test]
fn every_subscriber_receives_every_frame_in_order_with_what_was_said_of_it() {
    let ring = TestRing::new(1 << 20);
    let (writer, one, two) = (ring.client(), ring.client(), ring.client());
    let mut subscribers = [&one, &two].map(|client| client.subscriber("camera/left").expect("a subscriber"));
    let mut publisher = writer.publisher("camera/left").expect("a publisher");
    let image = Descriptor::new().element(Element::U16).shape(&[10, 5, 2]).expect("three").fourcc(*b"TEST").user(99);
    for number in 0..100_u64 {
        let sent = publisher.send_with(&payload(number, 200), &image.time(number + 1)).expect("there is room");
        assert_eq!(sent.number, number);
    }
    for subscriber in &mut subscribers {
        for number in 0..100 {
            let sample = next(subscriber);
            assert_eq!(sample.number(), number);
            assert!(is_payload(number, &sample));
            assert_eq!((sample.descriptor(), sample.time()), (&image.time(number + 1), number + 1));
            sample.view().verify().expect("right bytes");
            // Whoever has the description can read it without the channel.
            assert_eq!(one.read_frame(sample.frame()).expect("it is there"), *sample);
        }
        nothing(subscriber);
        assert_eq!((subscriber.received(), subscriber.lost(), subscriber.skipped()), (100, 0, 0));
    }
}

#[test]
fn plain_frames_and_those_of_channels_lie_side_by_side() {
    let ring = TestRing::new(256 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    for round in 0..2000_u64 {
        let plain = client.publish(&payload(round, 777)).expect("there is room");
        publisher.send(&payload(round + 1, (round % 1500) as usize)).expect("there is room");
        assert!(is_payload(round, &client.read_frame(&plain).expect("it is there")));
        let sample = next(&mut subscriber);
        assert_eq!((sample.number(), sample.len() as u64), (round, round % 1500));
        assert!(is_payload(round + 1, &sample));
    }
}

#[test]
fn a_loan_is_filled_in_place_and_sent() {
    let ring = TestRing::new(1 << 20);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    let mut loan = publisher.loan(1000).expect("there is room");
    loan.copy_from_slice(&payload(7, 1000));
    loan.truncate(600);
    loan.describe(Descriptor::new().user(5));
    loan.send().expect("it was filled");
    drop(publisher.loan(1000).expect("there is room"));
    publisher.loan(10).expect("there is room").send_unhashed().expect("it was filled");
    let sample = next(&mut subscriber);
    assert_eq!((sample.len(), sample.descriptor().user_word()), (600, 5));
    assert!(is_payload(7, &sample) || sample[..] == payload(7, 1000)[..600]);
    // What was dropped has no number.
    let sample = next(&mut subscriber);
    assert_eq!((sample.number(), sample.view().is_hashed()), (1, false));
    nothing(&mut subscriber);
}

#[test]
fn what_was_lent_for_another_channel_or_ring_is_not_sent() {
    let ring = TestRing::new(1 << 20);
    let client = ring.client();
    let mut publisher = client.publisher("camera").expect("a publisher");
    let (mut first, second) = (publisher.loan_raw(3).expect("there is room"), publisher.loan_raw(3).expect("as well"));
    first.copy_from_slice(b"one");
    // Loans do not keep the publisher from anything, and may end in any order.
    let between = publisher.send(b"between").expect("there is room");
    drop(second);
    let sent = publisher.send_loan(first, &Descriptor::new(), true, Duration::ZERO).expect("it is sent");
    assert_eq!((between.number, sent.number), (0, 1));
    assert_eq!(client.read_frame(&sent.frame).expect("it is there"), b"one");

    let stray = client.publisher("lidar").expect("a publisher").loan_raw(3).expect("there is room");
    let refused = publisher.send_loan(stray, &Descriptor::new(), true, Duration::ZERO);
    assert!(matches!(refused, Err(Error::Retired)), "{refused:?}");
    assert_eq!(info(&client, "camera").frames, 2);
}

#[test]
fn a_subscriber_begins_where_it_is_asked_to() {
    let ring = TestRing::new(1 << 20);
    let client = ring.client();
    let begin = |start| client.subscriber_options("camera").start(start).open().expect("a subscriber");
    let all = [Start::Latest, Start::New, Start::Oldest, Start::After(1), Start::After(1000)];
    // Before the first frame, all begin with it.
    let mut early = all.map(begin);
    let mut publisher = client.publisher("camera").expect("a publisher");
    for number in 0..4 {
        publisher.send(&payload(number, 100)).expect("there is room");
    }
    for subscriber in &mut early {
        assert_eq!(next(subscriber).number(), 0);
    }
    let mut late = all.map(begin);
    publisher.send(&payload(4, 100)).expect("there is room");
    let first = late.each_mut().map(|subscriber| next(subscriber).number());
    assert_eq!(first, [3, 4, 0, 2, 0]);
    assert!(late.iter().all(|subscriber| subscriber.lost() == 0));
}

#[test]
fn whoever_comes_late_finds_the_last_frames_that_are_kept_however_busy_the_ring_is() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut quiet = client.publisher_options("quiet").keep(3).open().expect("a publisher");
    for number in 0..10 {
        quiet.send(&payload(number, 500)).expect("there is room");
    }
    move_on(&client, 100 * ring.capacity(), 1000);
    let mut late = client.subscriber_options("quiet").start(Start::Oldest).open().expect("a subscriber");
    for number in 7..10 {
        let sample = next(&mut late);
        assert_eq!(sample.number(), number);
        assert!(is_payload(number, &sample));
    }
    nothing(&mut late);
    drop(quiet);
    move_on(&client, 2 * ring.capacity(), 1000);
    let mut too_late = client.subscriber("quiet").expect("a subscriber");
    nothing(&mut too_late);
    assert_eq!(too_late.next_number(), 10);
}

#[test]
fn a_frame_as_large_as_the_ring_takes_the_room_of_those_that_are_kept() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("large").expect("a subscriber");
    let mut publisher = client.publisher_options("large").keep(8).open().expect("a publisher");
    for number in 0..5 {
        publisher.send(&payload(number, 64 << 10)).expect("the frames before it give way");
        assert!(is_payload(number, &next(&mut subscriber)));
    }
    let error = publisher.send(&vec![0; (64 << 10) + 1]).expect_err("larger than the ring");
    assert!(matches!(error, Error::LargerThanRing { .. }));
}

#[test]
fn what_is_overwritten_is_lost_and_counted_and_what_is_passed_over_is_skipped() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    for number in 0..5000 {
        publisher.send(&payload(number, 1000)).expect("there is room");
    }
    let first = next(&mut subscriber);
    assert!(first.number() > 4000);
    assert_eq!(subscriber.lost(), first.number());
    drop(first);
    let last = subscriber.latest().expect("no error").expect("there are newer ones");
    assert_eq!((last.number(), is_payload(4999, &last)), (4999, true));
    assert_eq!(subscriber.received() + subscriber.lost() + subscriber.skipped(), 5000);
    assert_eq!(subscriber.latest().expect("no error").map(|sample| sample.number()), None);
    let info = info(&client, "camera");
    assert_eq!((info.frames, info.bytes), (5000, 5_000_000));
    assert_eq!((info.lost, info.skipped), (subscriber.lost(), subscriber.skipped()));
}

#[test]
fn a_sample_stays_as_it_is_while_the_ring_moves_on() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher_options("camera").keep(0).open().expect("a publisher");
    let mut held = Vec::new();
    for number in 0..10 {
        // Sizes that differ, so that one is larger and one is smaller than the one before.
        publisher.send(&payload(number, 100 + (number as usize * 7919) % 3000)).expect("there is room");
        held.push(next(&mut subscriber));
    }
    move_on(&client, 20 * ring.capacity(), 500);
    for (number, sample) in held.iter().enumerate() {
        assert!(is_payload(number as u64, sample), "frame {number}");
        sample.view().verify().expect("right bytes");
    }
}

#[test]
fn a_waiting_subscriber_is_woken_by_a_frame_and_gives_up_after_its_time() {
    let ring = TestRing::new(1 << 20);
    for spin in [Duration::ZERO, Duration::from_millis(5)] {
        let (reader, writer) = (ring.client(), ring.client());
        let name = format!("camera-{}", spin.as_millis());
        let mut subscriber = reader.subscriber_options(&name).spin(spin).open().expect("a subscriber");
        assert!(subscriber.next(Duration::from_millis(10)).expect("no error").is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = writer.publisher(&name).expect("a publisher");
                let mut answers = writer.subscriber(&format!("{name}/answer")).expect("a subscriber");
                for number in 0..500 {
                    publisher.send(&payload(number, 64)).expect("there is room");
                    assert_eq!(next(&mut answers).number(), number);
                }
            });
            let mut answers = reader.publisher(&format!("{name}/answer")).expect("a publisher");
            for number in 0..500 {
                assert!(is_payload(number, &next(&mut subscriber)));
                answers.send(&[]).expect("there is room");
            }
        });
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_with_value_and_limit() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let message = |error: ChannelError| error.to_string();
    for name in ["", "left camera", &"x".repeat(64)] {
        let [publisher, subscriber] =
            [channel_error(client.publisher(name).map(drop)), channel_error(client.subscriber(name).map(drop))];
        assert_eq!(publisher, subscriber);
    }
    let error = channel_error(client.publisher_options("camera").keep(33).open());
    assert_eq!(message(error), "a publisher keeps 32 frames at most, not 33");
    let _one = client.publisher_options("camera").content_type("image/raw").open().expect("the first");
    let error = channel_error(client.publisher_options("camera").content_type("text/plain").open());
    assert_eq!(message(error), r#"channel "camera" has the content type "image/raw", and not "text/plain""#);
    let mut publisher = client.publisher("camera").expect("one without a type");
    let image = Descriptor::new().element(Element::U8).shape(&[480, 640]).expect("two");
    let error = channel_error(publisher.send_with(&[0; 1000], &image));
    assert!(matches!(error, ChannelError::ShapeDiffers { needed: 307_200, size: 1000, .. }));
    assert_eq!(info(&client, "camera").frames, 0);
    for number in 1..64 {
        client.subscriber(&format!("channel-{number}")).expect("there is room");
    }
    let error = channel_error(client.subscriber("one-more"));
    assert_eq!(
        message(error),
        r#"the ring already has 64 channels, the most that it can have: no room for "one-more""#
    );
}

#[test]
fn channels_are_listed_with_who_takes_part_in_them() {
    let ring = TestRing::new(64 << 10);
    let (one, two) = (ring.client(), ring.client());
    let mut publisher = one.publisher_options("b").content_type("text/plain").open().expect("a publisher");
    let subscribers = [&one, &two, &two].map(|client| client.subscriber("b").expect("a subscriber"));
    let _lossless = two.subscriber_options("a").lossless().open().expect("a subscriber");
    publisher.send(b"text").expect("there is room");
    for channels in [
        one.channels().expect("the channels"),
        ring.server.channels().expect("the channels"),
        framebuffer::channels(ring.dir.path(), &key()).expect("the channels"),
    ] {
        let [a, b] = &channels[..] else { panic!("{channels:?}") };
        assert_eq!((&*a.name, &*b.name), ("a", "b"));
        assert_eq!((a.content_type.as_deref(), b.content_type.as_deref()), (None, Some("text/plain")));
        assert_eq!((a.publishers, a.subscribers, a.lossless.len()), (0, 1, 1));
        assert_eq!((b.publishers, b.subscribers, b.lossless.len()), (1, 2, 0));
        assert_eq!((b.frames, b.bytes), (1, 4));
        assert!(a.last_sent.is_none() && b.last_sent.is_some());
    }
    drop((publisher, subscribers));
    let b = info(&one, "b");
    assert_eq!((b.publishers, b.subscribers), (0, 0));
}

#[test]
fn a_subscriber_goes_on_in_a_ring_that_was_kept() {
    let dir = common::folder();
    let mut server = options(&dir).keep(true).start().expect("a ring");
    let client = client_in(&dir);
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    publisher.send(b"one").expect("there is room");
    server.stop().expect("it stops");
    publisher.send(b"two").expect("the ring is still there");
    server.start().expect("it adopts the ring");
    publisher.send(b"three").expect("there is room");
    assert_eq!([(); 3].map(|()| next(&mut subscriber).to_vec()), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_subscriber_of_a_ring_that_was_given_up_says_so() {
    let mut ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    ring.server.stop().expect("it stops");
    assert!(matches!(subscriber.next(LONG), Err(Error::Retired)));
    assert!(matches!(publisher.send(b"late"), Err(Error::Retired)));
}

#[test]
fn a_forked_child_sends_and_receives_with_a_slot_of_its_own() {
    alone("a_forked_child_sends_and_receives_with_a_slot_of_its_own", || {
        let ring = TestRing::new(64 << 10);
        let client = ring.client();
        let mut subscriber = client.subscriber("camera").expect("a subscriber");
        let mut publisher = client.publisher("camera").expect("a publisher");
        publisher.send(b"of the parent").expect("there is room");
        // SAFETY: this process has no other thread that matters.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                let received = next(&mut subscriber).to_vec() == b"of the parent";
                let sent = publisher.send(b"of the child").is_ok();
                let is_there = info(&client, "camera").publishers == 2;
                // SAFETY: ends the child at once, without what the parent's test runner would do at the end.
                unsafe { nix::libc::_exit(i32::from(!(received && sent && is_there))) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("it ends");
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert_eq!([(); 2].map(|()| next(&mut subscriber).to_vec()), [&b"of the parent"[..], b"of the child"]);
        assert_eq!(KEY, client.get_key());
    });
}

/// What a test does next.
#[derive(Debug, Clone)]
enum Step {
    Send { publisher: usize, size: usize },
    Plain { size: usize },
    Next { subscriber: usize, times: usize },
    Latest { subscriber: usize },
    Reopen { publisher: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 0..5000_usize).prop_map(|(publisher, size)| Step::Send { publisher, size }),
        2 => (0..5000_usize).prop_map(|size| Step::Plain { size }),
        3 => (0..3_usize, 1..6_usize).prop_map(|(subscriber, times)| Step::Next { subscriber, times }),
        1 => (0..3_usize).prop_map(|subscriber| Step::Latest { subscriber }),
        1 => (0..2_usize).prop_map(|publisher| Step::Reopen { publisher }),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two publishers on one channel, plain frames between theirs, three subscribers of which each does as it likes.
    #[test]
    fn received_and_lost_and_skipped_are_all_that_was_sent(steps in steps(), keep in 0..5_usize) {
        let ring = TestRing::new(32 << 10);
        let client = ring.client();
        let open = || client.publisher_options("camera").keep(keep).open().expect("a publisher");
        let mut publishers: [Publisher<'_>; 2] = [open(), open()];
        let mut subscribers = [(); 3].map(|()| client.subscriber("camera").expect("a subscriber"));
        let mut sizes = Vec::new();
        let check = |subscriber: &Subscriber<'_>, sample: Option<Sample<'_>>, sizes: &[usize]| {
            if let Some(sample) = sample {
                assert_eq!(sample.number() + 1, subscriber.next_number());
                assert_eq!(sample.len(), sizes[sample.number() as usize]);
                assert!(is_payload(sample.number(), &sample));
            } else {
                assert_eq!(subscriber.next_number(), sizes.len() as u64);
            }
            let counted = subscriber.received() + subscriber.lost() + subscriber.skipped();
            assert_eq!(counted, subscriber.next_number());
        };
        for step in steps {
            match step {
                Step::Send { publisher, size } => {
                    let sent = publishers[publisher].send(&payload(sizes.len() as u64, size)).expect("there is room");
                    prop_assert_eq!(sent.number, sizes.len() as u64);
                    sizes.push(size);
                }
                Step::Plain { size } => { client.publish(&vec![0xEE; size]).expect("there is room"); }
                Step::Next { subscriber, times } => for _ in 0..times {
                    let subscriber = &mut subscribers[subscriber];
                    let sample = subscriber.try_next().expect("no error");
                    check(subscriber, sample, &sizes);
                }
                Step::Latest { subscriber } => {
                    let subscriber = &mut subscribers[subscriber];
                    let sample = subscriber.latest().expect("no error");
                    prop_assert!(sample.is_some() || keep == 0 || subscriber.next_number() == sizes.len() as u64);
                    check(subscriber, sample, &sizes);
                }
                Step::Reopen { publisher } => publishers[publisher] = open(),
            }
        }
    }
}
