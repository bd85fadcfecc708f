//! Channels: named streams of frames in a ring, in the order in which they were sent.
//!
//! Read [`index`] (who sent what, in which order), [`cursors`] (subscribers that lose nothing), [`directory`] (which
//! channels there are), [`descriptor`] and [`element`] (what is said of a frame), then [`joined`] (a channel in the
//! ring that a client is in);
//!
//! - [`publisher`], [`sending_loan`] and [`patience`] (waiting for lossless subscribers);
//! - [`subscriber`], [`reader`] (where it is in the channel), [`sample`], [`spin`] (before it sleeps), [`watch`] and
//!   `stream` (for event loops);
//! - [`list`] and [`latest`] (how channels and their last frames look from outside).

pub(crate) mod cursors;
pub(crate) mod descriptor;
pub(crate) mod directory;
pub(crate) mod element;
pub(crate) mod index;
#[cfg(not(loom))]
mod joined;
#[cfg(not(loom))]
pub(crate) mod latest;
#[cfg(not(loom))]
pub(crate) mod list;
#[cfg(all(test, loom))]
mod models;
#[cfg(not(loom))]
mod patience;
#[cfg(not(loom))]
pub(crate) mod publisher;
#[cfg(not(loom))]
pub(crate) mod reader;
#[cfg(not(loom))]
pub(crate) mod sample;
#[cfg(not(loom))]
pub(crate) mod sending_loan;
#[cfg(not(loom))]
mod spin;
#[cfg(all(feature = "tokio", not(loom)))]
pub(crate) mod stream;
#[cfg(not(loom))]
pub(crate) mod subscriber;
#[cfg(not(loom))]
mod watch;
