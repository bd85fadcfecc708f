//! Processes that send and receive over channels, and are killed and stopped at random: every number is received, lost
//! or skipped, and every byte that is received is right.

use std::time::{Duration, Instant};

use framebuffer::{ChannelError, Descriptor, Error, FrameBufferClient, Sample, Start};
use nix::sys::signal::Signal;

use crate::common::{Random, TestRing, chain, fill, is_payload, payload, wait_until};
use crate::participant::Participant;

/// Room for what four senders keep (8 frames of 4 KiB each, at most), and as much again for what is under way.
const SIZE: u64 = 512 << 10;
const LARGEST_FRAME: u64 = 4 << 10;
const MOST_KEPT: u64 = 8;
const CHANNELS: u64 = 3;
const SENDERS: usize = 4;
const RECEIVERS: usize = 4;

/// How often a process is killed. `FRAMEBUFFER_TEST_KILLS` asks for more.
fn kills() -> usize {
    std::env::var("FRAMEBUFFER_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(250)
}

fn channel(random: &mut Random) -> String {
    format!("channel-{}", random.below(CHANNELS))
}

/// Sends over one channel after the other.
pub(crate) fn send_for_ever(client: &FrameBufferClient, seed: u64) {
    let mut random = Random::new(seed);
    loop {
        let keep = random.below(MOST_KEPT + 1) as usize;
        let mut publisher = match client.publisher_options(&channel(&mut random)).keep(keep).open() {
            Err(Error::Channel(ChannelError::KeepsNone { .. })) => continue,
            publisher => publisher.unwrap_or_else(|error| panic!("a sender: {}", chain(&error))),
        };
        for _ in 0..random.below(2000) {
            let number = random.next();
            let size = random.below(LARGEST_FRAME + 1);
            let word = Descriptor::new().user(number);
            let sent = match random.below(3) {
                0 => publisher.loan(size).and_then(|mut loan| {
                    fill(number, &mut loan);
                    loan.describe(word);
                    loan.send_timeout(Duration::from_millis(random.below(20)))
                }),
                1 => publisher.send_timeout(
                    &payload(number, size as usize),
                    &word,
                    Duration::from_millis(random.below(20)),
                ),
                _ => publisher.send_with(&payload(number, size as usize), &word),
            };
            match sent {
                // A lossless receiver is slow, stopped, or has come while this one keeps nothing.
                Ok(_) | Err(Error::Channel(ChannelError::Backlog { .. })) => {}
                Err(Error::Channel(ChannelError::KeepsNone { .. })) => break,
                Err(error) => panic!("a sender: {}", chain(&error)),
            }
        }
    }
}

/// Receives from one channel after the other.
pub(crate) fn receive_for_ever(client: &FrameBufferClient, seed: u64) {
    let mut random = Random::new(seed);
    loop {
        let start = match random.below(4) {
            0 => Start::New,
            1 => Start::Oldest,
            2 => Start::After(random.below(1000)),
            _ => Start::Latest,
        };
        let options = client.subscriber_options(&channel(&mut random)).start(start);
        let lossless = random.below(4) == 0;
        let mut subscriber = match if lossless { options.lossless() } else { options }.open() {
            Err(Error::Channel(ChannelError::KeepsNone { .. })) => continue,
            subscriber => subscriber.unwrap_or_else(|error| panic!("a receiver: {}", chain(&error))),
        };
        let first = subscriber.next_number();
        let mut held: Option<Sample<'_>> = None;
        for _ in 0..random.below(3000) {
            let before = subscriber.next_number();
            let received = match random.below(20) {
                0 => subscriber.latest(),
                1..10 => subscriber.try_next(),
                _ => subscriber.next(Duration::from_millis(5)),
            };
            let received = received.unwrap_or_else(|error| panic!("a receiver: {}", chain(&error)));
            let counted = subscriber.received() + subscriber.lost() + subscriber.skipped();
            assert_eq!(first + counted, subscriber.next_number(), "a number was passed and not counted");
            let Some(sample) = received else { continue };
            assert!((before..subscriber.next_number()).contains(&sample.number()));
            let intact = |sample: &Sample<'_>| is_payload(sample.descriptor().user_word(), sample);
            assert!(intact(&sample), "another frame's bytes: {sample:?}");
            // Held until the next one: many a receiver is killed while it holds something.
            if let Some(last) = held.replace(sample) {
                assert!(intact(&last), "a sample has changed: {last:?}");
            }
        }
    }
}

#[test]
fn processes_on_channels_that_are_killed_and_stopped_at_random_count_every_frame() {
    let seed = crate::seed();
    let mut random = Random::new(seed);
    let ring = TestRing::new(SIZE);
    let start = |role, number, random: &mut Random| Participant::start(ring.dir.path(), role, number, random.next());
    let mut participants: Vec<_> = (0..SENDERS).map(|number| start("sender", number, &mut random)).collect();
    participants.extend((0..RECEIVERS).map(|number| start("receiver", number, &mut random)));
    participants.push(start("writer", 0, &mut random));
    let channels = || ring.server.channels().expect("the channels");
    wait_until("all channels are in use", || channels().iter().filter(|channel| channel.frames > 100).count() == 3);

    for round in 0..kills() {
        let number = random.below(participants.len() as u64) as usize;
        if round % 8 == 0 {
            participants[number].signal(Signal::SIGSTOP);
            // Others go on. Where it is lossless, senders of its channel are held up, and go to another.
            let before: u64 = channels().iter().map(|channel| channel.frames).sum();
            let deadline = Instant::now() + Duration::from_secs(30);
            while channels().iter().map(|channel| channel.frames).sum::<u64>() < before + 500 {
                assert!(Instant::now() < deadline, "nothing is sent any more: {:?}", channels());
                std::thread::sleep(Duration::from_millis(1));
            }
            participants[number].signal(Signal::SIGCONT);
        }
        let Participant { role, number: name, .. } = participants[number];
        let fresh = start(role, name, &mut random);
        std::mem::replace(&mut participants[number], fresh).kill();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
    }

    participants.into_iter().for_each(Participant::kill);
    ring.server.reap().expect("it serves");
    let after = channels();
    println!("{} kills: {after:?}", kills());
    let stats = ring.server.stats().expect("stats");
    assert_eq!(stats.counters.exhausted, 0, "there was room at all times");
    assert!(after.iter().all(|channel| channel.publishers + channel.subscribers == 0), "{after:?}");
    assert!(after.iter().all(|channel| channel.frames > 1000), "{after:?}");
    // The dead hold nobody up, and the channels can be used again.
    let client = ring.client();
    for channel in after {
        let mut subscriber =
            client.subscriber_options(&channel.name).start(Start::New).lossless().open().expect("a place");
        let mut publisher = client.publisher(&channel.name).expect("a publisher");
        publisher.send(&payload(seed, 1000)).expect("nobody is in the way");
        let sample = subscriber.try_next().expect("no error").expect("it was sent");
        assert!(is_payload(seed, &sample) && sample.number() == channel.frames);
    }
}
