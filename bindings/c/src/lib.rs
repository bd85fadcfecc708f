//! The C API of FrameBuffer: `framebuffer.h` declares it, `libframebuffer` exports it.
//!
//! A thin layer over the crate `framebuffer`: it turns pointers into references, references with lifetimes into
//! handles, and errors into codes. The documentation of its functions is also the header's, and is written for C
//! programmers. A test generates the header with cbindgen and compares it with `include/framebuffer.h`.
//!
//! Read [`call`] first: the helpers of all functions. Then [`error`], [`client`], [`view`], [`loan`], [`server`],
//! [`frame`], [`stats`]. For channels [`publisher`], [`subscriber`], [`sample`], [`descriptor`], [`channel`], and
//! [`growing`] for structs that later versions add to.
//!
//! # What a caller in C can and cannot break
//!
//! - NULL, sizes, offsets, strings and frames are checked: an invalid one is an error with a message.
//! - A handle owns what it needs. Views, loans, publishers, subscribers and samples keep the ring mapped, so clients
//!   may
//!   be closed in any order.
//! - A publisher or subscriber that two threads use at once is an error for the second one.
//! - Using a handle after its release and passing a size larger than the buffer are undefined behaviour, as everywhere
//!   in C. The C++ header rules out the former.
//! - No panic crosses into C: `call::guard` turns it into `FRAMEBUFFER_STATUS_INTERNAL`. (With
//!   `panic = "abort"` it ends the program instead; the profile `capi`, for installed libraries, unwinds.)
//! - Neither side frees memory of the other: functions release the handles, everything else is written to the caller's
//!   variables and buffers.

#![allow(clippy::doc_markdown, reason = "the documentation is that of a header, which has no mark-up")]

pub mod call;
pub mod channel;
pub mod client;
pub mod descriptor;
pub mod error;
pub mod frame;
pub mod growing;
pub mod loan;
pub mod publisher;
pub mod sample;
pub mod server;
pub mod stats;
pub mod subscriber;
pub mod version;
pub mod view;

const _: () = {
    // The header promises this about threads.
    const fn may_be_used_from_any_thread<T: Send + Sync>() {}
    may_be_used_from_any_thread::<client::Client>();
    may_be_used_from_any_thread::<view::View>();
    may_be_used_from_any_thread::<loan::Loan>();
    may_be_used_from_any_thread::<server::Server>();
    may_be_used_from_any_thread::<publisher::Publisher>();
    may_be_used_from_any_thread::<subscriber::Subscriber>();
    may_be_used_from_any_thread::<sample::Sample>();
};
