//! Channels: named streams of frames in a ring, in the order in which they were sent.
//!
//! Read [`index`] (who sent what, in which order), [`cursors`] (subscribers that lose nothing), [`directory`] (which
//! channels there are) and [`descriptor`] (what is said of a frame), then [`joined`] (a channel in the ring that a
//! client is in), [`publisher`], [`subscriber`], [`watch`] and `stream` (for event loops), and [`list`] (how they look
//! from outside).

pub(crate) mod cursors;
pub(crate) mod descriptor;
pub(crate) mod directory;
pub(crate) mod index;
#[cfg(not(loom))]
mod joined;
#[cfg(not(loom))]
pub(crate) mod list;
#[cfg(all(test, loom))]
mod models;
#[cfg(not(loom))]
pub(crate) mod publisher;
#[cfg(all(feature = "tokio", not(loom)))]
pub(crate) mod stream;
#[cfg(not(loom))]
pub(crate) mod subscriber;
#[cfg(not(loom))]
mod watch;
