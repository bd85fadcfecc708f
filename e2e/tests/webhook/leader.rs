//! The leader: deleted, killed, hung. The other replica serves, and the leader's work goes on.

use std::time::{Duration, Instant};

use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::load::meanwhile;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod, without_node, workload};
use framebuffer_e2e::metrics::{measured, served};
use framebuffer_e2e::namespace::{has_sidecar, size};
use framebuffer_e2e::operator::{Stopped, leader, process_of, settled, some_leader};
use framebuffer_e2e::program::{kubectl, succeed};
use framebuffer_e2e::settings::{OPERATOR, SYSTEM};
use framebuffer_operator::api::FrameBuffer;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::alone;

async fn lease(namespace: &TestNamespace) -> k8s_openapi::api::coordination::v1::LeaseSpec {
    namespace.api_in::<Lease>(SYSTEM).get(OPERATOR).await.unwrap().spec.unwrap()
}

/// Waits until the leader has reported on the newest spec.
async fn reported(namespace: &TestNamespace) {
    let reported = |found: &FrameBuffer| {
        let observed = found.status.as_ref().and_then(|status| status.observed_generation);
        observed.is_some() && observed == found.metadata.generation
    };
    namespace.wait(RING, "to have its spec reported on", reported).await;
}

#[test]
fn when_the_leader_is_deleted_the_other_replica_takes_over() {
    alone(async |namespace| {
        let old = some_leader(namespace).await;
        let start = Instant::now();
        let pods = namespace.api_in::<Pod>(SYSTEM);
        let killed = pods.delete(&old, &DeleteParams::default().grace_period(0)).await;
        killed.unwrap_or_else(|error| panic!("{old}: {error}"));
        // Admission never stops: the other replica serves.
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        namespace.until("another one leads", async || leader(namespace).await.is_some_and(|new| new != old)).await;
        measured(&format!("another leader after {:?}", start.elapsed()));
        settled(namespace, 2).await;
        // The new leader does a leader's work.
        reported(namespace).await;
    });
}

#[test]
fn while_the_leader_is_killed_labelled_pods_are_created_and_its_work_goes_on() {
    alone(async |namespace| {
        let old = some_leader(namespace).await;
        let Some(process) = process_of(&old) else { return };
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        reported(namespace).await;
        let mut deployment = workload("Deployment", "many", &[idle("app")]);
        deployment["spec"]["replicas"] = json!(20);
        without_node(&mut deployment["spec"]["template"]);
        let renewed = lease(namespace).await.renew_time;
        let start = Instant::now();
        let work = async {
            succeed("kill", &["-9", &process]);
            namespace.accept(&deployment).await;
            namespace.merge::<FrameBuffer>(RING, &size("2Mi")).await;
            reported(namespace).await;
            let took = start.elapsed();
            let all = |found: &Deployment| found.status.as_ref().and_then(|status| status.replicas) == Some(20);
            namespace.wait("many", "to have all its pods", all).await;
            // Until the restarted replica serves again.
            settled(namespace, 2).await;
            took
        };
        let (took, load) = Box::pin(meanwhile(namespace, work)).await;
        let last = load.refused.iter().map(|(when, _)| *when).max().unwrap_or_default();
        measured(&format!(
            "after the leader was killed its work went on after {took:?}, by {}; {} of {} pods were refused, the last \
             after {last:?}",
            if leader(namespace).await.as_ref() == Some(&old) { "itself, restarted" } else { "the other" },
            load.refused.len(),
            load.refused.len() + load.accepted,
        ));
        let pods = namespace.pods().await;
        assert!(pods.iter().all(has_sidecar), "a labelled pod has no sidecar");
        assert!(lease(namespace).await.renew_time > renewed);
        assert!(took < Duration::from_secs(10), "{took:?}");
        // Connections to the dead process fail at once, until the node knows; no later than that.
        assert!(last < Duration::from_secs(5), "{:?}", load.refused);
        // How many there are depends on how soon the operator has settled: within seconds.
        assert!(load.accepted > 20, "{load:?}");
    });
}

#[test]
fn a_leader_that_hangs_is_replaced_after_its_lease_and_steps_down_when_it_goes_on() {
    alone(async |namespace| {
        let old = some_leader(namespace).await;
        let Some(process) = process_of(&old) else { return };
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        reported(namespace).await;
        let start = Instant::now();
        let stopped = Stopped::stop(process);
        let work = async {
            namespace.until("another one leads", async || leader(namespace).await.is_some_and(|new| new != old)).await;
            let took = start.elapsed();
            namespace.merge::<FrameBuffer>(RING, &size("2Mi")).await;
            reported(namespace).await;
            // The API server keeps its connection to the one that hangs until it has waited in vain.
            let accepted = async || namespace.try_dry(&pod("app", &[idle("app")])).await.is_ok();
            namespace.until("labelled pods are accepted", accepted).await;
            (took, start.elapsed())
        };
        let ((took, accepted), load) = Box::pin(meanwhile(namespace, work)).await;
        let new = leader(namespace).await.unwrap();
        let last = load.refused.iter().map(|(when, _)| *when).max().unwrap_or_default();
        measured(&format!(
            "a leader that hangs was replaced after {took:?}; {} of {} pods were refused, the last after {last:?}",
            load.refused.len(),
            load.refused.len() + load.accepted,
        ));
        drop(stopped);
        let metrics = |pod: &str| served(SYSTEM, pod, 8080, "/metrics");
        let leads = |pod: &str| metrics(pod).lines().any(|line| line == "framebuffer_operator_leader 1");
        let resumed = Instant::now();
        namespace.until("the old leader steps down", async || !leads(&old)).await;
        measured(&format!("it stepped down {:?} after it went on", resumed.elapsed()));
        let log = kubectl(&["-n", SYSTEM, "logs", &old]);
        assert!(log.contains("lost the lease"), "{log}");
        settled(namespace, 2).await;
        assert_eq!((leads(&new), leads(&old)), (true, false));
        assert_eq!(leader(namespace).await, Some(new));
        assert!(
            took > Duration::from_secs(10),
            "a lease of 15 s was taken from a leader that may still work: {took:?}"
        );
        assert!(took < Duration::from_secs(25), "{took:?}");
        assert!(accepted < Duration::from_secs(40), "{accepted:?} {load:?}");
        // As long as the node sends a part of the connections to the one that hangs.
        assert!(last < Duration::from_secs(40), "{:?}", load.refused);
    });
}
