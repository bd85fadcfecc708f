//! [`Exclusive`]: something that one thread at a time uses, for as long as it takes.

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
    /// Threads that wait for it, the first at the end.
    waiting: Vec<Thread>,
}

enum Content<T> {
    Here(T),
    /// A thread of this process has it.
    InUse(u32),
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
        Self { noun, place: Mutex::new(Place { content: Content::Here(content), waiting: Vec::new() }) }
    }

    /// Takes it out. Waits for other threads that use it; a signal (Ctrl-C) ends the wait.
    ///
    /// Raises `ValueError` if it is closed.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Turn<'_, T>> {
        loop {
            if let Some(taken) = self.try_take()? {
                return Ok(Turn { of: self, taken: Some(taken) });
            }
            py.detach(|| thread::park_timeout(LOOK));
            self.place().waiting.retain(|thread| thread.id() != thread::current().id());
            py.check_signals()?;
        }
    }

    /// Takes it out; `None` if another thread uses it, which then wakes this one.
    fn try_take(&self) -> PyResult<Option<T>> {
        let mut place = self.place();
        match std::mem::replace(&mut place.content, Content::InUse(std::process::id())) {
            Content::Here(content) => Ok(Some(content)),
            Content::Closed => {
                place.content = Content::Closed;
                Err(PyValueError::new_err(format!("the {} is closed", self.noun)))
            }
            Content::InUse(process) if process == std::process::id() => {
                place.waiting.insert(0, thread::current());
                Ok(None)
            }
            Content::InUse(process) => {
                place.content = Content::InUse(process);
                Err(errors::other(format!(
                    "the {} was in use by another thread when this process was forked: open another one",
                    self.noun
                )))
            }
        }
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
        if let Some(thread) = place.waiting.pop() {
            thread.unpark();
        }
    }

    fn place(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
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
