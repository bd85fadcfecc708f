//! Channels: named streams of frames in a ring, in the order in which they were sent.
//!
//! Read [`index`] (who sent what, in which order), then [`directory`] (which channels there are).

pub(crate) mod directory;
pub(crate) mod index;
#[cfg(all(test, loom))]
mod models;
