//! [`meanwhile`]: creates labelled pods all the time while something happens to the operator.

use std::pin::pin;
use std::time::{Duration, Instant};

use framebuffer_contract::kubernetes::{SIDECAR, VOLUME};
use framebuffer_contract::variables;
use serde_json::Value;

use crate::manifests::{idle, pod};
use crate::namespace::TestNamespace;

/// The results of their creation.
#[derive(Debug, Default)]
pub struct Load {
    /// How many were accepted.
    pub accepted: usize,
    /// The refusals: time from the start to the answer, and the message.
    pub refused: Vec<(Duration, String)>,
    /// Pods that were accepted but not injected, or more than once.
    pub wrong: Vec<String>,
    /// The longest wait for an answer.
    pub longest: Duration,
}

/// Creates labelled pods, one after the other and as dry runs, until `change` is done. The `FrameBuffer` must exist.
pub async fn meanwhile<T>(namespace: &TestNamespace, change: impl Future<Output = T>) -> (T, Load) {
    let (mut load, start, mut change) = (Load::default(), Instant::now(), pin!(change));
    let manifest = pod("meanwhile", &[idle("app")]);
    loop {
        let asked = Instant::now();
        let answer = tokio::select! {
            done = &mut change => return (done, load),
            answer = namespace.try_dry(&manifest) => answer,
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

/// Whether the pod has the sidecar and its volume, and every container their mount and environment, each exactly once.
pub fn injected_once(pod: &Value) -> bool {
    let count = |list: &Value, field: &str, names: &[&str]| {
        let items = list.as_array().into_iter().flatten();
        items.filter(|item| item[field].as_str().is_some_and(|name| names.contains(&name))).count()
    };
    let spec = &pod["spec"];
    count(&spec["initContainers"], "name", &[SIDECAR]) == 1
        && count(&spec["volumes"], "name", &[VOLUME]) == 1
        && spec["containers"].as_array().into_iter().flatten().all(|container| {
            count(&container["volumeMounts"], "name", &[VOLUME]) == 1
                && count(&container["env"], "name", &[variables::URL, variables::DIR]) == 2
        })
}
