//! Why a `FrameBuffer` could not be reconciled.

use thiserror::Error;

use crate::brief;

/// Why a `FrameBuffer` could not be reconciled.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The API server refused the status, or could not be reached.
    #[error("failed to write the status")]
    Status(#[source] kube::Error),
    /// The API server refused a request about an owner, or could not be reached.
    #[error("failed to restart {owner}")]
    Restart {
        /// Kind and name.
        owner: String,
        /// The cause.
        source: kube::Error,
    },
}

impl Error {
    /// The same with its cause shortened by [`brief`].
    pub(super) fn brief(self) -> anyhow::Error {
        let context = self.to_string();
        let (Self::Status(source) | Self::Restart { source, .. }) = self;
        brief(source).context(context)
    }
}
