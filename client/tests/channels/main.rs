//! Channels: what is sent is received in order or counted, however the two sides come, go, and fall behind.

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod event_loops;
mod lossless;
mod rings;
mod threads;

use std::time::Duration;

use common::{TestRing, chain, is_payload, key, move_on, payload};
use framebuffer::{
    ChannelError, ChannelInfo, Descriptor, Element, Error, FrameBufferClient, Sample, Start, Subscriber,
};

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
            let answering = scope.spawn(|| {
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
            answering.join().expect("no panic");
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
