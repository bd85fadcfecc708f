//! Locks on bytes of the segment's file: who owns the ring, and which slots have a living participant.
//!
//! OFD locks (`F_OFD_SETLK`, Linux 3.15) belong to an open file description, so the kernel releases them when its last
//! descriptor is closed, however the process ends. Two things would keep a description alive longer than its process: a
//! mapping made from it, and a forked child that inherited it. So each lock has a file description of its own that is
//! never mapped; and [`fork`] closes it in a forked child.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::layout::{OWNER_BYTE, PARTICIPANTS, RING_OFFSET, SLOTS_OFFSET, slot_offset};
use crate::os::fork;
use crate::ring::participants::SlotLocks;

/// A lock of this process on a byte of the file. It is released when this is dropped, when the process ends, and in a
/// forked child immediately.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: fork::ParentOnly,
}

impl FileLock {
    /// Takes the lock of `byte` through `file`, whose file description nobody else has. `None` if it is held elsewhere.
    pub(crate) fn take(file: File, byte: u64) -> io::Result<Option<Self>> {
        Ok(try_lock(&file, byte, libc::F_WRLCK)?.then(|| Self { file: fork::ParentOnly::new(file) }))
    }

    /// Takes the lock of the first free slot, likewise.
    pub(crate) fn take_slot(file: File) -> io::Result<Option<(usize, Self)>> {
        for slot in 0..PARTICIPANTS {
            if try_lock(&file, slot_offset(slot), libc::F_WRLCK)? {
                return Ok(Some((slot, Self { file: fork::ParentOnly::new(file) })));
            }
        }
        Ok(None)
    }

    /// The file whose description holds the lock; `None` in a forked child, and if the program has closed it.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.get()
    }
}

/// Tries the locks of slots to find out who lives. Its file description is its own, so it sees this process's locks
/// too.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Locks of one file description do not exclude each other, so the mutex excludes threads.
    file: Mutex<fork::ParentOnly>,
}

impl Probe {
    /// Probes through `file`, whose file description nobody else has.
    pub(crate) fn new(file: File) -> Self {
        Self { file: Mutex::new(fork::ParentOnly::new(file)) }
    }
}

impl SlotLocks for Probe {
    fn with_lock(&self, slot: usize, action: impl FnOnce()) {
        // Another thread is probing: the answer stays unknown.
        let Ok(file) = self.file.try_lock() else { return };
        let Some(file) = file.get() else { return };
        let byte = slot_offset(slot);
        if !matches!(try_lock(file, byte, libc::F_WRLCK), Ok(true)) {
            return;
        }
        action();
        if let Err(error) = try_lock(file, byte, libc::F_UNLCK) {
            tracing::warn!(%error, slot, "failed to unlock a slot");
        }
    }
}

fn try_lock(file: &File, byte: u64, kind: libc::c_int) -> io::Result<bool> {
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(&lock_of(byte, kind))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

fn lock_of(byte: u64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte.cast_signed(),
        l_len: 1,
        l_pid: 0,
    }
}

/// Whether the segment has an owner. Asks without taking a lock; `file`'s description holds none of them.
pub(crate) fn has_owner(file: &File) -> io::Result<bool> {
    is_any_held(file, OWNER_BYTE..OWNER_BYTE + 1)
}

/// Whether a participant of the segment lives, likewise. Whoever clears a slot is one too.
pub(crate) fn has_participants(file: &File) -> io::Result<bool> {
    is_any_held(file, SLOTS_OFFSET..RING_OFFSET)
}

fn is_any_held(file: &File, bytes: Range<u64>) -> io::Result<bool> {
    let mut lock = lock_of(bytes.start, libc::F_WRLCK);
    lock.l_len = (bytes.end - bytes.start).cast_signed();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}
