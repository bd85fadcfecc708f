//! Names of environment variables. The operator sets them in pods, the sidecar's flags and the clients read them.

/// Address of a sidecar's API: `http://HOST:PORT` or `unix:/PATH`.
pub const URL: &str = "FRAMEBUFFER_URL";

/// Folder of the segments.
pub const DIR: &str = "FRAMEBUFFER_DIR";

/// The ring's key.
pub const KEY: &str = "FRAMEBUFFER_KEY";

/// Bytes of payload that the ring keeps, a [`Quantity`](crate::Quantity).
pub const SIZE: &str = "FRAMEBUFFER_SIZE";

/// Whether the ring outlives its sidecar.
pub const KEEP: &str = "FRAMEBUFFER_KEEP";

/// Permissions of the segment, octal.
pub const MODE: &str = "FRAMEBUFFER_MODE";

/// Socket address on which the sidecar serves its API.
pub const LISTEN: &str = "FRAMEBUFFER_LISTEN";

/// Path of a Unix socket on which the sidecar serves its API as well.
pub const SOCKET: &str = "FRAMEBUFFER_SOCKET";

/// Socket address on which the sidecar serves health and metrics.
pub const ADMIN: &str = "FRAMEBUFFER_ADMIN";

/// Least important events that the sidecar logs.
pub const LOG_LEVEL: &str = "FRAMEBUFFER_LOG_LEVEL";

/// Format of the sidecar's log.
pub const LOG_FORMAT: &str = "FRAMEBUFFER_LOG_FORMAT";

/// How much of the ring is in use while nobody holds frames.
pub const WINDOW: &str = "FRAMEBUFFER_WINDOW";

/// When the sidecar touches the ring's pages.
pub const PREFAULT: &str = "FRAMEBUFFER_PREFAULT";
