//! What the probes of idle sidecars cost a node, for the table in docs/kubernetes.md. It takes minutes, and so runs on
//! request only.

use std::fs;
use std::time::Duration;

use framebuffer_e2e::alone;
use framebuffer_e2e::manifests::{RING, framebuffer, pod, script};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::TestNamespace;
use framebuffer_e2e::settings::is_here;
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::render::{Probes, Settings, render};
use framebuffer_operator::validate::validate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A node takes 110, but two cores that others use as well don't start them in time.
const PODS: i32 = 50;
/// How many start at once.
const STEP: usize = 10;
/// Until what has been done for their start is over.
const REST: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_mins(1);
const PROBES: [&str; 2] = ["readinessProbe", "livenessProbe"];

/// CPU time of all processes that can be seen, and of those that have ended since and were waited for.
fn spent() -> Duration {
    /// Of the fields of `stat` behind the program's name: user and system time, and those of ended children.
    const TIMES: std::ops::Range<usize> = 11..15;
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // Other entries have no such file, and a process may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        ticks += fields[TIMES].iter().map(|time| time.parse::<u64>().unwrap()).sum::<u64>();
    }
    // A tick is a hundredth of a second, whatever the kernel's own are.
    Duration::from_millis(ticks * 10)
}

/// The sidecar with the probes of the operator's rendering, or with none.
fn with_probes(sidecar: &mut Value, probes: Option<Probes>) {
    let sidecar = sidecar.as_object_mut().unwrap();
    for probe in PROBES {
        sidecar.remove(probe);
    }
    let Some(probes) = probes else { return };
    let declared: FrameBuffer = serde_json::from_value(framebuffer(&json!({"size": "64Ki"}))).unwrap();
    let settings = Settings { probes, ..Settings::default() };
    let rendered = render(&validate(&declared).unwrap(), &settings).content.sidecar;
    let rendered = serde_json::to_value(rendered).unwrap();
    sidecar.extend(PROBES.map(|probe| (probe.to_owned(), rendered[probe].clone())));
}

/// Cores that the whole cluster takes while pods with such a sidecar do nothing.
async fn measure(namespace: &TestNamespace, name: &str, spec: &Value) -> f64 {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": spec});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec});
    namespace.accept(&deployment).await;
    for replicas in (0..=PODS).step_by(STEP).skip(1) {
        namespace.merge::<Deployment>(name, &json!({"spec": {"replicas": replicas}})).await;
        let ready = |found: &Deployment| {
            found.status.as_ref().is_some_and(|status| status.ready_replicas.unwrap_or(0) == replicas)
        };
        namespace.wait(name, &format!("to have {replicas} ready pods"), ready).await;
    }
    tokio::time::sleep(REST).await;
    let before = spent();
    tokio::time::sleep(WINDOW).await;
    let cores = spent().saturating_sub(before).as_secs_f64() / WINDOW.as_secs_f64();
    namespace.api::<Deployment>().delete(name, &DeleteParams::foreground()).await.unwrap();
    namespace.until("the pods are gone", async || namespace.pods().await.is_empty()).await;
    cores
}

#[test]
#[ignore = "takes minutes; docs/kubernetes.md has its figures"]
fn probes_by_http_cost_a_node_less_than_processes() {
    alone(async |namespace| {
        if !is_here() {
            return measured("not measured: the processes of this cluster's nodes can't be seen from here");
        }
        namespace.declare(&framebuffer(&json!({"size": "64Ki"}))).await;
        let idle = script("app", "trap exit TERM; sleep 1000000 & wait $!");
        let mut spec = namespace.try_dry(&pod(RING, &[idle])).await.unwrap()["spec"].take();
        // As a Deployment's pods have it.
        spec["restartPolicy"] = json!("Always");
        // Readiness every 10 s, and liveness every 30 s.
        let each_second = f64::from(PODS) * (1.0 / 10.0 + 1.0 / 30.0);
        let mut table = Vec::new();
        for (name, probes) in [("none", None), ("http", Some(Probes::Http)), ("exec", Some(Probes::Exec))] {
            with_probes(&mut spec["initContainers"][0], probes);
            let cores = measure(namespace, name, &spec).await;
            table.push(cores);
            let more = cores - table[0];
            measured(&format!(
                "probes of {PODS} idle pods: {name}: {cores:.2} cores, {:.1} thousandths of a core for each pod, \
                 {:.0} ms for each probe",
                more * 1e3 / f64::from(PODS),
                more * 1e3 / each_second,
            ));
        }
        assert!(table[1] < table[2], "{table:?}");
    });
}
