//! [`Watcher`]: looks at the ring once a second: is it in order, and which of its participants are dead.

use framebuffer::{Error, FrameBufferServer, SegmentError};

/// Logs each fault when it begins, instead of every second that it lasts.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    fault: Option<String>,
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on. If something is wrong, it is in the log, and the admin port says so.
    GoOn,
    /// Nobody can find the ring any more: set up another one.
    Replace,
}

impl Watcher {
    pub(super) fn look(&mut self, ring: &FrameBufferServer) -> Verdict {
        match ring.check().and_then(|()| ring.reap()) {
            Ok(reaped) => {
                if self.fault.take().is_some() {
                    tracing::info!("the ring is in order again");
                }
                if reaped > 0 {
                    tracing::info!(reaped, "participants reaped");
                }
                Verdict::GoOn
            }
            Err(error) => {
                let is_gone = matches!(error, Error::OutOfOrder(SegmentError::NameGone { .. }));
                let fault = format!("{:#}", anyhow::Error::new(error));
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!("{fault}");
                }
                self.fault = Some(fault);
                if is_gone { Verdict::Replace } else { Verdict::GoOn }
            }
        }
    }
}
