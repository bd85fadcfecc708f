//! Locks on bytes of the segment's file: who owns the ring, which slots have a living participant, and who clears one.
//!
//! OFD locks (`F_OFD_SETLK`, Linux 3.15) belong to an open file description, so the kernel releases them when its last
//! descriptor is closed, however the process ends. Two things would keep a description alive longer than its process: a
//! mapping made from it, and a forked child that inherited it. So locks have file descriptions of their own that are
//! never mapped, and that [`fork`] closes in a forked child.
//!
//! All descriptions are opened when a process joins a ring, so nothing is missing later, when privileges were dropped
//! or `/proc` is gone. A forked child opens its own at its first operation.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::layout::{CHANNELS_OFFSET, OWNER_BYTE, PARTICIPANTS, SLOTS_OFFSET, life_byte, repair_byte};
use crate::os::fork;
use crate::ring::participants::{Liveness, SlotLocks};

/// A lock of this process on a byte of the file. It is released when this is dropped, when the process ends, and in a
/// forked child immediately.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: LockFile,
}

/// A file description for locks. When it is dropped, they are released.
#[derive(Debug)]
struct LockFile(fork::ParentOnly);

impl LockFile {
    /// Takes over the file description that `open` opens, which nobody else has.
    fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        fork::ParentOnly::open(open).map(Self)
    }

    /// The file; `None` in a forked child, and if the program has closed it.
    fn get(&self) -> Option<&File> {
        self.0.get()
    }

    /// Closes it early.
    fn close(&self) {
        self.0.close();
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file would release them too, but not before a child that was forked in this instant has closed
        // its own copy.
        let Some(file) = self.get() else { return };
        if let Err(error) = set_lock(file, &lock_of(0, 0, libc::F_UNLCK)) {
            tracing::warn!(%error, "failed to release the locks of a segment");
        }
    }
}

impl FileLock {
    /// Takes the lock of `byte` through a file description of its own, which `open` opens without taking long. `None`
    /// if it is held elsewhere.
    pub(crate) fn take(open: impl FnOnce() -> io::Result<File>, byte: u64) -> io::Result<Option<Self>> {
        let file = LockFile::open(open)?;
        let taken = try_lock(file.get().ok_or_else(lost)?, byte, libc::F_WRLCK)?;
        Ok(taken.then_some(Self { file }))
    }

    /// The file whose description holds the lock; `None` in a forked child, and if the program has closed it.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.get()
    }
}

/// The locks of this process's participants in a ring: one for each slot that it has claimed.
#[derive(Debug)]
pub(crate) struct LifeLocks {
    file: LockFile,
}

impl LifeLocks {
    /// Locks through the file description that `open` opens, which nobody else has.
    pub(crate) fn new(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        Ok(Self { file: LockFile::open(open)? })
    }

    /// Takes the lock of a slot that is not this process's. False if somebody else holds it.
    pub(crate) fn take(&self, slot: usize) -> io::Result<bool> {
        try_lock(self.file.get().ok_or_else(lost)?, life_byte(slot), libc::F_WRLCK)
    }

    /// Closes the file, which releases all locks. There are none to be had afterwards.
    pub(crate) fn close(&self) {
        self.file.close();
    }

    /// Releases the lock of a slot of this process.
    pub(crate) fn release(&self, slot: usize) {
        // Without its file there is no lock any more.
        let Some(file) = self.file.get() else { return };
        if let Err(error) = try_lock(file, life_byte(slot), libc::F_UNLCK) {
            tracing::warn!(%error, slot, "failed to unlock a slot");
        }
    }
}

/// Finds out who lives, and takes the locks for clearing a slot. Its file description holds no participant's lock, so
/// it sees those of this process too.
#[derive(Debug)]
pub(crate) struct Probe {
    file: LockFile,
    /// Locks of one file description do not exclude each other, so this excludes threads.
    repairing: Mutex<()>,
    /// When each slot's participant was last seen alive, in milliseconds since `since`, plus 1.
    seen_alive: [AtomicU64; PARTICIPANTS],
    since: Instant,
}

/// For how long a participant that was seen alive need not be probed again. Its death costs the room that its pins take
/// for so much longer at most; a ring without room asks anew.
const RECENT: Duration = Duration::from_millis(10);

impl Probe {
    /// Probes through the file description that `open` opens, which nobody else has.
    pub(crate) fn new(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        Ok(Self {
            file: LockFile::open(open)?,
            repairing: Mutex::new(()),
            seen_alive: [const { AtomicU64::new(0) }; PARTICIPANTS],
            since: Instant::now(),
        })
    }

    /// Runs `action` while holding the lock for clearing `slot`. `None` if another process holds it. Waits for the
    /// other threads of this process, which hold it for an instant.
    pub(crate) fn repair<T>(&self, slot: usize, action: impl FnOnce() -> T) -> io::Result<Option<T>> {
        let _alone = self.repairing.lock().unwrap_or_else(PoisonError::into_inner);
        self.repair_alone(slot, action)
    }

    fn repair_alone<T>(&self, slot: usize, action: impl FnOnce() -> T) -> io::Result<Option<T>> {
        let file = self.file.get().ok_or_else(lost)?;
        if !try_lock(file, repair_byte(slot), libc::F_WRLCK)? {
            return Ok(None);
        }
        let done = action();
        try_lock(file, repair_byte(slot), libc::F_UNLCK)?;
        Ok(Some(done))
    }

    /// Closes the file. Nothing is known afterwards.
    pub(crate) fn close(&self) {
        self.file.close();
    }

    fn milliseconds(&self) -> u64 {
        self.since.elapsed().as_millis() as u64 + 1
    }
}

impl SlotLocks for Probe {
    fn liveness(&self, slot: usize) -> Liveness {
        // Without an answer nobody is declared dead.
        let Some(file) = self.file.get() else { return Liveness::Alive };
        if matches!(is_locked(file, life_byte(slot)..life_byte(slot) + 1), Ok(false)) {
            return Liveness::Dead;
        }
        self.seen_alive[slot].store(self.milliseconds(), Ordering::Relaxed);
        Liveness::Alive
    }

    fn recent_liveness(&self, slot: usize) -> Liveness {
        let seen = self.seen_alive[slot].load(Ordering::Relaxed);
        if seen != 0 && self.milliseconds() - seen < RECENT.as_millis() as u64 {
            Liveness::AliveRecently
        } else {
            self.liveness(slot)
        }
    }

    fn try_repair(&self, slot: usize, action: impl FnOnce()) {
        let _alone = match self.repairing.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Err(error) = self.repair_alone(slot, action) {
            tracing::debug!(%error, slot, "failed to lock a slot for clearing it");
        }
    }
}

/// The error of whoever needs a file that is gone.
fn lost() -> io::Error {
    io::Error::other("the program has closed a file descriptor of this library")
}

fn try_lock(file: &File, byte: u64, kind: libc::c_int) -> io::Result<bool> {
    set_lock(file, &lock_of(byte, 1, kind))
}

fn set_lock(file: &File, lock: &libc::flock) -> io::Result<bool> {
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(lock)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Whether the segment has an owner. Asks without taking a lock; `file`'s description holds none of them.
pub(crate) fn has_owner(file: &File) -> io::Result<bool> {
    is_locked(file, OWNER_BYTE..OWNER_BYTE + 1)
}

/// Whether a participant of the segment lives, likewise. Whoever clears a slot is one too.
pub(crate) fn has_participants(file: &File) -> io::Result<bool> {
    is_locked(file, SLOTS_OFFSET..CHANNELS_OFFSET)
}

/// Whether another file description than that of `file` holds a lock of one of the bytes. Takes no lock.
fn is_locked(file: &File, bytes: Range<u64>) -> io::Result<bool> {
    let mut lock = lock_of(bytes.start, bytes.end - bytes.start, libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

/// A request about the locks of `count` bytes from `first` on; of all to the end if `count` is 0.
fn lock_of(first: u64, count: u64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first.cast_signed(),
        l_len: count.cast_signed(),
        l_pid: 0,
    }
}
