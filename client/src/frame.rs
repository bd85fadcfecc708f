//! [`Frame`]: the description of a frame, which a writer sends to a reader.

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;

/// The description of a committed frame: all a reader needs besides the ring's key.
///
/// Send it over any messaging system. In JSON:
///
/// ```
/// let frame: framebuffer::Frame =
///     serde_json::from_str(r#"{"offset": 64, "size": 6220800, "checksum": "2d06800538d394c2"}"#)?;
/// assert_eq!(frame.size, 1920 * 1080 * 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Stream offset of the first byte. Offsets grow throughout the life of the ring and are never reused.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Checksum of these bytes, or of the frame's identity after
    /// [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    pub checksum: Checksum,
}
