//! Threads that share a client and its mapping: `ThreadSanitizer` sees them meet there, if no frame crosses the ring's
//! end (see `tests/threads.rs`).

use framebuffer::layout::{DESCRIPTOR_SIZE, HEADER_SIZE};
use framebuffer::{Descriptor, FrameBufferClient, Publisher, Subscriber};

use crate::common::{TestRing, fill, is_payload, payload};
use crate::{LONG, next};

/// With its header and its description a 16th of the ring.
const PART: u64 = (4 << 10) - HEADER_SIZE - DESCRIPTOR_SIZE;
const EACH: u64 = if cfg!(debug_assertions) { 1000 } else { 10_000 };

fn send_copies(publisher: &mut Publisher<'_>) {
    for word in 0..EACH {
        let data = payload(word, PART as usize);
        publisher.send_timeout(&data, &Descriptor::new().user(word), LONG).expect("the subscriber moves on");
    }
}

fn send_in_place(publisher: &mut Publisher<'_>) {
    for word in EACH..2 * EACH {
        let mut loan = publisher.loan(PART).expect("there is room");
        fill(word, &mut loan);
        loan.describe(Descriptor::new().user(word));
        loan.send_timeout(LONG).expect("the subscriber moves on");
    }
}

/// Receives until all was sent: how many frames came.
fn receive(subscriber: &mut Subscriber<'_>) -> u64 {
    let mut received = 0;
    while subscriber.next_number() < 2 * EACH {
        let sample = next(subscriber);
        assert!(is_payload(sample.descriptor().user_word(), &sample));
        received += 1;
    }
    received
}

#[test]
fn threads_that_share_a_client_and_its_mapping_do_not_race() {
    let ring = TestRing::new(64 << 10);
    assert_eq!(ring.capacity() % (4 << 10), 0, "no frame crosses the ring's end");
    let client: &FrameBufferClient = &ring.client();
    let mut lossless = client.subscriber_options("log").lossless().open().expect("a subscriber");
    let mut lossy = client.subscriber("log").expect("a subscriber");
    let (received, some) = std::thread::scope(|scope| {
        let publishers = [send_copies, send_in_place].map(|send| {
            scope.spawn(move || {
                let mut publisher = client.publisher_options("log").keep(2).open().expect("a publisher");
                send(&mut publisher);
                publisher.flush(LONG).expect("the subscriber moves on");
            })
        });
        let subscribers = [&mut lossless, &mut lossy].map(|subscriber| scope.spawn(move || receive(subscriber)));
        // Joined one by one: ThreadSanitizer does not see how the standard library waits.
        for thread in publishers {
            thread.join().expect("no panic");
        }
        let [all, some] = subscribers.map(|thread| thread.join().expect("no panic"));
        (all, some)
    });
    assert_eq!((received, lossless.lost()), (2 * EACH, 0));
    assert_eq!(some + lossy.lost(), 2 * EACH);
}
