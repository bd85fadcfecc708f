//! [`Replicas`]: whether replicas of the operator from another rollout still run.
//!
//! While the operator is upgraded, old replicas behind the webhook's Service inject what their own settings say, and
//! one of them may become the leader again. A workload that is restarted then may get the old injection once more, and
//! would not be restarted a second time; or it would be restarted forth and back. So the leader restarts nothing until
//! every replica comes from the same pod template as itself. It finds the others by their labels among the pods of its
//! namespace, which it may list anyway: no further right is needed, and a replica that hangs counts until it is gone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;

/// How long an answer of the API server counts.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// The label by which a Deployment tells its pod templates apart.
const TEMPLATE: &str = "pod-template-hash";

/// The labels by which the chart selects the operator's pods.
const SELECTOR: [&str; 3] = ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"];

/// The operator's pods.
pub(crate) struct Replicas {
    pods: Api<Pod>,
    me: String,
    seen: Mutex<Seen>,
}

/// What was last seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    asked: Option<Timestamp>,
    /// Names of pods from another template.
    pub(super) others: Vec<String>,
    /// When there was one for the last time.
    pub(super) until: Option<Timestamp>,
}

impl Replicas {
    /// The replicas beside the pod `me`. If there is no such pod, the operator runs elsewhere and is alone.
    pub(crate) fn new(client: Client, namespace: &str, me: &str) -> Self {
        Self { pods: Api::namespaced(client, namespace), me: me.to_owned(), seen: Mutex::default() }
    }

    /// The pods from another template that have not ended, and when there was one for the last time.
    pub(super) async fn seen(&self, now: Timestamp) -> Result<Seen, kube::Error> {
        let mut seen = self.seen.lock().await;
        if seen.asked.is_none_or(|asked| now.duration_since(asked) >= FRESH) {
            seen.others = self.others().await?;
            seen.asked = Some(now);
            if !seen.others.is_empty() {
                seen.until = Some(now);
            }
        }
        Ok(seen.clone())
    }

    async fn others(&self) -> Result<Vec<String>, kube::Error> {
        let me = ListParams::default().fields(&format!("metadata.name={}", self.me));
        let Some(me) = self.pods.list_metadata(&me).await?.items.into_iter().next() else { return Ok(Vec::new()) };
        let label = |label: &str| me.labels().get(label);
        let Some(template) = label(TEMPLATE) else { return Ok(Vec::new()) };
        let selector = SELECTOR.iter().filter_map(|name| label(name).map(|value| format!("{name}={value},")));
        let selector = selector.collect::<String>() + &format!("{TEMPLATE},{TEMPLATE}!={template}");
        // One that was evicted stays behind.
        let others = ListParams::default().labels(&selector).fields("status.phase!=Failed,status.phase!=Succeeded");
        let others = self.pods.list_metadata(&others).await?;
        Ok(others.items.iter().map(ResourceExt::name_any).collect())
    }
}
