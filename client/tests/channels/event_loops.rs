//! Waiting for frames with a descriptor, and in tokio.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use framebuffer::{ChannelError, Descriptor, Error};
use futures::StreamExt as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::common::{TestRing, chain, is_payload, payload};
use crate::{LONG, channel_error, next, nothing};

fn is_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(timeout).expect("short")).expect("a descriptor") == 1
}

#[test]
fn a_descriptor_is_readable_when_there_is_a_frame_and_not_before() {
    let ring = TestRing::new(64 << 10);
    let (reader, writer) = (ring.client(), ring.client());
    let mut subscriber = reader.subscriber("camera").expect("a subscriber");
    let mut publisher = writer.publisher("camera").expect("a publisher");
    let none = Duration::ZERO;
    for number in 0..200 {
        assert!(!is_readable(subscriber.event_fd().expect("a descriptor"), none));
        publisher.send(&payload(number, 64)).expect("there is room");
        assert!(is_readable(subscriber.event_fd().expect("a descriptor"), LONG));
        // It stays so until all is received.
        assert!(is_readable(subscriber.event_fd().expect("a descriptor"), none));
        assert!(is_payload(number, &subscriber.try_next().expect("no error").expect("it is there")));
        nothing(&mut subscriber);
    }
    // What comes between the last look and the order to watch is not missed.
    publisher.send(b"one").expect("there is room");
    subscriber.try_next().expect("no error").expect("it is there");
    publisher.send(b"two").expect("there is room");
    subscriber.try_next().expect("no error").expect("it is there");
    nothing(&mut subscriber);
    assert!(!is_readable(subscriber.event_fd().expect("a descriptor"), none));
}

#[test]
fn a_descriptor_is_readable_once_the_ring_is_given_up() {
    let mut ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let fd = subscriber.event_fd().expect("a descriptor").try_clone_to_owned().expect("a descriptor");
    ring.server.stop().expect("it stops");
    assert!(is_readable(fd.as_fd(), LONG));
    assert!(matches!(subscriber.try_next(), Err(Error::Retired)));
}

#[test]
fn a_stream_yields_every_frame_and_an_async_publisher_waits_for_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ring = TestRing::new(64 << 10);
    let (reader, writer) = (ring.client(), ring.client());
    let outside = reader.subscriber("camera").expect("a subscriber").into_stream().expect_err("no runtime");
    assert!(chain(&outside).contains("wait for frames in tokio"), "{}", chain(&outside));
    // One thread: if either blocked it, the other could not go on.
    runtime.block_on(async {
        let subscriber = reader.subscriber_options("camera").lossless().open().expect("a subscriber");
        let mut stream = subscriber.into_stream().expect("a stream");
        let mut publisher = writer.publisher("camera").expect("a publisher");
        let send = async {
            for number in 0..300 {
                let sent = publisher.send_async(&payload(number, 64), &Descriptor::new(), LONG).await;
                assert_eq!(sent.expect("the subscriber moves on").number, number);
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        let receive = async {
            for number in 0..300 {
                let sample = stream.next().await.expect("no end").expect("no error");
                assert!(is_payload(number, &sample) && sample.number() == number);
            }
            assert_eq!(stream.subscriber().lost(), 0);
        };
        futures::future::join(send, receive).await;
        let mut subscriber = stream.into_subscriber();
        nothing(&mut subscriber);
        let late = publisher.send_async(&[], &Descriptor::new(), Duration::ZERO).await.expect("it keeps one");
        let error = publisher.send_async(&[], &Descriptor::new(), Duration::from_millis(5)).await;
        assert!(matches!(channel_error(error), ChannelError::Backlog { number: 301, .. }));
        assert_eq!(next(&mut subscriber).number(), late.number);
    });
}
