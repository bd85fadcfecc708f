//! [`Sample`]: a frame that was received.

use std::fmt;
use std::ops::Deref;

use super::descriptor::Descriptor;
use crate::frame::Frame;
use crate::view::View;

/// A frame that was received: a [`View`] of its bytes in the ring, which do not change while it lives, and what was
/// said of it.
pub struct Sample<'c> {
    pub(super) view: View<'c>,
    pub(super) number: u64,
    pub(super) committed: u64,
    pub(super) descriptor: Descriptor,
}

impl<'c> Sample<'c> {
    /// Its sequence number in the channel, from 0 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the writer says of it.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// When its content is from, in nanoseconds, as the writer says; when it was committed, in nanoseconds since 1970,
    /// if the writer says nothing.
    pub fn time(&self) -> u64 {
        match self.descriptor.time_nanoseconds() {
            0 => self.committed,
            time => time,
        }
    }

    /// When it was committed, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Its description, with which any client of the ring can read it.
    pub fn frame(&self) -> &Frame {
        self.view.frame()
    }

    /// Its bytes.
    pub fn view(&self) -> &View<'c> {
        &self.view
    }

    /// Its bytes, without the rest.
    pub fn into_view(self) -> View<'c> {
        self.view
    }
}

impl Deref for Sample<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.view
    }
}

impl AsRef<[u8]> for Sample<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("number", &self.number)
            .field("frame", self.frame())
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}
