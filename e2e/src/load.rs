//! [`meanwhile`]: labelled pods, created all the time while something happens to the operator.

use std::pin::pin;
use std::time::{Duration, Instant};

use crate::objects::{idle, pod};
use crate::space::Space;

/// What became of them.
#[derive(Debug, Default)]
pub struct Load {
    /// How many were accepted.
    pub accepted: usize,
    /// Those that were not: when the answer came, since the beginning, and what it was.
    pub refused: Vec<(Duration, String)>,
    /// The longest wait for an answer.
    pub longest: Duration,
}

/// Creates labelled pods, one after the other and as dry runs, until `change` is done. The `FrameBuffer` must be there.
pub async fn meanwhile<T>(space: &Space, change: impl Future<Output = T>) -> (T, Load) {
    let (mut load, start, mut change) = (Load::default(), Instant::now(), pin!(change));
    let manifest = pod("meanwhile", &[idle("app")]);
    loop {
        let asked = Instant::now();
        let answer = tokio::select! {
            done = &mut change => return (done, load),
            answer = space.try_dry(&manifest) => answer,
        };
        load.longest = load.longest.max(asked.elapsed());
        match answer {
            Ok(_) => load.accepted += 1,
            Err(error) => load.refused.push((start.elapsed(), error.to_string())),
        }
    }
}

/// Runs something that waits for a program, without holding up what goes on meanwhile.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}
