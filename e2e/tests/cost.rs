//! The cost of injection with many `FrameBuffer`s in the pod's namespace, in both modes, in one run.
//!
//! The suite measures one and a thousand. `FRAMEBUFFER_E2E_COST=1,10,100,1000` measures more.

use std::time::{Duration, Instant};

use framebuffer_contract::kubernetes::INJECT_LABEL;
use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::manifests::{framebuffer, idle, plain_pod, without_node};
use framebuffer_e2e::metrics::{Histogram, api_server_metrics, histogram, measured, milliseconds, quantile, since};
use framebuffer_e2e::policy::bindings;
use framebuffer_e2e::program::run_blocking;
use framebuffer_e2e::settings::serves_policies;
use framebuffer_e2e::{TestNamespace, alone};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::api::status::READY;
use futures::{StreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Names the numbers of `FrameBuffer`s to measure, and asks for more pods.
const WANTED: &str = "FRAMEBUFFER_E2E_COST";

const STEP: &str = "apiserver_admission_step_admission_duration_seconds";

/// How often each is measured: the suite needs no more than a mean.
fn pods() -> usize {
    if std::env::var_os(WANTED).is_some() { 300 } else { 100 }
}

fn name(number: usize) -> String {
    format!("cost-{number}")
}

fn sizes() -> Vec<usize> {
    let wanted = std::env::var(WANTED).unwrap_or_else(|_| "1,1000".to_owned());
    wanted.split(',').map(|size| size.trim().parse().expect("FRAMEBUFFER_E2E_COST has numbers")).collect()
}

/// Declares `FrameBuffer`s, and waits until all are ready.
async fn declare(namespace: &TestNamespace, from: usize, to: usize) {
    stream::iter(from..to)
        .for_each_concurrent(4, async |number| {
            let mut declared = framebuffer(&json!({"size": "1Mi"}));
            declared["metadata"]["name"] = json!(name(number));
            namespace.accept(&declared).await;
        })
        .await;
    all_ready(namespace, to).await;
}

async fn all_ready(namespace: &TestNamespace, number: usize) {
    let ready = |found: &FrameBuffer| {
        let conditions = found.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == READY && condition.status == "True")
    };
    let all = async || {
        let found = namespace.api::<FrameBuffer>().list(&ListParams::default()).await.unwrap();
        found.items.iter().filter(|found| ready(found)).count() == number
    };
    namespace.until("all FrameBuffers are ready", all).await;
}

/// The API server's metrics of all admission of created objects: mutation and validation.
struct Admission {
    /// Sum of seconds and number, for each step.
    steps: [(f64, f64); 2],
    histogram: Histogram,
}

fn admission() -> Admission {
    let text = api_server_metrics();
    let steps = ["admit", "validate"].map(|step| {
        let labels = format!(r#"operation="CREATE",rejected="false",type="{step}""#);
        let of = |part: &str| milliseconds(&text, &format!("{STEP}_{part}{{"), &labels);
        (of("sum"), of("count") / 1e3)
    });
    let histogram = histogram(&text, STEP, r#"operation="CREATE",rejected="false",type="admit""#);
    Admission { steps, histogram }
}

/// A client's times for the same dry run, in milliseconds.
async fn times(namespace: &TestNamespace, pod: &Value) -> [f64; 2] {
    let mut times = Vec::new();
    for _ in 0..pods() {
        let start = Instant::now();
        namespace.try_dry(pod).await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

fn asking(label: Option<&str>, pod_name: &str) -> Value {
    let mut pod = plain_pod(pod_name, &[idle("app")]);
    if let Some(label) = label {
        pod["metadata"]["labels"] = json!({INJECT_LABEL: label});
    }
    without_node(&mut pod);
    pod
}

async fn measure(namespace: &TestNamespace, who: &str, number: usize) -> f64 {
    // The last in any order, and not the only one asked for.
    let label = name(number - 1);
    times(namespace, &asking(Some(&label), "warm")).await;
    let before = admission();
    let [p50, p99] = times(namespace, &asking(Some(&label), "labelled")).await;
    let after = admission();
    let [mutating, validating] = [0, 1].map(|step| {
        let ((sum, count), (sum_before, count_before)) = (after.steps[step], before.steps[step]);
        (sum - sum_before) / (count - count_before)
    });
    let [h50, h99] = [0.5, 0.99].map(|part| quantile(&since(&before.histogram, &after.histogram), part));
    let [plain50, plain99] = times(namespace, &asking(None, "plain")).await;
    let start = Instant::now();
    for pod in 0..pods() {
        namespace.accept(&asking(Some(&label), &format!("{who}-{number}-{pod}"))).await;
    }
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    let each_second = pods() as f64 / start.elapsed().as_secs_f64();
    measured(&format!(
        "{who}, {number} FrameBuffers in the namespace: the API server took {mutating:.2} ms for mutation and \
         {validating:.2} ms for validation of a labelled pod on average (its buckets say p50 {h50:.1}, p99 {h99:.1} ms \
         for mutation); a client waited {p50:.2} ms (p99 {p99:.2}), without the label {plain50:.2} ms (p99 \
         {plain99:.2}); {each_second:.0} labelled pods created per second, one after the other"
    ));
    mutating
}

#[test]
fn injection_costs_a_pod_milliseconds_however_many_framebuffers_there_are() {
    alone(async |namespace| {
        if !serves_policies() {
            measured("not tested: the cost of injection by the API server; this cluster's cannot do it");
            return;
        }
        let mut last = 0;
        let mut by_policy = Vec::new();
        for number in sizes() {
            declare(namespace, last, number).await;
            last = number;
            by_policy.push(measure(namespace, "policy", number).await);
        }
        restoring(
            namespace,
            Box::pin(async {
                run_blocking(|| install(&["--set", "injection.mode=webhook"])).await;
                namespace.until("the bindings are gone", async || bindings(namespace).await.is_empty()).await;
                let label = name(0);
                let accepted = async || namespace.try_dry(&asking(Some(&label), "after")).await.is_ok();
                namespace.until("labelled pods are accepted", accepted).await;
                measure(namespace, "webhook", last).await;
                // Fewer and fewer.
                for number in sizes().into_iter().rev().skip(1) {
                    stream::iter(number..last)
                        .for_each_concurrent(4, async |gone| {
                            namespace
                                .api::<FrameBuffer>()
                                .delete(&name(gone), &kube::api::DeleteParams::default())
                                .await
                                .unwrap();
                        })
                        .await;
                    last = number;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    measure(namespace, "webhook", number).await;
                }
                // With no policy for pods but the one that refuses.
                let [p50, p99] = times(namespace, &asking(None, "plain")).await;
                measured(&format!("unlabelled pods without the policy: a client waited {p50:.2} ms (p99 {p99:.2})"));
            }),
        )
        .await;
        assert!(by_policy.iter().all(|took| *took < 50.0), "{by_policy:?}");
    });
}
