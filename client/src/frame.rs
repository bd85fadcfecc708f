//! [`Frame`]: what a writer tells a reader.

use serde::{Deserialize, Serialize};

use crate::Checksum;

/// The description of a committed frame: all that a reader needs besides the ring's key.
///
/// Send it by whatever messaging there is already. In JSON:
///
/// ```
/// let frame: framebuffer::Frame =
///     serde_json::from_str(r#"{"offset": 64, "size": 6220800, "checksum": "2d06800538d394c2"}"#)?;
/// assert_eq!(frame.size, 1920 * 1080 * 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Stream offset of the first byte. Offsets grow for as long as the ring lives and are never used twice.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Checksum of those bytes; or of which frame it is, after [`Loan::commit_unhashed`](crate::Loan::commit_unhashed).
    pub checksum: Checksum,
}
