//! [`Control`]: a page of words that the processes of one group share.
//!
//! It serves the measurement, not the transport: it carries the stamp of the frame in flight, and the number of frames
//! that each reader has taken, by which the writer paces itself. It is also the "spinning word" that announces the
//! ring's frames. Each word has a pair of cache lines of its own (processors fetch them in pairs):
//!
//! ```text
//! line  0     when the frame in flight was begun, ns
//! line  1     event: counts up whenever a reader has taken a frame; beside it, whether the writer sleeps on it
//! line  2..   for each reader, how many frames it has taken
//! line 16     announced: the number of the newest frame (Python's reader spins on it)
//! line 17..   mailboxes: number, offset, size and checksum of a frame, in the line `number % MAILBOXES`
//! ```
//!
//! Frames are numbered from 1 for as long as a group lives. `transports/shared_memory.py` knows these places too.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use framebuffer::{Checksum, Frame};
use memmap2::{MmapOptions, MmapRaw};
use rustix::thread::futex;

use crate::wait::{Patience, Waiting};

/// Readers that a group has at most.
pub(crate) const MOST_READERS: usize = 8;
/// Frames in flight at most.
pub(crate) const MAILBOXES: u64 = 64;
/// How it is called in the group's folder.
pub(crate) const FILE: &str = "control";

/// Words in a pair of cache lines.
const LINE: usize = 16;
const STAMP: usize = 0;
const EVENT: usize = LINE;
const TAKEN: usize = 2 * LINE;
// Line 16 is the word in which Python's writer announces frames.
const MAILBOX: usize = 17 * LINE;
const WORDS: usize = MAILBOX + MAILBOXES as usize * LINE;

/// The shared page.
pub(crate) struct Control {
    map: MmapRaw,
    waiting: Waiting,
}

impl Control {
    /// Makes the page for a new group.
    pub(crate) fn create(dir: &Path) -> Result<()> {
        let file = std::fs::File::create_new(dir.join(FILE)).context("failed to create the control page")?;
        file.set_len(WORDS as u64 * 8).context("failed to size the control page")
    }

    /// Maps the page of a group, whose processes wait as `waiting` says.
    pub(crate) fn open(dir: &Path, waiting: Waiting) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(dir.join(FILE));
        let file = file.context("failed to open the control page")?;
        let map = MmapOptions::new().len(WORDS * 8).map_raw(&file).context("failed to map the control page")?;
        Ok(Self { map, waiting })
    }

    /// Stamps the frame that is about to be sent.
    pub(crate) fn stamp(&self, time: u64) {
        // Whatever announces the frame orders this before it; a reader looks at it only after that.
        self.word(STAMP).store(time, Ordering::Release);
    }

    /// When the frame in flight was begun. To be called before the frame is [taken](Self::take).
    pub(crate) fn stamped(&self) -> u64 {
        self.word(STAMP).load(Ordering::Acquire)
    }

    /// Says that `reader` is done with the frame `number`.
    pub(crate) fn take(&self, reader: usize, number: u64) {
        debug_assert!(reader < MOST_READERS, "reader {reader}");
        self.word(TAKEN + reader * LINE).store(number, Ordering::SeqCst);
        if let Waiting::Block = self.waiting {
            self.half(EVENT, 0).fetch_add(1, Ordering::SeqCst);
            if self.half(EVENT, 1).swap(0, Ordering::SeqCst) != 0 {
                // Nobody asleep is no error.
                let _ = futex::wake(self.half(EVENT, 0), futex::Flags::empty(), 1);
            }
        }
    }

    /// Waits until all `readers` have taken the frame `number`.
    ///
    /// # Errors
    ///
    /// If one does not within the time that a worker has patience.
    pub(crate) fn wait_until_taken(&self, readers: usize, number: u64) -> Result<()> {
        let lags = |reader: &usize| self.word(TAKEN + reader * LINE).load(Ordering::SeqCst) < number;
        let mut patience = Patience::new(self.waiting, readers + 1);
        while let Some(reader) = (0..readers).find(lags) {
            let event = self.half(EVENT, 0).load(Ordering::SeqCst);
            if let Waiting::Block = self.waiting {
                self.half(EVENT, 1).store(1, Ordering::SeqCst);
                // A frame taken since then has changed the event, so that the wait below does not begin.
                if lags(&reader) {
                    self.sleep(event);
                }
            }
            patience.pass(|| format!("for reader {reader} to take frame {number}"))?;
        }
        Ok(())
    }

    /// Announces a frame of the ring to spinning readers.
    pub(crate) fn post(&self, number: u64, frame: &Frame) {
        let mailbox = mailbox(number);
        self.word(mailbox + 1).store(frame.offset, Ordering::Relaxed);
        self.word(mailbox + 2).store(frame.size, Ordering::Relaxed);
        self.word(mailbox + 3).store(frame.checksum.to_u64(), Ordering::Relaxed);
        // Pairs with the load in `posted`.
        self.word(mailbox).store(number, Ordering::Release);
    }

    /// The frame `number`, if it has been announced.
    pub(crate) fn posted(&self, number: u64) -> Option<Frame> {
        let mailbox = mailbox(number);
        // Pairs with the store in `post`. The writer does not use the mailbox again before the frame is taken.
        (self.word(mailbox).load(Ordering::Acquire) == number).then(|| {
            let [offset, size, checksum] = [1, 2, 3].map(|word| self.word(mailbox + word).load(Ordering::Relaxed));
            Frame::new(offset, size, Checksum::from_u64(checksum))
        })
    }

    /// Sleeps while the event is `seen`, for a moment at most.
    fn sleep(&self, seen: u32) {
        let moment = futex::Timespec::try_from(Duration::from_millis(100)).expect("a moment is short");
        // Woken, timed out or the event has changed: the caller looks again in any case.
        let _ = futex::wait(self.half(EVENT, 0), futex::Flags::empty(), seen, Some(&moment));
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "word {index} of {WORDS}");
        let word = self.map.as_mut_ptr().wrapping_add(8 * index);
        // SAFETY: the mapping starts at a page, so the word is aligned; it has WORDS words and lives as long as `self`;
        // everybody uses atomics on it.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    /// One half of a word: a futex has 32 bits.
    fn half(&self, index: usize, half: usize) -> &AtomicU32 {
        assert!(index < WORDS && half < 2, "half {half} of word {index} of {WORDS}");
        let half = self.map.as_mut_ptr().wrapping_add(8 * index + 4 * half);
        // SAFETY: as in `word`; words that are used by halves are used in no other way.
        unsafe { AtomicU32::from_ptr(half.cast()) }
    }
}

fn mailbox(number: u64) -> usize {
    MAILBOX + (number % MAILBOXES) as usize * LINE
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn page(waiting: Waiting) -> (tempfile::TempDir, Control) {
        let dir = tempfile::tempdir().unwrap();
        Control::create(dir.path()).unwrap();
        let control = Control::open(dir.path(), waiting).unwrap();
        (dir, control)
    }

    #[test]
    fn a_posted_frame_is_seen_under_its_number_only() {
        let (_dir, control) = page(Waiting::Spin);
        let frame = Frame::new(64, 5, Checksum::of(b"hello"));
        assert_eq!(control.posted(1), None);
        control.post(1, &frame);
        assert_eq!(control.posted(1), Some(frame));
        assert_eq!(control.posted(1 + MAILBOXES), None);
    }

    #[test]
    fn the_writer_waits_for_the_slowest_reader_spinning_or_asleep() {
        for waiting in [Waiting::Spin, Waiting::Block] {
            let (_dir, control) = page(waiting);
            control.take(0, 2);
            thread::scope(|scope| {
                let waiter = scope.spawn(|| control.wait_until_taken(2, 2));
                control.take(1, 1);
                assert!(!waiter.is_finished());
                control.take(1, 2);
                waiter.join().unwrap().unwrap();
            });
        }
    }
}
