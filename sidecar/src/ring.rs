//! [`CurrentRing`]: the ring that this sidecar owns now. There is none before the first is set up, and for a moment
//! when one has to be replaced.

use std::sync::{Arc, PoisonError, RwLock};

use framebuffer::FrameBufferServer;

/// The ring that is served. All clones are the same.
#[derive(Debug, Clone, Default)]
pub struct CurrentRing(Arc<RwLock<Option<Arc<FrameBufferServer>>>>);

impl CurrentRing {
    /// The ring, if there is one now.
    pub fn get(&self) -> Option<Arc<FrameBufferServer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this ring is served.
    pub fn set(&self, ring: FrameBufferServer) {
        self.swap(Some(Arc::new(ring)));
    }

    /// Takes the ring away: from now on none is served. Whoever is in the middle of a request still has it.
    pub fn take(&self) -> Option<Arc<FrameBufferServer>> {
        self.swap(None)
    }

    fn swap(&self, ring: Option<Arc<FrameBufferServer>>) -> Option<Arc<FrameBufferServer>> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), ring)
    }
}

impl From<Arc<FrameBufferServer>> for CurrentRing {
    fn from(ring: Arc<FrameBufferServer>) -> Self {
        Self(Arc::new(RwLock::new(Some(ring))))
    }
}
