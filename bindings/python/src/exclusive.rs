//! [`Exclusive`]: something that one thread at a time uses, for as long as it takes.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::detached::LOOK;
use crate::errors;

/// A publisher or subscriber. Who uses it takes it out, and may detach from the interpreter meanwhile; other threads
/// wait for their turn. Nothing is locked while they do, so that a fork copies no lock that nobody opens any more.
pub(crate) struct Exclusive<T> {
    noun: &'static str,
    place: Mutex<Place<T>>,
}

struct Place<T> {
    content: Content<T>,
    /// Threads that wait for it, in the order in which they get it.
    waiting: VecDeque<Thread>,
    /// The process that these threads are in: not its forked children.
    process: u32,
}

enum Content<T> {
    Here(T),
    InUse,
    Closed,
}

/// The thing, taken out. Put it back while attached to the interpreter.
pub(crate) struct Turn<'e, T: Send> {
    of: &'e Exclusive<T>,
    taken: Option<T>,
}

impl<T: Send> Exclusive<T> {
    /// `noun` is how messages speak of it.
    pub(crate) fn new(noun: &'static str, content: T) -> Self {
        let place = Place { content: Content::Here(content), waiting: VecDeque::new(), process: std::process::id() };
        Self { noun, place: Mutex::new(place) }
    }

    /// Takes it out. Waits for other threads that use it, or came before; a signal (Ctrl-C) ends the wait.
    ///
    /// Raises `ValueError` if it is closed.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Turn<'_, T>> {
        let mut taken = self.try_take();
        while let Ok(None) = taken {
            py.detach(|| thread::park_timeout(LOOK));
            taken = py.check_signals().and_then(|()| self.try_take());
        }
        match taken {
            Ok(taken) => Ok(Turn { of: self, taken }),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Takes it out; `None` if it is not this thread's turn, which it is woken for.
    fn try_take(&self) -> PyResult<Option<T>> {
        let mut place = self.place();
        if place.process != std::process::id() {
            place.waiting.clear();
            if matches!(place.content, Content::InUse) {
                return Err(errors::other(format!(
                    "the {} was in use by another thread when this process was forked: open another one",
                    self.noun
                )));
            }
            place.process = std::process::id();
        }
        if matches!(place.content, Content::Closed) {
            return Err(PyValueError::new_err(format!("the {} is closed", self.noun)));
        }
        let me = thread::current();
        let is_my_turn = place.waiting.front().is_none_or(|first| first.id() == me.id());
        if is_my_turn && let Content::Here(content) = std::mem::replace(&mut place.content, Content::InUse) {
            place.waiting.pop_front();
            return Ok(Some(content));
        }
        if place.waiting.iter().all(|thread| thread.id() != me.id()) {
            place.waiting.push_back(me);
        }
        Ok(None)
    }

    /// Leaves the turn to others.
    fn give_up(&self) {
        let mut place = self.place();
        place.waiting.retain(|thread| thread.id() != thread::current().id());
        place.wake_first();
    }

    /// Ends it, once no other thread uses it. Does nothing if it is closed.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_closed() {
            return Ok(());
        }
        let taken = self.take(py)?.taken.take();
        let waiting = {
            let mut place = self.place();
            place.content = Content::Closed;
            std::mem::take(&mut place.waiting)
        };
        waiting.iter().for_each(Thread::unpark);
        py.detach(|| drop(taken));
        Ok(())
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.place().content, Content::Closed)
    }

    fn put_back(&self, taken: T) {
        let mut place = self.place();
        place.content = Content::Here(taken);
        place.wake_first();
    }

    fn place(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Place<T> {
    fn wake_first(&self) {
        if let Some(thread) = self.waiting.front() {
            thread.unpark();
        }
    }
}

impl<T: Send> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.taken.as_ref().expect("put back only by drop")
    }
}

impl<T: Send> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.taken.as_mut().expect("put back only by drop")
    }
}

impl<T: Send> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.of.put_back(taken);
        }
    }
}
