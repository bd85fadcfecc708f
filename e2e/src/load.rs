//! [`meanwhile`]: labelled pods, created all the time while something happens to the operator.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::objects::{SIDECAR, idle, pod};
use crate::space::Space;

/// What became of them.
#[derive(Debug, Default)]
pub struct Load {
    /// How many were accepted.
    pub accepted: usize,
    /// Those that were not: when the answer came, since the beginning, and what it was.
    pub refused: Vec<(Duration, String)>,
    /// Those that were accepted and are not injected, or more than once.
    pub wrong: Vec<String>,
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
            Ok(pod) => {
                load.accepted += 1;
                load.wrong.extend(Some(pod).filter(|pod| !injected_once(pod)).map(|pod| pod.to_string()));
            }
            Err(error) => load.refused.push((start.elapsed(), error.to_string())),
        }
    }
}

/// Whether the sidecar is there, and its volume, mount and environment in every container, each of them once.
pub fn injected_once(pod: &Value) -> bool {
    let count = |list: &Value, field: &str, names: &[&str]| {
        let items = list.as_array().into_iter().flatten();
        items.filter(|item| item[field].as_str().is_some_and(|name| names.contains(&name))).count()
    };
    let spec = &pod["spec"];
    count(&spec["initContainers"], "name", &[SIDECAR]) == 1
        && count(&spec["volumes"], "name", &["framebuffer"]) == 1
        && spec["containers"].as_array().into_iter().flatten().all(|container| {
            count(&container["volumeMounts"], "name", &["framebuffer"]) == 1
                && count(&container["env"], "name", &["FRAMEBUFFER_URL", "FRAMEBUFFER_DIR"]) == 2
        })
}

/// Runs something that waits for a program, without holding up what goes on meanwhile.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}
