//! Loom models of a channel's index, as those of the ring: `RUSTFLAGS="--cfg loom" cargo test -p framebuffer --lib
//! --profile fast models`.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::index::{Index, Recorded};
use crate::layout::{FRAME_ALIGN, INDEX};
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
        }
    }

    fn index(&self) -> Index<'_> {
        Index { tail: &self.tail, sleepers: &self.sleepers, words: &self.words }
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
            }
        });
        assert_eq!(model.send(2), 1);
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
