//! Locks on bytes of the segment's file: who owns the ring, who holds which slot.
//!
//! OFD locks (`F_OFD_SETLK`, Linux 3.15) belong to an open file description, so the kernel releases them when the last
//! descriptor of it is closed, however the process ends. Two things would keep a description alive longer than its
//! process: a mapping made from it, and a forked child that inherited it. So each lock has a file of its own, opened
//! anew, that is never mapped; and [`crate::fork`] closes them in a forked child.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::fork;
use crate::layout::{PARTICIPANTS, SLOT_SIZE, SLOTS_OFFSET};
use crate::ring::SlotLocks;

/// The byte whose lock makes its holder the owner.
pub(crate) const OWNER: u64 = 0;

/// The byte whose lock makes its holder the participant of a slot.
pub(crate) fn slot_byte(slot: usize) -> u64 {
    SLOTS_OFFSET + slot as u64 * SLOT_SIZE
}

/// A lock held: until this is dropped, or the process ends, or (in a forked child) at once.
#[derive(Debug)]
pub(crate) struct HeldLock {
    file: fork::ParentOnly,
}

impl HeldLock {
    /// Takes the lock of `byte` through `file`, a file description that nobody else has. `None` if it is held elsewhere.
    pub(crate) fn take(file: File, byte: u64) -> io::Result<Option<Self>> {
        Ok(try_lock(&file, byte, libc::F_WRLCK)?.then(|| Self { file: fork::ParentOnly::new(file) }))
    }

    /// Takes the lock of the first slot that nobody holds, likewise.
    pub(crate) fn take_slot(file: File) -> io::Result<Option<(usize, Self)>> {
        for slot in 0..PARTICIPANTS {
            if try_lock(&file, slot_byte(slot), libc::F_WRLCK)? {
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

/// The locks of all slots, for asking who lives. Its file description is its own, so a lock of this process too counts
/// as held.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The mutex: locks of one description do not exclude each other, so threads must.
    file: Mutex<fork::ParentOnly>,
}

impl Probe {
    /// `file` is a file description that nobody else has.
    pub(crate) fn new(file: File) -> Self {
        Self { file: Mutex::new(fork::ParentOnly::new(file)) }
    }
}

impl SlotLocks for Probe {
    fn with_lock(&self, slot: usize, action: impl FnOnce()) {
        // Another thread is asking already: as good as not knowing.
        let Ok(file) = self.file.try_lock() else { return };
        let Some(file) = file.get() else { return };
        let byte = slot_byte(slot);
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
