//! [`Reaper`]: clears the slots of dead participants and says so.

use framebuffer::FrameBufferServer;

/// Reaps, and logs a failure when it begins instead of every second that it lasts.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    failing: bool,
}

impl Reaper {
    pub(super) fn reap(&mut self, ring: &FrameBufferServer) {
        match ring.reap() {
            Ok(reaped) => {
                self.failing = false;
                if reaped > 0 {
                    tracing::info!(reaped, "participants reaped");
                }
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(error = &error as &dyn std::error::Error, "failed to reap dead participants");
                }
                self.failing = true;
            }
        }
    }
}
