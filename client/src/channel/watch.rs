//! [`Watch`]: a descriptor that becomes readable when a channel has a new frame, for event loops.
//!
//! The descriptor is an eventfd of this process, which a thread of this library writes to when it is woken by a
//! publisher. So publishers do the same for all subscribers, and nothing has to be found, opened or removed in the file
//! system. The price is the way through the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::index::Index;
use crate::os::{fork, futex};
use crate::segment::mapping::Mapping;
use crate::sync::Ordering;
use crate::threads;

/// How long a subscriber sleeps before it looks again by itself: a publisher may have been killed after it had sent a
/// frame and before it had woken anybody.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a ring that was given up is left alone between two attempts to find the next one.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Watches one channel for its next frame, each time it is asked to.
pub(super) struct Watch {
    event: Arc<EventFd>,
    orders: Arc<Orders>,
    /// See [`fork::generation`]: the thread is not in a forked child.
    generation: u64,
}

/// What the thread is to do.
struct Orders {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Wait for an order.
    Rest,
    /// Make the descriptor readable once this number has been sent.
    WaitFor(u64),
    /// End.
    End,
}

impl Watch {
    /// Watches the channel at this place. `event` is the descriptor of a watch before this one, in another ring.
    pub(super) fn start(mapping: Arc<Mapping>, place: usize, event: Option<Arc<EventFd>>) -> io::Result<Self> {
        let event = match event {
            Some(event) => event,
            None => Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?),
        };
        let orders = Arc::new(Orders { order: Mutex::new(Order::Rest), changed: Condvar::new() });
        let (thread_event, thread_orders) = (Arc::clone(&event), Arc::clone(&orders));
        // It ends by itself, soon after it is told to.
        threads::spawn("framebuffer-watch", move || follow(&mapping, place, &thread_orders, &thread_event))?;
        Ok(Self { event, orders, generation: fork::generation() })
    }

    /// Makes the descriptor unreadable until the frame with this number is there, or the ring is given up.
    pub(super) fn wait_for(&self, number: u64) {
        if !self.is_own() {
            return;
        }
        let mut order = self.orders.lock();
        // With the lock, so that the thread does not write for an order that is over. Fails if it was not readable.
        let _ = self.event.read();
        *order = Order::WaitFor(number);
        self.orders.changed.notify_one();
    }

    /// Whether its thread is in this process. The child of a fork has a copy of the lock, maybe taken, and no thread.
    pub(super) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// The descriptor, for a watch that takes this one's place.
    pub(super) fn event(&self) -> Arc<EventFd> {
        Arc::clone(&self.event)
    }

    /// The descriptor.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_own() {
            *self.orders.lock() = Order::End;
            self.orders.changed.notify_one();
            // Whoever waits for a duplicate of the descriptor notices, too. Fails only if it is readable already.
            let _ = self.event.write(1);
        }
    }
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do: the number to wait for. `None` at the end.
    fn next(&self) -> Option<u64> {
        let mut order = self.lock();
        loop {
            match *order {
                Order::WaitFor(number) => return Some(number),
                Order::End => return None,
                Order::Rest => order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Carries out the order to wait for this number, if that still is the order.
    fn carry_out(&self, number: u64, event: &EventFd) {
        let mut order = self.lock();
        if *order == Order::WaitFor(number) {
            *order = Order::Rest;
            // Fails only if it is readable already.
            let _ = event.write(1);
        }
    }
}

/// The thread.
fn follow(mapping: &Mapping, place: usize, orders: &Orders, event: &EventFd) {
    let channel = &mapping.channels()[place];
    let index = Index::of(channel, mapping.index(place));
    while let Some(number) = orders.next() {
        let is_retired = mapping.control_block().retired.load(Ordering::Relaxed) != 0;
        if is_retired {
            std::thread::sleep(PAUSE);
        }
        if !is_retired && index.announce_sleep(number) {
            if futex::wait(&channel.tail.next, number, LOOK_AGAIN).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            orders.carry_out(number, event);
        }
    }
}
