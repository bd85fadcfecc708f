//! [`Attachments`]: what a process does with which channel, counted, so that a bit in its slot says whether it does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::layout::{AttachedWords, CHANNELS};

/// What one does with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Subscribes to it.
    Subscriber,
    /// Publishes on it.
    Publisher,
    /// Publishes on it, and keeps no frame.
    KeepsNone,
}

/// How many in this process do what with which channel.
#[derive(Default)]
pub(crate) struct Attachments(Mutex<Vec<[u32; 3]>>);

impl Attachments {
    /// One more.
    pub(crate) fn add(&self, words: &AttachedWords, role: Role, place: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.resize(CHANNELS, [0; 3]);
        counts[place][role as usize] += 1;
        role.word(words).fetch_or(1 << place, Ordering::AcqRel);
    }

    /// One less.
    pub(crate) fn remove(&self, words: &AttachedWords, role: Role, place: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counts.get_mut(place).map(|counts| &mut counts[role as usize]) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            role.word(words).fetch_and(!(1 << place), Ordering::AcqRel);
        }
    }
}

impl Role {
    /// The word of the slot that has a bit for each channel.
    pub(crate) fn word(self, words: &AttachedWords) -> &AtomicU64 {
        match self {
            Self::Subscriber => &words.subscribed,
            Self::Publisher => &words.publishing,
            Self::KeepsNone => &words.keeping_none,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_stays_until_the_last_one_is_gone() {
        let (words, attachments) = (AttachedWords::default(), Attachments::default());
        for _ in 0..2 {
            attachments.add(&words, Role::Subscriber, 63);
        }
        attachments.add(&words, Role::Publisher, 0);
        let bits = || [&words.subscribed, &words.publishing, &words.keeping_none].map(|w| w.load(Ordering::Relaxed));
        assert_eq!(bits(), [1 << 63, 1, 0]);
        attachments.remove(&words, Role::Subscriber, 63);
        assert_eq!(bits(), [1 << 63, 1, 0]);
        attachments.remove(&words, Role::Subscriber, 63);
        attachments.remove(&words, Role::Publisher, 0);
        attachments.remove(&words, Role::Publisher, 0);
        assert_eq!(bits(), [0, 0, 0]);
    }
}
