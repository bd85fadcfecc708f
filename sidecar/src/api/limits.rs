//! Limits of requests.

/// The largest body in bytes. The longest sensible one has about 50.
pub const MAX_BODY: usize = 4096;

/// The most frames in one request.
pub const MAX_COUNT: u64 = 1024;
