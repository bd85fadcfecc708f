//! [`Ownership`]: the owner's lock of a ring, which the program may have closed (a daemon's `closefrom`).
//!
//! The lock's file tells: it is still open, or it is not. If not, the lock is taken again, through the ring's name;
//! that fails if another owner has come meanwhile, or the name is gone, and then the ring is lost to this process.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::layout::OWNER_BYTE;
use crate::os::fork;
use crate::os::own_file::reopen;
use crate::segment::create::{give_up, keep, leads_to, name_again};
use crate::segment::health::{Known, check_head};
use crate::segment::locks::FileLock;
use crate::segment::{Segment, open_file, path};

/// The owner's lock of a ring.
pub(crate) struct Ownership {
    dir: PathBuf,
    key: Key,
    known: Known,
    lock: Mutex<FileLock>,
    /// Whether the lock is lost, and cannot be taken again.
    lost: AtomicBool,
    /// Whether the file was found to be shorter than it was, or longer: the mapping must not be touched.
    resized: AtomicBool,
    /// The largest head that was seen.
    head: AtomicU64,
    /// See [`fork::generation`]. A forked child does not own its parent's ring.
    generation: u64,
}

impl Ownership {
    /// Watches over `lock`.
    pub(crate) fn new(dir: PathBuf, key: Key, lock: FileLock) -> Result<Self, SegmentError> {
        let known = Known::of(lock.file().ok_or(SegmentError::OwnershipLost)?)?;
        Ok(Self {
            dir,
            key,
            known,
            lock: Mutex::new(lock),
            lost: AtomicBool::new(false),
            resized: AtomicBool::new(false),
            head: AtomicU64::new(0),
            generation: fork::generation(),
        })
    }

    /// As [`confirm`](Self::confirm), but asks only if that has failed before.
    #[inline]
    pub(crate) fn confirm_if_in_doubt(&self) -> Result<(), SegmentError> {
        if self.lost.load(Ordering::Relaxed) || self.resized.load(Ordering::Relaxed) { self.confirm() } else { Ok(()) }
    }

    /// Whether the ring is ours and its mapping can be touched. Takes the lock again if it can.
    pub(crate) fn confirm(&self) -> Result<(), SegmentError> {
        self.with_file(|file| self.check_length(file))
    }

    /// Whether the ring, mapped as `segment`, is ours, in order, and in its place. Takes the lock and the name again if
    /// it can.
    pub(crate) fn check(&self, segment: &Segment) -> Result<(), SegmentError> {
        self.with_file(|file| {
            self.check_length(file)?;
            self.known.check(file)?;
            self.head.fetch_max(check_head(segment, self.head.load(Ordering::Relaxed))?, Ordering::Relaxed);
            name_again(&self.dir, &self.key, file)
        })
    }

    /// Whether the file does not have its length any more, so that its mapping must not be touched.
    pub(crate) fn has_other_length(&self) -> bool {
        // Whatever else is wrong is told by what follows.
        let _ = self.confirm();
        self.resized.load(Ordering::Relaxed)
    }

    /// Gives the ring up for good and removes it.
    pub(crate) fn give_up(self) -> Result<(), SegmentError> {
        self.unless_gone(self.with_file(|file| give_up(&path(&self.dir, &self.key), file)))
    }

    /// Leaves the ring to the next owner.
    pub(crate) fn keep(self) -> Result<(), SegmentError> {
        self.unless_gone(self.with_file(|file| keep(&path(&self.dir, &self.key), file)))
    }

    /// A ring that was lost and has been replaced or removed since needs nothing any more. One that another server has
    /// adopted is an error.
    fn unless_gone(&self, left: Result<(), SegmentError>) -> Result<(), SegmentError> {
        let is_there = || open_file(&self.dir, &self.key, false).is_ok_and(|file| self.known.check(&file).is_ok());
        match left {
            Err(SegmentError::OwnershipLost) if !is_there() => {
                tracing::warn!("the program closed the file that held a ring's lock, and the ring was replaced");
                Ok(())
            }
            left => left,
        }
    }

    fn check_length(&self, file: &File) -> Result<(), SegmentError> {
        let checked = self.known.check_length(file);
        self.resized.store(checked.is_err(), Ordering::Relaxed);
        checked
    }

    /// Runs `action` on the file whose description holds the lock. Not in a forked child, and not while another thread
    /// does so: neither has anything to say about the lock.
    fn with_file(&self, action: impl FnOnce(&File) -> Result<(), SegmentError>) -> Result<(), SegmentError> {
        if self.generation != fork::generation() {
            return Ok(());
        }
        if self.lost.load(Ordering::Relaxed) {
            return Err(SegmentError::OwnershipLost);
        }
        // Does not wait: a signal handler may have interrupted the thread that is in here.
        let Ok(mut lock) = self.lock.try_lock() else { return Ok(()) };
        if lock.file().is_none() {
            let Some(again) = self.take_again()? else {
                self.lost.store(true, Ordering::Relaxed);
                return Err(SegmentError::OwnershipLost);
            };
            tracing::warn!("the program closed the file that held a ring's lock: locked the ring again");
            *lock = again;
        }
        action(lock.file().ok_or(SegmentError::OwnershipLost)?)
    }

    /// Takes the lock through the ring's name. `None` if the ring has another owner now, or another ring has its name,
    /// or none has.
    fn take_again(&self) -> Result<Option<FileLock>, SegmentError> {
        let file = match open_file(&self.dir, &self.key, true) {
            Ok(file) => file,
            Err(SegmentError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.known.check(&file).is_err() {
            return Ok(None);
        }
        let lock = FileLock::take(|| reopen(&file), OWNER_BYTE).map_err(SegmentError::io("lock the segment"))?;
        let is_named = |lock: &FileLock| {
            lock.file().is_some_and(|file| leads_to(&path(&self.dir, &self.key), file).unwrap_or(false))
        };
        Ok(lock.filter(is_named))
    }
}
