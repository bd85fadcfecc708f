//! The C API of FrameBuffer: what `framebuffer.h` declares and `libframebuffer` exports.
//!
//! A layer without a mind of its own over the crate `framebuffer`: it turns pointers into references, references with
//! lifetimes into handles, and errors into codes. The documentation of its functions is that of the header, which a test
//! generates by cbindgen and compares with `include/framebuffer.h`; it is written for people who program in C.
//!
//! Read [`call`] first: what all functions have in common. Then [`error`], [`client`], [`view`], [`loan`], [`server`],
//! [`frame`], [`stats`].
//!
//! # What a caller in C can and cannot break
//!
//! - NULL, sizes, offsets, strings and frames are checked: what is wrong with them is an error with a message.
//! - A handle owns what it needs. Views and loans keep the ring mapped, so clients may be closed in any order.
//! - A handle after its release, and a size that is not the buffer's, are undefined behaviour, as everywhere in C. The C++
//!   header makes the former impossible to write.
//! - No panic crosses into C: `call::guard` turns it into `FRAMEBUFFER_INTERNAL`. (In a build with `panic = "abort"` it
//!   ends the program instead; the profile `capi`, which libraries are installed from, unwinds.)
//! - Memory of one side is never freed by the other: handles have functions that release them, everything else is written
//!   into the caller's variables and buffers.

#![allow(clippy::doc_markdown, reason = "the documentation is that of a header, where names of functions stand plain")]

pub mod call;
pub mod client;
pub mod error;
pub mod frame;
pub mod loan;
pub mod server;
pub mod stats;
pub mod version;
pub mod view;
