//! Limits of requests.

/// The largest body in bytes. The longest sensible one has about 50.
pub const MAX_BODY: usize = 4096;

/// Bytes of the longest name of a channel.
pub const MAX_NAME: u64 = 63;

/// The most frames in one request.
pub const MAX_COUNT: u64 = 1024;
