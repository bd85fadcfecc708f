//! Lossless subscribers, and the publishers that wait for them.

use std::time::Duration;

use framebuffer::{ChannelError, Descriptor};

use crate::common::{Random, TestRing, is_payload, move_on, payload, wait_until};
use crate::{LONG, channel_error, info, next};

#[test]
fn a_publisher_that_keeps_frames_is_held_up_by_a_lossless_subscriber_that_is_behind() {
    let ring = TestRing::new(64 << 10);
    let (writer, reader) = (ring.client(), ring.client());
    let mut subscriber = reader.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut publisher = writer.publisher_options("log").keep(4).open().expect("a publisher");
    for number in 0..4 {
        publisher.send(&payload(number, 100)).expect("it keeps four");
    }
    let error = channel_error(publisher.send(&payload(4, 100)));
    assert!(matches!(&error, ChannelError::Backlog { number: 4, unread: 0, keep: 4, channel, .. } if channel == "log"));
    let error = channel_error(publisher.send_timeout(&[0; 100], &Descriptor::new(), Duration::from_millis(30)));
    assert!(matches!(error, ChannelError::Backlog { .. }));
    channel_error(publisher.flush(Duration::from_millis(1)));
    // Others are not held up.
    move_on(&writer, 10 * ring.capacity(), 1000);
    assert_eq!(info(&writer, "log").lossless.iter().map(|found| found.next_number).collect::<Vec<_>>(), [0]);
    for number in 0..1000 {
        let sample = next(&mut subscriber);
        assert!(sample.number() == number && is_payload(number, &sample));
        publisher.send(&payload(number + 4, 100)).expect("the subscriber has moved on");
    }
    drop(subscriber);
    for number in 0..20 {
        publisher.send(&payload(number, 100)).expect("nobody is waited for");
    }
    assert_eq!(info(&writer, "log").lossless, []);
}

#[test]
fn a_flush_in_steps_waits_for_no_frame_that_was_sent_since_it_began() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut publisher = client.publisher_options("log").keep(4).open().expect("a publisher");
    publisher.flush_up_to(None, Duration::ZERO).expect("nothing was sent");
    publisher.send(&[]).expect("it keeps four");
    let last = publisher.last().expect("the ring is there");
    channel_error(publisher.flush_up_to(last, Duration::ZERO));
    publisher.send(&[]).expect("it keeps four");
    next(&mut subscriber);
    publisher.flush_up_to(last, Duration::ZERO).expect("all up to that one was received");
    channel_error(publisher.flush(Duration::ZERO));
}

#[test]
fn a_lossless_subscriber_loses_nothing_of_publishers_that_wait() {
    const EACH: u64 = 3000;
    let ring = TestRing::new(64 << 10);
    std::thread::scope(|scope| {
        let done: Vec<_> = [1, 4, 32]
            .into_iter()
            .enumerate()
            .map(|(writer, keep)| {
                let ring = &ring;
                scope.spawn(move || {
                    let client = ring.client();
                    let mut publisher = client.publisher_options("log").keep(keep).open().expect("a publisher");
                    wait_until("a subscriber is there", || !info(&client, "log").lossless.is_empty());
                    for number in 0..EACH {
                        let data = payload(writer as u64 * EACH + number, 300);
                        let word = Descriptor::new().user(writer as u64 * EACH + number);
                        publisher.send_timeout(&data, &word, LONG).expect("the subscriber moves on");
                    }
                    publisher.flush(LONG).expect("the subscriber moves on");
                })
            })
            .collect();
        let client = ring.client();
        let mut subscriber = client.subscriber_options("log").lossless().open().expect("a subscriber");
        let mut of_writer = [0; 3];
        let mut random = Random::new(5);
        for _ in 0..3 * EACH {
            let sample = next(&mut subscriber);
            let word = sample.descriptor().user_word();
            assert!(is_payload(word, &sample));
            let seen = &mut of_writer[(word / EACH) as usize];
            assert_eq!(word % EACH, *seen, "in order");
            *seen += 1;
            if random.below(50) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(300)));
            }
        }
        assert_eq!((subscriber.lost(), subscriber.skipped()), (0, 0));
        for thread in done {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn who_keeps_nothing_and_who_loses_nothing_exclude_each_other() {
    let ring = TestRing::new(64 << 10);
    let client = ring.client();
    let transient = client.publisher_options("log").keep(0).open().expect("a publisher");
    let lossless = || client.subscriber_options("log").lossless().open();
    assert_eq!(channel_error(lossless()), ChannelError::KeepsNone { name: "log".into() });
    drop(transient);
    let subscriber = lossless().expect("no publisher is left");
    let transient = client.publisher_options("log").keep(0).open();
    assert_eq!(channel_error(transient), ChannelError::KeepsNone { name: "log".into() });
    drop(subscriber);
    client.publisher_options("log").keep(0).open().expect("nobody is lossless");
    let _eight: Vec<_> = (0..8).map(|_| lossless().expect("a place")).collect();
    assert_eq!(channel_error(lossless()), ChannelError::TooManyLossless { name: "log".into() });
}
