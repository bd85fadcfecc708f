//! Many threads on one small ring. Meant to run under ThreadSanitizer and AddressSanitizer, too:
//!
//! ```text
//! RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
//! TSAN_OPTIONS="suppressions=$PWD/client/tests/tsan-suppressions.txt" \
//!   cargo +nightly test -p framebuffer --test threads --target x86_64-unknown-linux-gnu -- --test-threads=1
//! ```
//!
//! One test at a time, and threads joined one by one: ThreadSanitizer does not see how the standard library waits.
//!
//! ThreadSanitizer knows bytes by their addresses. Threads that share a client share a mapping, so it sees them meet;
//! threads with clients of their own meet only in the contents. And a frame that crosses the ring's end is at other
//! addresses there than the frames that follow: so in the tests of one mapping all frames take equal parts of the ring,
//! and none crosses.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use common::{Random, TestRing, chain, fill, is_payload, length, payload};
use framebuffer::layout::HEADER_SIZE;
use framebuffer::{Error, Frame, FrameBufferClient, TimeoutReason};

const SIZE: u64 = 64 << 10;
/// With its header a 16th of the ring: at most 7 ranges are held at once, which leaves room for as many again that come
/// and go while an allocation looks.
const PART: u64 = (8 << 10) - HEADER_SIZE;

/// How much of everything: less where it is watched.
const ROUNDS: u64 = if cfg!(debug_assertions) { 1500 } else { 20_000 };

/// The frames that threads tell each other about.
struct Board {
    frames: Vec<Mutex<Option<(u64, Frame)>>>,
    seeds: AtomicU64,
}

impl Board {
    fn new() -> Self {
        Self { frames: (0..16).map(|_| Mutex::new(None)).collect(), seeds: AtomicU64::new(1) }
    }

    fn seed(&self) -> u64 {
        self.seeds.fetch_add(1, Ordering::Relaxed)
    }

    fn post(&self, seed: u64, frame: Frame) {
        *lock(&self.frames[seed as usize % self.frames.len()]) = Some((seed, frame));
    }

    fn look(&self, random: &mut Random) -> Option<(u64, Frame)> {
        *lock(&self.frames[random.below(self.frames.len() as u64) as usize])
    }
}

/// Locks without ever waiting inside the standard library, which is not built for sanitizers: they would not see it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            Err(TryLockError::Poisoned(_)) => panic!("another thread has panicked"),
        }
    }
}

/// How large the frames are.
#[derive(Clone, Copy)]
enum Sizes {
    Equal,
    Random,
}

impl Sizes {
    fn next(self, random: &mut Random) -> usize {
        match self {
            Self::Equal => PART as usize,
            Self::Random => random.below(PART) as usize,
        }
    }
}

/// The findings of one thread.
#[derive(Default, Debug)]
struct Tally {
    written: u64,
    intact: u64,
    overwritten: u64,
}

fn expect_overwritten<T>(result: Result<T, Error>, tally: &mut Tally) -> Option<T> {
    match result {
        Ok(value) => {
            tally.intact += 1;
            Some(value)
        }
        Err(Error::Timeout(timeout)) => {
            assert!(matches!(timeout.reason, TimeoutReason::Overwritten { .. }), "{timeout}");
            tally.overwritten += 1;
            None
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// Publishes, lends, and writes allocated frames.
fn write(client: &FrameBufferClient, board: &Board, sizes: Sizes, random: &mut Random) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..ROUNDS {
        let (seed, size) = (board.seed(), sizes.next(random));
        let written = match random.below(3) {
            0 => client.publish(&payload(seed, size)),
            1 => client.loan(size as u64).and_then(|mut loan| {
                fill(seed, &mut loan);
                if random.below(10) == 0 {
                    drop(loan);
                    return client.publish(&payload(seed, size));
                }
                loan.commit()
            }),
            _ => client.allocate(size as u64).and_then(|offset| {
                let checksum = client.write(offset, &payload(seed, size))?;
                Ok(Frame::new(offset, size as u64, checksum))
            }),
        };
        match written {
            Ok(frame) => {
                board.post(seed, frame);
                tally.written += 1;
            }
            // Between its allocation and its write the ring has moved past it.
            Err(Error::Timeout(_)) => tally.overwritten += 1,
            Err(error) => panic!("{}", chain(&error)),
        }
    }
    tally
}

/// Copies frames out.
fn read(client: &FrameBufferClient, board: &Board, random: &mut Random) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    while tally.intact + tally.overwritten < ROUNDS {
        let Some((seed, frame)) = board.look(random) else { continue };
        buffer.resize(frame.size as usize, 0);
        let read = match random.below(2) {
            0 => client.read_into(&frame, &mut buffer),
            _ => client.read_frame(&frame).map(|data| buffer = data),
        };
        if expect_overwritten(read, &mut tally).is_some() {
            assert!(is_payload(seed, &buffer), "{frame:?}");
        }
    }
    tally
}

/// Looks at frames in place, two at a time.
fn view(client: &FrameBufferClient, board: &Board, random: &mut Random) -> Tally {
    let mut tally = Tally::default();
    let mut last = None;
    while tally.intact + tally.overwritten < ROUNDS {
        let Some((seed, frame)) = board.look(random) else { continue };
        if let Some(view) = expect_overwritten(client.view(&frame), &mut tally) {
            view.verify().expect("a view does not change");
            if let Some((seed, last)) = last.replace((seed, view)) {
                assert!(is_payload(seed, &last), "{last:?}");
            }
        }
    }
    tally
}

/// Two writers, two readers, two viewers; `client_of(n)` is the client of thread number n.
fn all_at_once<'c>(ring: &TestRing, sizes: Sizes, client_of: impl Fn(usize) -> &'c FrameBufferClient) {
    let board = Board::new();
    let tallies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|number| {
                let (client, board) = (client_of(number), &board);
                let mut random = Random::new(number as u64);
                scope.spawn(move || match number % 3 {
                    0 => write(client, board, sizes, &mut random),
                    1 => read(client, board, &mut random),
                    _ => view(client, board, &mut random),
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let stats = ring.server.stats().expect("stats");
    assert!(stats.laps > ROUNDS / 32, "the ring laps often: {stats:?}");
    assert!(tallies.iter().skip(1).step_by(3).all(|reader| reader.intact > 0), "readers found frames: {tallies:?}");
    assert_eq!(stats.pins, 0);
    assert_eq!(stats.counters.timeouts_mismatch, 0);
    let written = tallies.iter().map(|tally| tally.written).sum::<u64>();
    assert_eq!(stats.counters.frames_written, written);
}

#[test]
fn threads_that_share_a_client_and_its_mapping_do_not_race() {
    let ring = TestRing::new(SIZE);
    assert_eq!(ring.capacity() % length(PART), 0, "no frame crosses the ring's end");
    let client = ring.client();
    all_at_once(&ring, Sizes::Equal, |_| &client);
}

#[test]
fn threads_that_share_a_client_get_frames_of_all_sizes_intact() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    all_at_once(&ring, Sizes::Random, |_| &client);
}

#[test]
fn threads_with_clients_of_their_own_get_frames_intact() {
    let ring = TestRing::new(SIZE);
    let clients: Vec<_> = (0..6).map(|_| ring.client()).collect();
    all_at_once(&ring, Sizes::Random, |number| &clients[number]);
}

#[test]
fn threads_that_allocate_at_once_get_frames_of_their_own() {
    let ring = TestRing::new(SIZE);
    let clients = [ring.client(), ring.client()];
    let offsets = std::thread::scope(|scope| {
        let allocate = |number: usize| {
            (0..ROUNDS)
                .map(|_| match number {
                    0 | 1 => ring.server.allocate(100),
                    _ => clients[number % 2].allocate(100),
                })
                .map(|offset| offset.expect("there is room"))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || allocate(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(offsets.iter().all(|offsets| offsets.is_sorted()), "offsets only grow");
    let mut all = offsets.concat();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= 192), "no two frames share bytes");
}

#[test]
fn of_many_threads_that_write_one_frame_one_succeeds() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    for round in 0..ROUNDS / 10 {
        let offset = client.allocate(PART).expect("there is room");
        let winners = std::thread::scope(|scope| {
            let write = |seed| match client.write(offset, &payload(seed, PART as usize)) {
                Ok(checksum) => Some((seed, checksum)),
                Err(Error::AlreadyWritten { .. }) => None,
                Err(error) => panic!("{}", chain(&error)),
            };
            let threads: Vec<_> = (0..3).map(|writer| scope.spawn(move || write(3 * round + writer))).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        let [(seed, checksum)] = winners[..] else { panic!("{} writers succeeded", winners.len()) };
        assert!(is_payload(seed, &client.read(offset, PART, checksum).expect("it is there")));
    }
}

#[test]
fn clients_that_come_and_go_disturb_nobody() {
    let ring = TestRing::new(SIZE);
    let steady = ring.client();
    let frame = steady.publish(&payload(1, 1000)).expect("there is room");
    let view = steady.view(&frame).expect("it is there");
    std::thread::scope(|scope| {
        let come_and_go = |seed| {
            let ring = &ring;
            scope.spawn(move || {
                for round in 0..ROUNDS / 50 {
                    let client = ring.client();
                    let frame = client.publish(&payload(seed, 5000)).expect("there is room");
                    if let Some(data) = expect_overwritten(client.read_frame(&frame), &mut Tally::default()) {
                        assert!(is_payload(seed, &data));
                    }
                    if round % 10 == 0 {
                        assert_eq!(ring.server.reap().expect("it serves"), 0, "nobody has died");
                    }
                }
            })
        };
        let threads: Vec<_> = (0..4).map(come_and_go).collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
    assert!(is_payload(1, &view));
    let stats = ring.server.stats().expect("stats");
    assert_eq!((stats.participants, stats.pins, stats.counters.reaped), (2, 1, 0));
}
