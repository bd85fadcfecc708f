//! [`Rings`]: the ring that a client is in, and those that it was in before.
//!
//! When a ring is given up for good, its clients find its `retired` word set at their next operation. One that knows
//! how to find the next ring, as one from [`connect`](crate::connect()) does, goes over to it. Views and loans of the
//! old ring go on; when the last of them is gone, so is the old ring's memory.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::membership::Membership;
use crate::os::fork;

/// Pause between two attempts to find the next ring. Operations in between fail at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The ring that a client is in. Shared by all threads; takes no lock.
pub(crate) struct Rings {
    current: AtomicPtr<Joined>,
    /// The process in which a thread is looking for the next ring, by its [number](fork::generation); 0 if none.
    looking: AtomicU64,
    /// When the last attempt began, in milliseconds since `since`, plus 1.
    last_attempt: AtomicU64,
    since: Instant,
}

/// A ring that a client has joined.
struct Joined {
    key: Key,
    membership: Membership,
    /// The ring before this one, or null. It lives as long as the client, since views and loans borrow from it.
    before: *mut Joined,
}

/// Finds the key of the ring that has taken another's place. Does not take long.
#[derive(Clone)]
pub(crate) struct Finder(pub(crate) Arc<dyn Fn() -> Result<Key, String> + Send + Sync>);

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").finish_non_exhaustive()
    }
}

impl Rings {
    /// With a first ring.
    pub(crate) fn new(key: Key, membership: Membership) -> Self {
        let first = Box::into_raw(Box::new(Joined { key, membership, before: ptr::null_mut() }));
        Self {
            current: AtomicPtr::new(first),
            looking: AtomicU64::new(0),
            last_attempt: AtomicU64::new(0),
            since: Instant::now(),
        }
    }

    /// The part in the current ring, whether it is retired or not.
    #[inline]
    pub(crate) fn current(&self) -> &Membership {
        &self.joined().membership
    }

    /// The key of the current ring.
    pub(crate) fn key(&self) -> &Key {
        &self.joined().key
    }

    #[inline]
    fn joined(&self) -> &Joined {
        // SAFETY: made from a Box, and freed only when `self` is dropped.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// Goes over to the ring that has taken the place of the current one, which is retired: asks `find` for its key,
    /// and `join` joins it.
    ///
    /// # Errors
    ///
    /// [`Error::Retired`] if there is none yet, or another thread is looking.
    #[cold]
    pub(crate) fn renew(
        &self,
        find: &Finder,
        join: impl FnOnce(&Key) -> Result<Membership, SegmentError>,
    ) -> Result<&Membership, Error> {
        let retired = self.current.load(Ordering::Acquire);
        let process = fork::generation();
        let looking = self.looking.load(Ordering::Relaxed);
        // The number of another process is what a thread left here that the fork did not copy.
        if looking == process
            || self.looking.compare_exchange(looking, process, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return Err(Error::Retired);
        }
        let renewed = self.renew_alone(retired, find, join);
        self.looking.store(0, Ordering::Release);
        renewed
    }

    fn renew_alone(
        &self,
        retired: *mut Joined,
        find: &Finder,
        join: impl FnOnce(&Key) -> Result<Membership, SegmentError>,
    ) -> Result<&Membership, Error> {
        if self.current.load(Ordering::Acquire) != retired {
            return Ok(self.current());
        }
        let now = self.since.elapsed().as_millis() as u64 + 1;
        let last = self.last_attempt.load(Ordering::Relaxed);
        if last != 0 && now - last < PAUSE.as_millis() as u64 {
            return Err(Error::Retired);
        }
        self.last_attempt.store(now, Ordering::Relaxed);
        let not_yet = |reason: &dyn fmt::Display| {
            tracing::debug!(%reason, "the ring was given up by its owner, and there is no other yet");
            Error::Retired
        };
        let key = (find.0)().map_err(|reason| not_yet(&reason))?;
        let membership = join(&key).map_err(|error| not_yet(&error))?;
        if membership.segment().is_retired() {
            return Err(not_yet(&"that is retired, too"));
        }
        let new = Box::into_raw(Box::new(Joined { key, membership, before: retired }));
        self.current.store(new, Ordering::Release);
        tracing::info!("the ring was given up by its owner: went over to the one that has taken its place");
        // SAFETY: as in `joined`.
        unsafe { &*retired }.membership.retire();
        Ok(self.current())
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        let mut next = *self.current.get_mut();
        while !next.is_null() {
            // SAFETY: made from a Box, each once in this list, and nobody else has `self` any more.
            let joined = unsafe { Box::from_raw(next) };
            next = joined.before;
        }
    }
}
