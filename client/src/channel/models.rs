//! Loom models of a channel's index, as those of the ring: `RUSTFLAGS="--cfg loom" cargo test -p framebuffer --lib
//! --profile fast models`.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::cursors::{Cursors, announce_and_look};
use super::index::{Index, Recorded};
use crate::layout::{CursorWords, FRAME_ALIGN, INDEX};
use crate::sync::{AtomicU64, Ordering};

/// A channel's words, the headers of its frames, and a futex.
struct Model {
    tail: AtomicU64,
    sleepers: AtomicU64,
    words: Vec<AtomicU64>,
    /// For each frame, by its position: the number in its header, plus 1.
    numbers: Vec<AtomicU64>,
    asleep: Mutex<()>,
    woken: Condvar,
    lossless: AtomicU64,
    places: Vec<CursorWords>,
    held_up: AtomicU64,
    keeping_none: AtomicU64,
    moves: AtomicU64,
    /// For each frame, whether its publisher has let go of it.
    gone: Vec<AtomicU64>,
}

impl Model {
    fn new() -> Self {
        Self {
            tail: AtomicU64::new(0),
            sleepers: AtomicU64::new(0),
            words: (0..INDEX).map(|_| AtomicU64::new(0)).collect(),
            numbers: (0..6).map(|_| AtomicU64::new(0)).collect(),
            asleep: Mutex::new(()),
            woken: Condvar::new(),
            lossless: AtomicU64::new(0),
            places: vec![CursorWords::default()],
            held_up: AtomicU64::new(0),
            keeping_none: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            gone: (0..6).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn index(&self) -> Index<'_> {
        Index { tail: &self.tail, sleepers: &self.sleepers, words: &self.words }
    }

    fn cursors(&self) -> Cursors<'_> {
        Cursors { lossless: &self.lossless, places: &self.places, held_up: &self.held_up, moves: &self.moves }
    }

    /// Sends this frame as a publisher does that keeps one, the `last`, and lets go of that. False if a lossless
    /// subscriber has yet to receive it.
    fn send_keeping_one(&self, frame: usize, last: Option<usize>) -> bool {
        let sent = self.index().append(frame as u64 * FRAME_ALIGN, |number| {
            self.numbers[frame].store(number + 1, Ordering::Relaxed);
            if self.cursors().behind(number, 1).is_some() { Err(()) } else { Ok(()) }
        });
        if sent.is_ok() {
            self.wake();
            if let Some(last) = last {
                self.gone[last].store(1, Ordering::Release);
            }
        }
        sent.is_ok()
    }

    /// Sends the frame number `frame` of this model, which lies at that position.
    fn send(&self, frame: usize) -> u64 {
        let number = |number| {
            self.numbers[frame].store(number + 1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(())
        };
        self.index().append(frame as u64 * FRAME_ALIGN, number).unwrap_or_else(|never| match never {})
    }

    /// As [`send`](Self::send), by a writer that dies before it moves the tail. Alone with the channel's end.
    fn send_and_die(&self, frame: usize) {
        let tail = self.tail.load(Ordering::Acquire);
        self.numbers[frame].store(tail + 1, Ordering::Relaxed);
        let lap = (tail / INDEX as u64 + 1) % FRAME_ALIGN;
        self.words[tail as usize % INDEX].store(frame as u64 * FRAME_ALIGN | lap, Ordering::Release);
    }

    fn wake(&self) {
        if self.index().take_sleepers() {
            drop(self.asleep.lock());
            self.woken.notify_all();
        }
    }

    /// FUTEX_WAIT: the kernel compares the word under a lock that a wake takes.
    fn sleep_unless_it_moves_from(&self, tail: u64) {
        let asleep = self.asleep.lock().expect("no panic");
        if self.tail.load(Ordering::Acquire) == tail {
            drop(self.woken.wait(asleep));
        }
    }

    /// Reads number `cursor`: the frame, or the number of those that are lost; moves the cursor on.
    fn read(&self, cursor: &mut u64, lost: &mut u64) -> Option<usize> {
        match self.index().look_at(*cursor) {
            Recorded::NotYet => None,
            Recorded::Lost { oldest } => {
                *lost += oldest - *cursor;
                *cursor = oldest;
                None
            }
            Recorded::At(start) => {
                let frame = (start / FRAME_ALIGN) as usize;
                assert_eq!(self.numbers[frame].load(Ordering::Relaxed), *cursor + 1, "a frame with another number");
                *cursor += 1;
                Some(frame)
            }
        }
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// The other sends so many that the index goes around while this one is stalled.
#[test]
fn what_two_send_has_numbers_one_after_the_other() {
    check(4, || {
        let model = Arc::new(Model::new());
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || [1, 2, 3].map(|frame| model.send(frame))
        });
        let mine = model.send(4);
        let theirs = other.join().expect("no panic");
        assert!(theirs.is_sorted());
        let numbers = [theirs[0], theirs[1], theirs[2], mine];
        let frame_of = |number| numbers.iter().position(|found| *found == number).expect("each number once") as u64 + 1;
        assert_eq!(model.index().next(), 4);
        for number in 0..4 {
            let position = frame_of(number) * FRAME_ALIGN;
            let expected = if number < 2 { Recorded::Lost { oldest: 2 } } else { Recorded::At(position) };
            assert_eq!(model.index().look_at(number), expected);
        }
    });
}

#[test]
fn a_reader_passes_every_number_once_and_never_takes_another_frame() {
    check(3, || {
        let model = Arc::new(Model::new());
        let writer = thread::spawn({
            let model = Arc::clone(&model);
            move || (1..=4).for_each(|frame| assert_eq!(model.send(frame), frame as u64 - 1))
        });
        let (mut cursor, mut lost, mut received, mut last) = (0, 0, 0, 0);
        let mut read = |times: usize| {
            for _ in 0..times {
                if let Some(frame) = model.read(&mut cursor, &mut lost) {
                    assert!(frame > last);
                    (last, received) = (frame, received + 1);
                }
            }
            (cursor, received + lost)
        };
        read(3);
        writer.join().expect("no panic");
        assert_eq!(read(8), (4, 4));
    });
}

#[test]
fn a_writer_that_dies_before_it_moves_the_tail_stops_neither_writers_nor_readers() {
    check(4, || {
        let model = Arc::new(Model::new());
        model.send_and_die(1);
        let reader = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let (mut cursor, mut lost) = (0, 0);
                assert_eq!(model.read(&mut cursor, &mut lost), Some(1));
                // It sleeps on a tail that the dead one has not moved.
                while model.read(&mut cursor, &mut lost).is_none() {
                    if model.index().announce_sleep(cursor) {
                        model.sleep_unless_it_moves_from(cursor);
                    }
                }
            }
        });
        assert_eq!(model.send(2), 1);
        model.wake();
        reader.join().expect("no panic");
        assert_eq!(model.index().next(), 2);
    });
}

#[test]
fn no_wake_is_lost() {
    check(4, || {
        let model = Arc::new(Model::new());
        let writer = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                model.send(1);
                model.wake();
            }
        });
        let (mut cursor, mut lost) = (0, 0);
        while model.read(&mut cursor, &mut lost).is_none() {
            if model.index().announce_sleep(cursor) {
                model.sleep_unless_it_moves_from(cursor);
            }
        }
        writer.join().expect("no panic");
    });
}

/// Two publishers that keep one frame each. What was sent from the subscriber's beginning on is there until it moves
/// on.
#[test]
fn what_is_sent_after_a_lossless_subscriber_began_is_kept_for_it() {
    check(3, || {
        let model = Arc::new(Model::new());
        let publishers: Vec<_> = [[1, 2], [3, 4]]
            .into_iter()
            .map(|[first, second]| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    model.send_keeping_one(first, None) && model.send_keeping_one(second, Some(first))
                })
            })
            .collect();
        let place = model.cursors().begin(9, model.index().next(), |_| false).expect("a place");
        let begin = model.index().next_after_me();
        model.cursors().move_on(place, begin);
        for publisher in publishers {
            publisher.join().expect("no panic");
        }
        if let Recorded::At(start) = model.index().look_at(begin) {
            let frame = (start / FRAME_ALIGN) as usize;
            assert_eq!(model.gone[frame].load(Ordering::Acquire), 0, "its publisher has let go of frame {begin}");
        }
    });
}

#[test]
fn a_publisher_that_is_held_up_is_woken_when_the_subscriber_moves_on() {
    check(3, || {
        let model = Arc::new(Model::new());
        let place = model.cursors().begin(9, 0, |_| false).expect("a place");
        assert!(model.send_keeping_one(1, None));
        let subscriber = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                if model.cursors().move_on(place, 1) {
                    drop(model.asleep.lock());
                    model.woken.notify_all();
                }
            }
        });
        while !model.send_keeping_one(2, Some(1)) {
            let moves = model.cursors().announce_sleep();
            if model.cursors().behind(1, 1).is_some() {
                let asleep = model.asleep.lock().expect("no panic");
                if model.moves.load(Ordering::Acquire) == moves {
                    drop(model.woken.wait(asleep));
                }
            }
        }
        subscriber.join().expect("no panic");
    });
}

#[test]
fn of_who_keeps_nothing_and_who_loses_nothing_at_least_one_is_refused() {
    check(4, || {
        let model = Arc::new(Model::new());
        let publisher = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                // As `Attachments::add` does, and `Joined::held_up_by`.
                let keep_none = || model.keeping_none.fetch_or(1, Ordering::AcqRel);
                announce_and_look(keep_none, || model.cursors().behind(u64::MAX, 0).is_some()).1
            }
        });
        let begin = || model.cursors().begin(9, model.index().next(), |_| false).expect("a place");
        let (_, subscriber_is_refused) = announce_and_look(begin, || {
            // As `Joined::has` does.
            model.keeping_none.load(Ordering::Acquire) & 1 != 0
        });
        let publisher_is_refused = publisher.join().expect("no panic");
        assert!(publisher_is_refused || subscriber_is_refused);
    });
}
