//! [`Cursors`]: the lossless subscribers of a channel, for which publishers wait.
//!
//! Such a subscriber has a *cursor*: the number of the first frame that it has not received yet. A publisher that keeps
//! its last `k` frames does not append number `t` while a living cursor is below `t + 1 - k`: what it lets go of then
//! is older than that, and so was received.
//!
//! # Why nothing is lost from the beginning on
//!
//! A subscriber *begins*: it takes a place, stores its cursor, sets the place's bit in `lossless`, and reads the tail,
//! `b`, by writing it back in the same step. Every frame from number `b` on is kept until it was received:
//!
//! A publisher *sends*: it loads the tail, looks at the cursors, appends (which moves the tail), and lets go of its
//! oldest frame. Take one that lets go of a frame of number `b` or above. Since it sent that frame it has seen a tail
//! above `b`, from a move that came after the subscriber's step on the same word, and so has seen the cursor. (SYNC
//! POINT "cursors and tail", `Index::next_after_me`.)
//!
//! *Moves.* A subscriber stores its cursor, has a fence, and looks whether a publisher is held up. A publisher says
//! that it is, has a fence, and looks at the cursors once more, before it sleeps on `moves`. (SYNC POINT "cursors and
//! held up".)
//!
//! *Who keeps nothing.* A subscriber takes its place, has a fence, and looks for publishers that keep nothing. Such a
//! publisher sets its bit in its slot, has a fence, and looks at the cursors. At least one of the two is refused. (SYNC
//! POINT "keeps none and loses none", [`announce_and_look`].)
//!
//! *Death.* The place names its holder, a participant by slot and incarnation. A publisher that would be held up asks
//! whether it lives, and frees the place if not. Bits in `lossless` are never cleared: they only say where to look.

use crate::layout::{ChannelWords, CursorWords};
use crate::sync::{AtomicU64, Ordering, fence};

/// The cursors of one channel.
#[derive(Clone, Copy)]
pub(crate) struct Cursors<'m> {
    /// A bit for each place that has ever been in use.
    pub(crate) lossless: &'m AtomicU64,
    /// [`CURSORS`](crate::layout::CURSORS) places.
    pub(crate) places: &'m [CursorWords],
    /// Not 0 if a publisher may be asleep.
    pub(crate) held_up: &'m AtomicU64,
    /// What publishers sleep on.
    pub(crate) moves: &'m AtomicU64,
}

/// A lossless subscriber that has yet to receive a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Its place.
    pub(crate) place: usize,
    /// Who has the place, never 0.
    pub(crate) holder: u64,
    /// The number of the frame.
    pub(crate) number: u64,
}

/// Announces that the caller is of one of two kinds that exclude each other, and then looks whether somebody is of the
/// other kind. Of two callers, one of each kind, at least one sees the other.
pub(crate) fn announce_and_look<T>(announce: impl FnOnce() -> T, look: impl FnOnce() -> bool) -> (T, bool) {
    let announced = announce();
    // SYNC POINT "keeps none and loses none". Of two fences one is first: who has the other one sees what was announced
    // before the first.
    fence(Ordering::SeqCst);
    (announced, look())
}

impl<'m> Cursors<'m> {
    /// The cursors of a channel.
    #[inline]
    pub(crate) fn of(channel: &'m ChannelWords) -> Self {
        let ChannelWords { tail, missed, cursors, .. } = channel;
        Self { lossless: &tail.lossless, places: cursors, held_up: &missed.held_up, moves: &missed.moves }
    }

    /// Takes a place for `holder`, with the cursor at `number`. `is_gone` tells whether another holder is, whose place
    /// is taken over then. `None` if all places are taken.
    ///
    /// Ask [`Index::next_after_me`](super::index::Index::next_after_me) afterwards: from that number on nothing is
    /// lost.
    pub(crate) fn begin(self, holder: u64, number: u64, is_gone: impl Fn(u64) -> bool) -> Option<usize> {
        let place = self.places.iter().position(|place| {
            let found = place.holder.load(Ordering::Acquire);
            (found == 0 || is_gone(found))
                && place.holder.compare_exchange(found, holder, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        self.places[place].number.store(number, Ordering::Release);
        self.lossless.fetch_or(1 << place, Ordering::AcqRel);
        Some(place)
    }

    /// Moves the cursor at this place on. True if a publisher may be asleep, and is to be woken by the caller.
    pub(crate) fn move_on(self, place: usize, number: u64) -> bool {
        self.places[place].number.store(number, Ordering::Release);
        self.take_held_up()
    }

    /// Gives a place up, if `holder` still has it. True as for [`move_on`](Self::move_on).
    pub(crate) fn end(self, place: usize, holder: u64) -> bool {
        let _ = self.places[place].holder.compare_exchange(holder, 0, Ordering::AcqRel, Ordering::Relaxed);
        self.take_held_up()
    }

    /// A cursor that holds up a publisher which keeps `keep` frames and is going to append number `number`.
    #[inline]
    pub(crate) fn behind(self, number: u64, keep: u64) -> Option<Cursor> {
        let mut in_use = self.lossless.load(Ordering::Acquire);
        if in_use == 0 {
            return None;
        }
        in_use &= u64::MAX >> (64 - self.places.len());
        self.all(in_use).find(|cursor| cursor.number.saturating_add(keep) <= number)
    }

    /// All cursors.
    pub(crate) fn list(self) -> impl Iterator<Item = Cursor> {
        self.all(self.lossless.load(Ordering::Acquire))
    }

    fn all(self, in_use: u64) -> impl Iterator<Item = Cursor> {
        let places = self.places.iter().enumerate().filter(move |(place, _)| in_use & (1 << place) != 0);
        places.filter_map(|(place, words)| {
            let holder = words.holder.load(Ordering::Acquire);
            let number = words.number.load(Ordering::Acquire);
            (holder != 0).then_some(Cursor { place, holder, number })
        })
    }

    /// Announces that the caller is going to sleep as long as the futex `moves` has the lower half of the value that is
    /// returned. Look at the cursors once more before that.
    pub(crate) fn announce_sleep(self) -> u64 {
        let moves = self.moves.load(Ordering::Acquire);
        self.held_up.store(1, Ordering::Relaxed);
        // SYNC POINT "cursors and held up".
        fence(Ordering::SeqCst);
        moves
    }

    fn take_held_up(self) -> bool {
        // SYNC POINT "cursors and held up".
        fence(Ordering::SeqCst);
        let is_held_up = self.held_up.load(Ordering::Relaxed) != 0 && self.held_up.swap(0, Ordering::AcqRel) != 0;
        if is_held_up {
            self.moves.fetch_add(1, Ordering::AcqRel);
        }
        is_held_up
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::layout::CURSORS;

    #[test]
    fn a_publisher_is_held_up_by_whoever_has_yet_to_receive_what_it_would_let_go() {
        let words = ChannelWords::default();
        let cursors = Cursors::of(&words);
        assert_eq!(cursors.behind(1000, 1), None);
        let place = cursors.begin(7, 10, |_| false).expect("a place");
        // With number 11, one that keeps 2 lets go of number 9.
        assert_eq!([1, 2, 3].map(|keep| cursors.behind(11, keep).is_some()), [true, false, false]);
        assert_eq!(cursors.behind(12, 2), Some(Cursor { place, holder: 7, number: 10 }));
        assert!(!cursors.move_on(place, 11));
        assert_eq!(cursors.behind(12, 2), None);
        assert!(!cursors.end(place, 7));
        assert_eq!(cursors.behind(1000, 1), None);
    }

    #[test]
    fn whoever_moves_on_or_goes_wakes_those_that_are_held_up_once() {
        let words = ChannelWords::default();
        let cursors = Cursors::of(&words);
        let place = cursors.begin(7, 0, |_| false).expect("a place");
        let wake = |moves: bool| if moves { cursors.move_on(place, 1) } else { cursors.end(place, 7) };
        for moves in [true, false] {
            let before = cursors.announce_sleep();
            assert!(wake(moves));
            assert_ne!(words.missed.moves.load(Ordering::Relaxed), before);
            assert!(!wake(moves));
        }
    }

    #[test]
    fn there_are_so_many_places_and_those_of_the_dead_are_taken_over() {
        let words = ChannelWords::default();
        let cursors = Cursors::of(&words);
        let places: Vec<_> = (1..=CURSORS as u64).map(|holder| cursors.begin(holder, 0, |_| false)).collect();
        assert!(places.iter().all(Option::is_some));
        assert_eq!(cursors.begin(100, 0, |_| false), None);
        assert_eq!(cursors.begin(100, 5, |holder| holder == 3), places[2]);
        // The dead one's end is no end of the living one's.
        assert!(!cursors.end(2, 3));
        assert!(cursors.list().any(|cursor| cursor == Cursor { place: 2, holder: 100, number: 5 }));
    }
}
