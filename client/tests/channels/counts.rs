//! What is received, lost and skipped is all that was sent.

use framebuffer::{Publisher, Sample, Subscriber};
use proptest::prelude::*;

use crate::common::{TestRing, is_payload, payload};
use crate::{info, next};

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
