//! FrameBuffer moves video frames, tensors and other large messages between processes at memory speed.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

mod checksum;
#[cfg(not(loom))]
mod client;
#[cfg(all(feature = "connect", not(loom)))]
mod connect;
mod error;
#[cfg(not(loom))]
mod fork;
mod frame;
mod key;
mod layout;
#[cfg(not(loom))]
mod loan;
#[cfg(not(loom))]
mod membership;
mod ring;
#[cfg(not(loom))]
mod segment;
#[cfg(loom)]
#[path = "."]
mod segment {
    #[path = "segment/error.rs"]
    pub(crate) mod error;
}
#[cfg(not(loom))]
mod server;
mod stats;
mod sync;
#[cfg(not(loom))]
mod view;

pub use checksum::{Checksum, InvalidChecksum};
#[cfg(not(loom))]
pub use client::{ClientOptions, FrameBufferClient};
#[cfg(all(feature = "connect", not(loom)))]
pub use connect::{Connect, ConnectError, connect, connect_env};
pub use error::{Error, FrameBufferTimeout, TimeoutReason};
pub use frame::Frame;
pub use key::{InvalidKey, Key};
#[cfg(not(loom))]
pub use loan::Loan;
pub use segment::error::SegmentError;
#[cfg(not(loom))]
pub use segment::{default_dir, mapping::Prefault, stat};
#[cfg(not(loom))]
pub use server::{FrameBufferServer, ServerOptions};
pub use stats::{Counters, Stats};
#[cfg(not(loom))]
pub use view::View;
