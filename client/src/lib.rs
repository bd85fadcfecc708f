//! FrameBuffer moves video frames, tensors and other large messages between the processes of a machine, or the
//! containers of a Kubernetes pod, at memory speed.
//!
//! One process owns a ring in shared memory: a [`FrameBufferServer`], in your program or in the `framebuffer-sidecar`.
//! Others open the ring with a [`FrameBufferClient`]. A writer puts a frame into the ring and sends its description, a
//! [`Frame`] of four numbers, to the reader over any messaging system. The reader fetches the bytes; if the ring has
//! moved on meanwhile, it gets a [`FrameBufferTimeout`], never wrong bytes.
//!
//! ```
//! use framebuffer::{Frame, FrameBufferClient, FrameBufferServer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The owner: a ring that keeps the last 16 MiB.
//! let server = FrameBufferServer::options(16 << 20).start()?;
//!
//! // The writer, usually another process. Next to a sidecar: framebuffer::connect_env()?
//! let writer = FrameBufferClient::open(server.get_key())?;
//! let frame = writer.publish(&vec![42; 1920 * 1080 * 3])?;
//! let message = serde_json::to_string(&frame)?; // {"offset":64,"size":6220800,"checksum":"...","ring":"..."}
//!
//! // The reader.
//! let reader = FrameBufferClient::open(server.get_key())?;
//! let frame: Frame = serde_json::from_str(&message)?;
//! let bytes = reader.read_frame(&frame)?; // a copy, verified against its checksum
//! let view = reader.view(&frame)?; // or the frame in place: writers go around it while it lives
//! assert_eq!(bytes, *view);
//! # Ok(())
//! # }
//! ```
//!
//! # Channels
//!
//! Or let the ring tell readers where the frames lie: a [`Publisher`] sends frames over a named channel, and every
//! [`Subscriber`] of that name, in whatever process, is woken and receives them in order, with what was
//! [said of them](Descriptor). Nobody waits for anybody unless asked to, and what is lost is counted.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = framebuffer::FrameBufferServer::options(16 << 20).start()?;
//! # let client = || framebuffer::FrameBufferClient::open(server.get_key());
//! # let (writer, reader) = (client()?, client()?);
//! let mut camera = writer.publisher("camera")?;
//! camera.send(&vec![42; 1920 * 1080 * 3])?;
//!
//! for frame in reader.subscriber("camera")? {
//!     let frame = frame?; // in place: writers go around it while it lives
//!     assert_eq!(frame.len(), 1920 * 1080 * 3);
//! #   break;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Choosing a method
//!
//! | | copies | for |
//! |---|---|---|
//! | [`publish`](FrameBufferClient::publish) | 1 | data that is already in a buffer |
//! | [`loan`](FrameBufferClient::loan), [`commit`](Loan::commit) | 0 | data that can be produced in place: decoded, rendered, received |
//! | [`allocate`](FrameBufferClient::allocate), [`write`](FrameBufferClient::write) | 1 | allocating here and writing elsewhere |
//! | [`read_frame`](FrameBufferClient::read_frame), [`read_into`](FrameBufferClient::read_into) | 1 | keeping the bytes |
//! | [`view`](FrameBufferClient::view) | 0 | computing on the bytes now |
//! | [`send`](Publisher::send), [`loan`](Publisher::loan) | 1, 0 | as `publish` and `loan`, over a channel |
//! | [`next`](Subscriber::next), [`latest`](Subscriber::latest) | 0 | waiting for the next frame, or the last |
//!
//! # Memory
//!
//! Each frame takes 64 bytes for its header, one that is sent over a channel 64 more for its descriptor, and is rounded
//! up to 64 bytes. For that a ring of `size` bytes has 1/256
//! more room (at least 64 KiB), so it keeps at least the last `size` bytes of frames of 32 KiB and more, and fewer of
//! smaller ones: [`FrameBufferServer::frames_kept`] counts them. Frames in use (views, loans, reads and writes in
//! progress) stay where they are, and others go around them: small ones that are held for long, spread over the ring,
//! leave no room for a large frame ([`Error::Exhausted`] says how much there is). Copy what you keep for long.
//!
//! With a [`Window`], frames that nobody holds stay for as many bytes as the window has, which then stay in the caches.
//!
//! The control block takes 916 KiB to 2 MiB more ([`segment_length`] is the sum). All of it is allocated when the
//! server starts: later there is no error for lack of memory. Frames are aligned to 64 bytes.
//!
//! Linux on 64-bit little-endian machines only. `/proc` must be mounted.
//!
//! # Cargo features
//!
//! - `connect` (default): [`connect()`], [`connect_env`], [`Connect`].
//! - `tokio`: `Subscriber::into_stream`, a [`Subscriber`] as a `Stream`, and `Publisher::send_async`.
//!
//! # In this crate
//!
//! From the bottom up: `layout` (where everything lies), `checksum` (all copying and hashing), `os` (forks and closed
//! descriptors), `threads`, `ring` (the protocol), `segment` (the file), `slots` and `membership` (a process's part in
//! the ring), `ownership` (its owner's lock), `transfer` (moving bytes), `rings` (the rings that a client is in, one
//! after the other), then the public types, `channel` on top, and `frames` (what is in a ring, from outside).
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(loom))]
mod attachments;
mod channel;
mod checksum;
#[cfg(not(loom))]
mod client;
#[cfg(all(feature = "connect", not(loom)))]
mod connect;
mod error;
mod frame;
#[cfg(not(loom))]
mod frames;
#[cfg(all(feature = "connect", not(loom)))]
#[doc(hidden)]
pub mod http;
mod key;
#[cfg(not(feature = "_layout"))]
mod layout;
#[cfg(feature = "_layout")]
#[doc(hidden)]
pub mod layout;
#[cfg(not(loom))]
mod loan;
#[cfg(not(loom))]
mod membership;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod ownership;
#[cfg(not(loom))]
mod raw;
mod ring;
#[cfg(not(loom))]
mod rings;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod server;
#[cfg(not(loom))]
mod slots;
#[cfg(not(loom))]
mod snapshot;
mod stats;
mod sync;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod threads;
#[cfg(not(loom))]
mod transfer;
#[cfg(not(loom))]
mod trial;
#[cfg(not(loom))]
mod view;
#[cfg(not(loom))]
mod window;

pub use channel::descriptor::{Descriptor, FourCc};
pub use channel::element::{Element, InvalidElement};
#[cfg(not(loom))]
pub use channel::latest::{Latest, LatestFrame, latest};
#[cfg(not(loom))]
pub use channel::list::{ChannelInfo, LosslessInfo, channels};
#[cfg(not(loom))]
pub use channel::publisher::{Publisher, PublisherOptions, Sent};
#[cfg(not(loom))]
pub use channel::reader::Start;
#[cfg(not(loom))]
pub use channel::sample::Sample;
#[cfg(not(loom))]
pub use channel::sending_loan::SendingLoan;
#[cfg(not(loom))]
#[doc(hidden)]
pub use channel::sending_loan::UnsentFrame;
#[cfg(all(feature = "tokio", not(loom)))]
pub use channel::stream::SampleStream;
#[cfg(not(loom))]
pub use channel::subscriber::{Subscriber, SubscriberOptions};
#[cfg(feature = "_kernels")]
#[doc(hidden)]
pub use checksum::kernels;
pub use checksum::{Checksum, InvalidChecksum};
#[cfg(not(loom))]
pub use client::{ClientOptions, FrameBufferClient};
#[cfg(all(feature = "connect", not(loom)))]
pub use connect::{Connect, ConnectError, connect, connect_env};
pub use error::channel::ChannelError;
pub use error::segment::SegmentError;
pub use error::{Error, FrameBufferTimeout, TimeoutReason};
pub use frame::{Frame, InvalidRingId, RingId};
#[cfg(not(loom))]
pub use frames::{FrameInfo, FrameState, Frames, frames};
pub use key::{InvalidKey, Key};
#[cfg(not(loom))]
pub use loan::Loan;
#[cfg(not(loom))]
#[doc(hidden)]
pub use segment::limits::{Limit, limits};
#[cfg(not(loom))]
pub use segment::orphans::{Orphan, orphans, remove_orphans};
#[cfg(not(loom))]
pub use segment::{default_dir, geometry::segment_length, prefault::Prefault};
#[cfg(not(loom))]
pub use server::{FrameBufferServer, ServerOptions};
#[cfg(not(loom))]
pub use snapshot::{Inspection, inspect, stat};
pub use stats::{Counters, Metric, MetricKind, MetricUnit, MetricValue, Stats};
#[cfg(not(loom))]
#[doc(hidden)]
pub use trial::trial;
#[cfg(not(loom))]
pub use view::View;
#[cfg(not(loom))]
pub use window::Window;
