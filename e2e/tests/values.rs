//! Values of the chart that change what a running operator does.

use std::collections::BTreeSet;
use std::sync::Mutex;

use framebuffer_contract::kubernetes::{ADMIN_PORT, INJECT_LABEL, RESTARTED_ANNOTATION, SIDECAR};
use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::load::injected_once;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::{is_ready, phase, restarts};
use framebuffer_e2e::operator::{Stopped, operators, process_of, settled, some_leader};
use framebuffer_e2e::policy::bindings;
use framebuffer_e2e::program::{kubectl, output, run_blocking};
use framebuffer_e2e::settings::{OPERATOR, SYSTEM, injector};
use framebuffer_e2e::{TestNamespace, alone};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::api::status::{READY, UP_TO_DATE};
use framebuffer_operator::injector::Injector;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::status::{changes, injection, takes};

const WORKLOADS: i32 = 3;

fn condition<'a>(found: &'a FrameBuffer, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = found.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map_or(("", "", ""), |found| (&found.status, &found.reason, &found.message))
}

fn counts(found: &FrameBuffer) -> Option<(i32, i32, i32)> {
    found.status.as_ref()?.pods.map(|pods| (pods.matched, pods.ready, pods.outdated))
}

fn is_restarted(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let annotations = template.and_then(|metadata| metadata.annotations.as_ref());
    annotations.is_some_and(|annotations| annotations.contains_key(RESTARTED_ANNOTATION))
}

fn rolls(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let done = status.observed_generation == deployment.metadata.generation
        && [status.updated_replicas, status.replicas, status.available_replicas] == [Some(1); 3];
    is_restarted(deployment) && !done
}

/// What was seen while the operator was upgraded.
#[derive(Debug, Default)]
struct Seen {
    /// The status said that it waits for the replica that hangs.
    waited: bool,
    /// Workloads that were restarted while it still ran.
    early: BTreeSet<String>,
    /// The most workloads that rolled at once.
    at_once: usize,
    restarted: usize,
    done: bool,
}

/// Looks once. The workloads first: a replica does not come back.
async fn look(namespace: &TestNamespace, hanging: &str, seen: &mut Seen) {
    let deployments = namespace.api::<Deployment>().list(&ListParams::default()).await.unwrap().items;
    let replica = namespace.api_in::<Pod>(SYSTEM).get_opt(hanging).await.unwrap();
    let restarted: Vec<&Deployment> = deployments.iter().filter(|found| is_restarted(found)).collect();
    if replica.is_some_and(|replica| phase(&replica) == "Running") {
        seen.early.extend(restarted.iter().map(|deployment| deployment.name_any()));
    }
    seen.restarted = restarted.len();
    let rolling = restarted.iter().filter(|deployment| rolls(deployment)).count();
    seen.at_once = seen.at_once.max(rolling);
    let found = namespace.api::<FrameBuffer>().get(RING).await.unwrap();
    let (_, reason, message) = condition(&found, UP_TO_DATE);
    seen.waited |= reason == "UpgradeInProgress" && message.contains(hanging);
    seen.done =
        seen.restarted == deployments.len() && rolling == 0 && counts(&found) == Some((WORKLOADS, WORKLOADS, 0));
}

/// The sidecar has no user of the chart's.
async fn user_is_the_platforms(namespace: &TestNamespace) {
    for pod in namespace.pods().await.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let spec = json!(pod.spec);
        let sidecar = &spec["initContainers"][0];
        let context = &sidecar["securityContext"];
        assert_eq!((&sidecar["name"], &context["runAsNonRoot"]), (&json!(SIDECAR), &json!(true)), "{sidecar:#}");
        assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&Value::Null, &Value::Null), "{context:#}");
    }
}

/// The guard takes what the operator renders with these values, neither a change of it nor what it would render with
/// others.
async fn guard_takes_nothing_else(namespace: &TestNamespace) {
    if injector() != Injector::Policy {
        return measured("not tested: the guard on status.injection; this cluster's API server does not inject");
    }
    let rendered = injection(namespace, RING).await;
    takes(namespace, RING, &rendered).await.unwrap();
    for (what, changed) in changes(&rendered) {
        assert!(takes(namespace, RING, &changed).await.is_err(), "accepted: {what}");
    }
    let mut foreign = rendered.clone();
    let probe = foreign["sidecar"]["livenessProbe"].as_object_mut().unwrap();
    assert!(probe.remove("httpGet").is_some(), "{probe:?}");
    probe.insert("exec".to_owned(), json!({"command": ["/framebuffer-sidecar", "healthcheck"]}));
    let why = takes(namespace, RING, &foreign).await.err().unwrap_or_default();
    assert!(why.contains("it differs in livenessProbe"), "{why}");
    for (field, user) in [("runAsUser", 0), ("runAsUser", 65532), ("runAsGroup", 0)] {
        let mut foreign = rendered.clone();
        foreign["sidecar"]["securityContext"][field] = json!(user);
        let why = takes(namespace, RING, &foreign).await.err().unwrap_or_default();
        assert!(why.contains("it differs in securityContext"), "{field} {user}: {why}");
    }
}

/// The kubelet's requests make a pod ready, and restart a sidecar that hangs.
async fn probes_are_requests(namespace: &TestNamespace) {
    const NAME: &str = "hanging";
    let mut hanging = pod(NAME, &[idle("app")]);
    hanging["spec"]["shareProcessNamespace"] = json!(true);
    let injected = namespace.try_dry(&hanging).await.unwrap();
    // A pod that brings its injection is left as it is. With the times of the chart it would take two minutes.
    hanging["metadata"]["annotations"] = injected["metadata"]["annotations"].clone();
    hanging["spec"] = injected["spec"].clone();
    for probe in ["readinessProbe", "livenessProbe"] {
        let probe = &mut hanging["spec"]["initContainers"][0][probe];
        assert_eq!(probe["httpGet"], json!({"path": "/readyz", "port": ADMIN_PORT, "scheme": "HTTP"}), "{probe:#}");
        assert_eq!(probe.get("exec"), None);
        for (time, seconds) in [("periodSeconds", 1), ("timeoutSeconds", 1), ("failureThreshold", 3)] {
            probe[time] = json!(seconds);
        }
    }
    namespace.accept(&hanging).await;
    let before = restarts(&namespace.ready(NAME).await, SIDECAR);
    namespace.exec(NAME, "app", &["/bin/sh", "-c", "kill -STOP $(pidof framebuffer-sidecar)"]);
    let restarted = |pod: &Pod| restarts(pod, SIDECAR) > before && is_ready(pod);
    namespace.wait(NAME, "to have its sidecar restarted", restarted).await;
}

#[test]
fn an_upgrade_restarts_workloads_once_its_last_old_replica_is_gone_and_no_more_at_once_than_the_pace_allows() {
    alone(async |namespace| {
        // Replicas of the last upgrade may still be about to end.
        settled(namespace, 2).await;
        let leader = some_leader(namespace).await;
        let replicas = operators(namespace).await;
        let follower = replicas.iter().map(ResourceExt::name_any).find(|name| *name != leader).unwrap();
        let Some(process) = process_of(&follower) else { return };
        let rolling = json!({"size": "1Mi", "updateStrategy": {"type": "RollingRestart"}});
        namespace.declare(&framebuffer(&rolling)).await;
        for number in 0..WORKLOADS {
            namespace.accept(&workload("Deployment", &format!("w{number}"), &[idle("app")])).await;
        }
        let ready = |found: &FrameBuffer| counts(found) == Some((WORKLOADS, WORKLOADS, 0));
        namespace.wait(RING, "to have ready pods", ready).await;
        let seen = Mutex::new(Seen::default());
        restoring(
            namespace,
            Box::pin(async {
                // It ends only when its node kills it, or when it goes on.
                let mut stopped = Some(Stopped::stop(process));
                let values = "sidecar.user=platform,sidecar.probes=http,rollingRestart.maxConcurrent=1";
                let upgrade = run_blocking(move || install(&["--set", values]));
                let watch = namespace.until("all workloads have rolled", async || {
                    let mut now = std::mem::take(&mut *seen.lock().unwrap());
                    look(namespace, &follower, &mut now).await;
                    if now.waited {
                        stopped = None;
                    }
                    let done = now.done;
                    *seen.lock().unwrap() = now;
                    done
                });
                tokio::join!(upgrade, watch);
                user_is_the_platforms(namespace).await;
                guard_takes_nothing_else(namespace).await;
                probes_are_requests(namespace).await;
            }),
        )
        .await;
        let seen = seen.into_inner().unwrap();
        assert!(seen.waited && seen.early.is_empty(), "{seen:?}");
        assert_eq!(seen.at_once, 1, "{seen:?}");
    });
}

/// Lines of the operator's logs that are more than information.
async fn complaints(namespace: &TestNamespace) -> Vec<String> {
    let mut lines = Vec::new();
    // Those of before end, and may be gone in between.
    for replica in operators(namespace).await.iter().filter(|replica| replica.metadata.deletion_timestamp.is_none()) {
        let log = kubectl(&["-n", SYSTEM, "logs", &replica.name_any()]);
        lines.extend(log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).map(str::to_owned));
    }
    lines
}

fn named(name: &str) -> Value {
    let mut declared = framebuffer(&json!({"size": "1Mi"}));
    declared["metadata"]["name"] = json!(name);
    declared
}

fn asking(name: &str) -> Value {
    let mut asking = pod(name, &[idle("app")]);
    asking["metadata"]["labels"][INJECT_LABEL] = json!(name);
    asking
}

#[test]
fn with_static_bindings_pods_are_injected_by_an_operator_that_may_not_write_bindings_and_misses_nothing() {
    const OTHER: &str = "unlisted";
    const LEFT: &str =
        "framebuffer.dev/policy=framebuffer-operator-inject,app.kubernetes.io/managed-by=framebuffer-operator";
    const STATIC: [&str; 2] = ["--set", "injection.bindings=static"];
    alone(async |namespace| {
        if injector() != Injector::Policy {
            return measured("not tested: static bindings; this cluster's API server does not inject");
        }
        let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let may = |verb: &str| {
            let asked =
                output("kubectl", &["auth", "can-i", verb, "mutatingadmissionpolicybindings", "--as", &account]);
            String::from_utf8_lossy(&asked.stdout).trim() == "yes"
        };
        let not_ours = async || {
            let names = bindings(namespace).await.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
            names.into_iter().filter(|name| !name.starts_with("framebuffer-operator-static")).collect::<Vec<_>>()
        };
        restoring(
            namespace,
            Box::pin(async {
                let names = format!("injection.names={{{RING}}}");
                run_blocking(move || install(&[&STATIC[..], &["--set", &names]].concat())).await;
                // As the chart's README says.
                kubectl(&["delete", "mutatingadmissionpolicybindings", "-l", LEFT]);
                namespace.declare(&named(RING)).await;
                namespace.accept(&named(OTHER)).await;
                let injected = namespace.try_dry(&asking(RING)).await.unwrap();
                assert!(injected_once(&injected), "{injected:#}");
                let not_bound = |found: &FrameBuffer| {
                    let (status, reason, message) = condition(found, READY);
                    status == "False" && reason == "PolicyNotReady" && message.contains("injection.names")
                };
                namespace.wait(OTHER, "to be reported as not bound, with the reason", not_bound).await;
                let why = framebuffer_e2e::namespace::refusal(namespace.try_dry(&asking(OTHER)).await, &asking(OTHER));
                assert!(why.contains("injection.names of the chart lacks it"), "{why}");
                assert_eq!(["create", "patch", "update", "delete"].map(may), [false; 4]);
                assert!(may("list"));
                assert_eq!(complaints(namespace).await, Vec::<String>::new());
                assert_eq!(not_ours().await, Vec::<String>::new());

                run_blocking(|| install(&STATIC)).await;
                let all = async || {
                    let pods = [RING, OTHER].map(asking);
                    let [one, two] = [&pods[0], &pods[1]].map(|pod| namespace.try_dry(pod));
                    let (one, two) = tokio::join!(one, two);
                    [one, two].iter().all(|pod| pod.as_ref().is_ok_and(injected_once))
                };
                namespace.until("one binding serves every name", all).await;
                let ready = |found: &FrameBuffer| condition(found, READY).0 == "True";
                namespace.wait(OTHER, "to be ready", ready).await;
                assert_eq!(bindings(namespace).await.len(), 1);
                assert_eq!(["create", "patch", "update", "delete"].map(may), [false; 4]);
                settled(namespace, 2).await;
                assert_eq!(complaints(namespace).await, Vec::<String>::new());
            }),
        )
        .await;
        // The operator's own bindings are back, in place of the chart's.
        let back = async || bindings(namespace).await.iter().all(|found| !found.name_any().contains("-static"));
        namespace.until("the chart's bindings are gone", back).await;
        namespace.until("labelled pods are accepted", async || namespace.try_dry(&asking(RING)).await.is_ok()).await;
    });
}
