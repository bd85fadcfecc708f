//! The modules of `frame-writer` and `frame-reader`, the workload of demo and tests.
//!
//! Read in this order: [`y4m`] and [`raw`] are the two kinds of video streams, [`colour`] the tags of the first.
//! [`format`](mod@format) says what the frames of a channel are; [`sender`] is the writer's end of the channel,
//! [`receiver`] the reader's. [`source`] gives the writer its frames, [`pattern`] draws generated ones. [`sink`] takes
//! them from the reader, with [`framemd5`] and [`convert`]. [`stats`], [`log`], [`clock`] and [`shutdown`] serve both.

#![forbid(unsafe_code)]

pub mod clock;
pub mod colour;
pub mod convert;
pub mod format;
pub mod framemd5;
pub mod log;
pub mod pattern;
pub mod rate;
pub mod raw;
pub mod receiver;
pub mod sender;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod stats;
pub mod y4m;

/// The longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 32_768;

/// The largest frame, in bytes: a header that announces more is refused before anything is allocated for it.
pub const MAX_FRAME: u64 = 2 << 30;
