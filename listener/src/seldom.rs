//! [`Seldom`]: how often the log is told what outsiders can cause.

use std::time::Duration;

use tokio::time::Instant;

/// Outsiders shall not fill the log.
const INTERVAL: Duration = Duration::from_mins(1);

/// Something that is said once in [`INTERVAL`].
#[derive(Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
}

impl Seldom {
    /// Whether to say it now.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.said.is_none_or(|said| said.elapsed() > INTERVAL);
        if due {
            self.said = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_and_then_once_a_minute() {
        let mut seldom = Seldom::default();
        let mut said = 0;
        for _ in 0..121 {
            said += u32::from(seldom.is_due());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(said, 2);
    }
}
