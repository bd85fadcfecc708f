//! [`Index`]: the frames of one channel, in the order in which they were sent.
//!
//! The *tail* is the sequence number of the channel's next frame. The frame with number `t` is recorded in word
//! `t % INDEX` of the channel's index, in one word, so there is nothing half-written that a stalled writer could leave:
//!
//! ```text
//!  63                                          6 5            0
//! +---------------------------------------------+--------------+
//! | stream position of the frame, by 64         | t / INDEX + 1|
//! +---------------------------------------------+  modulo 64   +
//!                                               +--------------+
//! ```
//!
//! - **append**: load the tail `t`, load word `t % INDEX`, load the tail again; if it has moved, begin again. If the
//!   word has `t`'s lap already, somebody has recorded number `t` and not moved the tail yet: move it for them, begin
//!   again. Otherwise write `t` into my frame's header, and replace the word by my frame's position and lap with one
//!   compare-and-swap. Then the frame has number `t`, whatever becomes of me; move the tail.
//! - **look at** number `t`: if the word has `t`'s lap, it is the frame at that position, if its header says so.
//!   Otherwise load the tail and the word, in this order. If the tail is at most `t`, number `t` is not there yet. (If
//!   the word at the tail has the tail's lap, its writer has stalled or died before it moved the tail: move it.) If
//!   the tail is more than `INDEX` ahead, or the word has another lap, number `t` is lost.
//!
//! # Why it is right
//!
//! *One frame for each number.* A word changes only from what an append has seen to a position that was never recorded
//! before (positions never repeat, and nobody records a frame twice). So a compare-and-swap succeeds only if nothing
//! else was recorded there since. And it is number `t`'s turn: the tail was `t` after the word was loaded, so no number
//! above `t` was recorded yet, and what was seen is number `t - INDEX`, or nothing.
//!
//! *Every number has a frame.* The tail moves from `t` to `t + 1` only after a word with `t`'s lap was seen.
//!
//! *Laps repeat* after 64: a reader that is 64 laps behind sees number `t + 64 * INDEX` in place of `t`. The header
//! says which it is.
//!
//! *A reader may be ahead of the tail*, by the one frame whose writer has recorded it and not moved the tail. It moves
//! the tail once it looks for the next one, so before it sleeps on it.
//!
//! *Wakes.* A reader swaps 1 into `sleepers`, looks once more, and sleeps on the tail's lower half, of which the kernel
//! checks under a lock that it is still the same. A writer moves the tail, then swaps 0 into `sleepers`. (SYNC POINT
//! "tail and sleepers".) Each swap sees the one before it, and what came before that: either the writer finds the 1, or
//! the reader finds the tail moved.

use crate::layout::{ChannelWords, FRAME_ALIGN, INDEX};
use crate::sync::{AtomicU64, Ordering};

/// Laps that a word of the index tells apart: the bits that a position, a multiple of 64, leaves free.
const LAPS: u64 = FRAME_ALIGN;

/// The words of one channel.
#[derive(Clone, Copy)]
pub(crate) struct Index<'m> {
    /// Sequence number of the next frame. Its lower half is a futex.
    pub(crate) tail: &'m AtomicU64,
    /// Not 0 if a reader may be asleep.
    pub(crate) sleepers: &'m AtomicU64,
    /// [`INDEX`] words.
    pub(crate) words: &'m [AtomicU64],
}

/// What the index says of a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The frame that begins at this stream position, if its header has the number.
    At(u64),
    /// It was recorded, and others since in its place. The oldest number that may still be there.
    Lost { oldest: u64 },
    /// It is the next.
    NotYet,
}

impl<'m> Index<'m> {
    /// The index of a channel, whose words are `recorded`.
    #[inline]
    pub(crate) fn of(channel: &'m ChannelWords, recorded: &'m [AtomicU64]) -> Self {
        Self { tail: &channel.tail.next, sleepers: &channel.tail.sleepers, words: recorded }
    }

    /// Records the frame that begins at stream position `start` as the channel's next one, and returns its number.
    ///
    /// `number_is` writes the number into the frame's descriptor, perhaps several times; nobody reads it before it is
    /// right. An error of it ends the attempt.
    pub(crate) fn append<E>(self, start: u64, mut number_is: impl FnMut(u64) -> Result<(), E>) -> Result<u64, E> {
        loop {
            // Acquire, pairs with `move_tail`: whoever sees a tail sees what was recorded before it.
            let tail = self.tail.load(Ordering::Acquire);
            let word = self.word(tail);
            let seen = word.load(Ordering::Acquire);
            if self.tail.load(Ordering::Acquire) != tail {
                continue;
            }
            if lap_of(seen) == lap(tail) {
                self.move_tail(tail);
                continue;
            }
            number_is(tail)?;
            // Release: whoever finds the position finds the header complete. It fails if somebody else was faster.
            let new = start | lap(tail);
            if word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.move_tail(tail);
                return Ok(tail);
            }
        }
    }

    /// What is recorded under `number`.
    #[inline]
    pub(crate) fn look_at(self, number: u64) -> Recorded {
        // What is there is found without the tail, whose cache line every send takes away.
        self.position_of(number).map_or_else(|| self.look_at_tail(number), Recorded::At)
    }

    /// As [`look_at`](Self::look_at), when the word has another lap.
    fn look_at_tail(self, number: u64) -> Recorded {
        let tail = self.tail.load(Ordering::Acquire);
        let seen = self.word(number).load(Ordering::Acquire);
        if number >= tail {
            self.help();
            if number > tail || lap_of(seen) != lap(number) {
                return Recorded::NotYet;
            }
        }
        let oldest = tail.saturating_sub(INDEX as u64);
        if number < oldest {
            return Recorded::Lost { oldest };
        }
        if lap_of(seen) != lap(number) {
            // Recorded over since: so is at least that one.
            return Recorded::Lost { oldest: number.saturating_add(1) };
        }
        Recorded::At(seen - lap_of(seen))
    }

    /// The word in which `number` is going to be recorded, if it is not yet: as long as the word is the same, it is
    /// not. So whoever waits looks at one cache line, which no other send changes than those of nearby numbers.
    #[inline]
    pub(crate) fn awaits(self, number: u64) -> Option<u64> {
        let word = self.word_of(number);
        (self.look_at(number) == Recorded::NotYet).then_some(word)
    }

    /// The word in which `number` is going to be recorded, or was.
    #[inline]
    pub(crate) fn word_of(self, number: u64) -> u64 {
        self.word(number).load(Ordering::Acquire)
    }

    /// The number of the next frame.
    pub(crate) fn next(self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// The number of the last frame, for whoever may not write: it counts also if its writer has not moved the tail.
    pub(crate) fn last(self) -> Option<u64> {
        let tail = self.next();
        if self.position_of(tail).is_some() { Some(tail) } else { tail.checked_sub(1) }
    }

    /// Where the frame recorded under `number` begins, if its header has the number, for whoever may not write. `None`
    /// if another was recorded since in its place, or it was not sent yet.
    pub(crate) fn position_of(self, number: u64) -> Option<u64> {
        let seen = self.word(number).load(Ordering::Acquire);
        (lap_of(seen) == lap(number)).then(|| seen - lap_of(seen))
    }

    /// The number of the next frame. Whoever sends it, or one after it, sees what the caller has done before.
    pub(crate) fn next_after_me(self) -> u64 {
        // Who has received a frame whose writer died before it moved the tail is not ahead of it.
        self.help();
        // Release: heads the sequence of all that move the tail from here on. Acquire, as ever.
        self.tail.fetch_add(0, Ordering::AcqRel)
    }

    /// Announces that the caller is going to sleep until number `number` is there. False if it is there already:
    /// then it must not sleep.
    pub(crate) fn announce_sleep(self, number: u64) -> bool {
        // SYNC POINT "tail and sleepers".
        self.sleepers.swap(1, Ordering::AcqRel);
        self.look_at(number) == Recorded::NotYet
    }

    /// After an append: whether somebody may be asleep, and is to be woken by the caller.
    pub(crate) fn take_sleepers(self) -> bool {
        // SYNC POINT "tail and sleepers".
        self.sleepers.swap(0, Ordering::AcqRel) != 0
    }

    fn word(&self, number: u64) -> &AtomicU64 {
        &self.words[(number % INDEX as u64) as usize]
    }

    /// Moves the tail for a writer that has recorded a frame and may have died before it moved it: whoever has received
    /// that frame sleeps on the next number.
    fn help(self) {
        let tail = self.tail.load(Ordering::Acquire);
        if self.position_of(tail).is_some() {
            self.move_tail(tail);
        }
    }

    fn move_tail(&self, number: u64) {
        // Release, pairs with the Acquire of whoever loads it. If it fails, somebody else has done it.
        let _ = self.tail.compare_exchange(number, number.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The lap of a number, as in a word. Not that of 0, a word that records nothing yet, until it has recorded others.
fn lap(number: u64) -> u64 {
    (number / INDEX as u64 + 1) % LAPS
}

fn lap_of(word: u64) -> u64 {
    word % LAPS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Words {
        tail: AtomicU64,
        sleepers: AtomicU64,
        recorded: Vec<AtomicU64>,
    }

    impl Words {
        fn from(tail: u64) -> Self {
            // As if `tail` frames had been sent before: the last one of each word.
            let before = |slot: u64| match tail.checked_sub(slot + 1) {
                Some(since) => {
                    let number = slot + since / INDEX as u64 * INDEX as u64;
                    (number * FRAME_ALIGN) | lap(number)
                }
                None => 0,
            };
            Self {
                tail: AtomicU64::new(tail),
                sleepers: AtomicU64::new(0),
                recorded: (0..INDEX as u64).map(|slot| AtomicU64::new(before(slot))).collect(),
            }
        }

        fn index(&self) -> Index<'_> {
            Index { tail: &self.tail, sleepers: &self.sleepers, words: &self.recorded }
        }
    }

    fn append(index: Index<'_>, start: u64) -> u64 {
        index.append(start, |_| Ok::<_, std::convert::Infallible>(())).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn a_frame_is_found_under_its_number_until_the_index_has_gone_around() {
        let words = Words::from(0);
        let index = words.index();
        assert_eq!(index.look_at(0), Recorded::NotYet);
        assert_eq!(append(index, 0), 0);
        assert_eq!(index.look_at(0), Recorded::At(0));
        for number in 1..=INDEX as u64 {
            assert_eq!(append(index, number * 128), number);
        }
        assert_eq!(index.look_at(0), Recorded::Lost { oldest: 1 });
        assert_eq!(index.look_at(1), Recorded::At(128));
        assert_eq!(index.look_at(INDEX as u64), Recorded::At(INDEX as u64 * 128));
        assert_eq!(index.look_at(INDEX as u64 + 1), Recorded::NotYet);
    }

    #[test]
    fn a_frame_whose_writer_died_before_it_moved_the_tail_is_found_by_a_reader() {
        let words = Words::from(7);
        words.recorded[7].store(4096 | lap(7), Ordering::Relaxed);
        assert_eq!(words.index().look_at(7), Recorded::At(4096));
        // Who goes on to wait for the next one sleeps on the tail.
        assert!(words.index().announce_sleep(8));
        assert_eq!(words.index().next(), 8);
    }

    #[test]
    fn a_subscriber_that_comes_after_a_writer_that_died_before_it_moved_the_tail_begins_behind_its_frame() {
        let words = Words::from(7);
        words.recorded[7].store(4096 | lap(7), Ordering::Relaxed);
        assert_eq!(words.index().next_after_me(), 8);
    }

    #[test]
    fn the_word_that_a_number_is_awaited_in_changes_when_it_is_there_or_lost() {
        let words = Words::from(7);
        let index = words.index();
        assert_eq!((index.awaits(6), index.awaits(7), index.awaits(8)), (None, Some(0), Some(0)));
        append(index, 4096);
        assert_ne!(index.word_of(7), 0);
        assert_eq!((index.awaits(7), index.awaits(8)), (None, Some(0)));
        let before = Words::from(INDEX as u64 * 63);
        assert!(before.index().awaits(INDEX as u64 * 63).is_some(), "the first of the lap that is written as 0");
    }

    #[test]
    fn whoever_may_not_write_finds_the_last_frame_and_changes_nothing() {
        let words = Words::from(7);
        assert_eq!((words.index().last(), words.index().position_of(6)), (Some(6), Some(6 * FRAME_ALIGN)));
        assert_eq!((Words::from(0).index().last(), words.index().position_of(7)), (None, None));
        // Its writer has died before it moved the tail.
        words.recorded[7].store(4096 | lap(7), Ordering::Relaxed);
        assert_eq!((words.index().last(), words.index().position_of(7)), (Some(7), Some(4096)));
        assert_eq!(words.index().next(), 7);
        assert_eq!(words.index().position_of(7 + INDEX as u64), None);
    }

    proptest! {
        /// However far the channel is: what was appended is there, in order, and what was overwritten is counted.
        #[test]
        fn what_a_reader_passes_is_received_or_lost(
            before in prop_oneof![0..5000_u64, 1_u64 << 40..1 << 41],
            steps in prop::collection::vec((0..700_u64, 0..700_u64), 1..20),
        ) {
            let words = Words::from(before);
            let index = words.index();
            let (mut cursor, mut received, mut lost, mut sent) = (before, 0, 0, 0);
            for (sends, reads) in steps {
                for _ in 0..sends {
                    let number = before + sent;
                    prop_assert_eq!(append(index, (number + 9) * FRAME_ALIGN), number);
                    sent += 1;
                }
                for _ in 0..reads {
                    match index.look_at(cursor) {
                        Recorded::At(start) => {
                            prop_assert_eq!(start, (cursor + 9) * FRAME_ALIGN);
                            (cursor, received) = (cursor + 1, received + 1);
                        }
                        Recorded::Lost { oldest } => {
                            prop_assert!(oldest > cursor);
                            (lost, cursor) = (lost + oldest - cursor, oldest);
                        }
                        Recorded::NotYet => prop_assert_eq!(cursor, before + sent),
                    }
                }
                prop_assert_eq!(received + lost, cursor - before);
                prop_assert!(before + sent - cursor <= INDEX as u64 || index.look_at(cursor) != Recorded::NotYet);
            }
        }
    }
}
