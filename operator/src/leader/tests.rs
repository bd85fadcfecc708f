//! Tests of the decisions, and of an election against an API server of a few lines.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::lease::{Action, Candidate, LeaseExt as _, Observed, decide};
use super::{Election, Timing};
use crate::injector::Injector;
use crate::testing::FakeApi;

const LEASE: Duration = Duration::from_secs(15);

fn held_by(holder: &str) -> Lease {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3});
    serde_json::from_value(json!({"metadata": {"name": "l", "resourceVersion": "7"}, "spec": spec})).unwrap()
}

fn asking(injector: Injector) -> Candidate {
    Candidate { name: "me".to_owned(), injector }
}

fn decided(lease: Option<Lease>, age: u64) -> Action {
    decide(lease, Duration::from_secs(age), &asking(Injector::Webhook), LEASE, Timestamp::UNIX_EPOCH)
}

fn holder(action: Action) -> (String, i32) {
    let (Action::Create(lease) | Action::Replace(lease)) = action else { panic!("{action:?}") };
    let spec = lease.spec.unwrap();
    (spec.holder_identity.unwrap(), spec.lease_transitions.unwrap())
}

#[test]
fn a_missing_lease_is_created() {
    assert_eq!(holder(decided(None, 0)), ("me".to_owned(), 1));
}

#[test]
fn another_ones_lease_is_taken_only_when_it_has_not_changed_for_its_duration() {
    assert_eq!(decided(Some(held_by("you")), 14), Action::Wait);
    assert_eq!(holder(decided(Some(held_by("you")), 15)), ("me".to_owned(), 4));
}

#[test]
fn a_replica_in_webhook_mode_deposes_a_leader_in_policy_mode_and_nobody_else_deposes_anybody() {
    let asks = |lease: &Lease, injector| {
        let lease = Some(lease.clone());
        decide(lease, Duration::ZERO, &asking(injector), LEASE, Timestamp::UNIX_EPOCH)
    };
    let mut lease = held_by("you");
    for injector in [Injector::Policy, Injector::Webhook] {
        assert_eq!(asks(&lease, injector), Action::Wait, "a lease without the annotation");
    }
    for (theirs, mine, deposes) in [
        (Injector::Policy, Injector::Policy, false),
        (Injector::Policy, Injector::Webhook, true),
        (Injector::Webhook, Injector::Policy, false),
        (Injector::Webhook, Injector::Webhook, false),
    ] {
        lease.metadata.annotations =
            Some([("framebuffer.dev/injection-mode".to_owned(), theirs.as_str().to_owned())].into());
        let action = asks(&lease, mine);
        assert_eq!(action != Action::Wait, deposes, "{theirs:?} {mine:?}");
        if let Action::Replace(taken) = action {
            // Nor will it be deposed in turn.
            let annotations = taken.metadata.annotations.unwrap_or_default();
            assert_eq!(annotations["framebuffer.dev/injection-mode"], "webhook");
        }
    }
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let released = held_by("you").released("you").unwrap();
    assert_eq!(holder(decided(Some(released), 0)), ("me".to_owned(), 4));
    assert!(held_by("you").released("me").is_none());
}

#[test]
fn ones_own_lease_is_renewed_without_a_transition() {
    assert_eq!(holder(decided(Some(held_by("me")), 0)), ("me".to_owned(), 3));
}

#[tokio::test(start_paused = true)]
async fn age_is_measured_on_ones_own_clock_from_the_last_change() {
    let mut observed = Observed::default();
    let lease = held_by("you");
    assert_eq!(observed.age(Some(&lease), tokio::time::Instant::now()), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(observed.age(Some(&lease), tokio::time::Instant::now()), Duration::from_secs(9));
    let mut renewed = lease.clone();
    renewed.metadata.resource_version = Some("8".to_owned());
    assert_eq!(observed.age(Some(&renewed), tokio::time::Instant::now()), Duration::ZERO);
}

/// An API server with one lease, which refuses what was made from an older version.
fn one_lease() -> (FakeApi, kube::Client) {
    let (api, lease) = (FakeApi::default(), Mutex::new((0_u64, None::<Value>)));
    let client = api.client(move |(method, _, body)| {
        let mut lease = lease.lock().unwrap();
        if method == "GET" {
            return lease.1.clone();
        }
        let version = lease.1.as_ref().map_or(Value::Null, |lease| lease["metadata"]["resourceVersion"].clone());
        if body["metadata"].get("resourceVersion").cloned().unwrap_or_default() != version {
            return Some(json!({"kind": "Status", "status": "Failure", "code": 409}));
        }
        lease.0 += 1;
        let mut next = body.clone();
        next["metadata"]["resourceVersion"] = json!(lease.0.to_string());
        lease.1 = Some(next.clone());
        Some(next)
    });
    (api, client)
}

async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), wait).await.expect("the condition must come true");
}

/// A candidate that counts itself while it works.
fn candidate(client: &kube::Client, me: &str, working: &Arc<AtomicU32>) -> CancellationToken {
    struct Working(Arc<AtomicU32>);
    impl Drop for Working {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let shutdown = CancellationToken::new();
    let election = Election::new(client.clone(), "ns", "l", me, Injector::Webhook, Timing::default());
    let working = Arc::clone(working);
    tokio::spawn(election.run(shutdown.clone(), move || {
        working.fetch_add(1, Ordering::SeqCst);
        let working = Working(Arc::clone(&working));
        async move {
            let _working = working;
            std::future::pending::<()>().await;
        }
    }));
    shutdown
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_the_other_takes_over_at_once_when_it_stops() {
    let (_api, client) = one_lease();
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let leads = |who: &Arc<AtomicU32>| who.load(Ordering::SeqCst);
    let stop = candidate(&client, "first", &first);
    until(|| leads(&first) == 1).await;
    let _other = candidate(&client, "second", &second);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((leads(&first), leads(&second)), (1, 0), "a lease that is renewed is not taken");
    let stopped = tokio::time::Instant::now();
    stop.cancel();
    until(|| leads(&second) == 1).await;
    assert_eq!(leads(&first), 0);
    assert!(stopped.elapsed() < Duration::from_secs(5), "it was given back: {:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_its_lease_ends() {
    let (_api, client) = one_lease();
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let inner = Arc::clone(&broken);
    let flaky = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        let (client, broken) = (client.clone(), inner.load(Ordering::SeqCst));
        async move {
            if broken {
                std::future::pending::<()>().await;
            }
            client.send(request).await
        }
    });
    let working = Arc::new(AtomicU32::new(0));
    let _stop = candidate(&kube::Client::new(flaky, "ns"), "me", &working);
    until(|| working.load(Ordering::SeqCst) == 1).await;
    broken.store(true, Ordering::SeqCst);
    let cut = tokio::time::Instant::now();
    until(|| working.load(Ordering::SeqCst) == 0).await;
    assert!(cut.elapsed() < LEASE, "{:?}", cut.elapsed());
}
