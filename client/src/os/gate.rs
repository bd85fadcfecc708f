//! [`Gate`]: keeps `fork` out while a file is opened or closed.
//!
//! `fork` copies descriptors and memory, but not at one instant: a file that is open and not yet registered, or no
//! longer registered and still open, is one that the child has and does not know of. If it holds a lock, the child
//! keeps that lock for life. So a file is opened and registered, or unregistered and closed, inside the gate, and
//! `fork` waits for the gate (`pthread_atfork`).
//!
//! Nothing that takes long is done inside. All signals are blocked there, so that no signal handler that forks can wait
//! for the thread that it interrupted.

use std::cell::UnsafeCell;

use nix::libc;

use crate::threads::Blocked;

/// A mutex that a forked child can unlock in its parent's place. That of `std` cannot be unlocked without its guard.
struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only ever touched through the functions for mutexes, which any thread may call.
unsafe impl Sync for Mutex {}

static MUTEX: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// The calling thread is inside the gate for as long as this lives: no thread forks meanwhile.
pub(super) struct Gate {
    /// Dropped after the gate is left. Blocking fails only for an unknown request.
    _signals: Option<Blocked>,
}

impl Gate {
    /// Waits until no thread forks and no other is inside.
    pub(super) fn enter() -> Self {
        let signals = Blocked::new().ok();
        lock();
        Self { _signals: signals }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: this thread has locked it in `enter`.
        unsafe { unlock() };
    }
}

/// For `fork`'s first handler: waits until nobody is inside, and keeps everybody out.
pub(super) fn lock() {
    // SAFETY: a statically initialised mutex, which is never moved or destroyed.
    unsafe { libc::pthread_mutex_lock(MUTEX.0.get()) };
}

/// For `fork`'s other handlers, in the parent and in the child.
///
/// # Safety
///
/// The calling thread, or in a child the parent's thread that forked, has locked the gate.
pub(super) unsafe fn unlock() {
    // SAFETY: by the caller.
    unsafe { libc::pthread_mutex_unlock(MUTEX.0.get()) };
}
