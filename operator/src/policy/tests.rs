//! Tests of bindings against an API server of a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::binding::{Names, Policy, binding, name, repair};
use super::bindings::{Bindings, Round};
use super::reconciler::{Known, SETTLE};
use crate::api::FrameBuffer;
use crate::injector::Readiness;
use crate::testing::{FakeApi, framebuffer};

const ALL: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

fn policy() -> Policy {
    Policy { name: "inject".to_owned(), uid: "u".to_owned() }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// An API server with the policy and bindings, by their names.
fn server(bindings: &[Value]) -> (FakeApi, Bindings) {
    let api = FakeApi::default();
    let key = |binding: &Value| binding["metadata"]["name"].as_str().unwrap().to_owned();
    let stored: BTreeMap<String, Value> = bindings.iter().map(|binding| (key(binding), binding.clone())).collect();
    let stored = Arc::new(Mutex::new(stored));
    let client = api.client(move |(method, uri, body)| {
        let mut stored = stored.lock().unwrap();
        let path = uri.split('?').next().unwrap_or_default();
        let failure = |code| Some(json!({"kind": "Status", "status": "Failure", "code": code, "message": "no"}));
        match (method.as_str(), path.strip_prefix(ALL).unwrap_or("/other")) {
            ("GET", "") => {
                // As labels select them.
                let ours = stored
                    .values()
                    .filter(|binding| binding["metadata"]["labels"]["framebuffer.dev/policy"] == "inject");
                Some(json!({"kind": "List", "metadata": {}, "items": ours.cloned().collect::<Vec<_>>()}))
            }
            ("POST", _) if key(body) == "inject-forbidden" => failure(403),
            ("POST", _) if stored.contains_key(&key(body)) => failure(409),
            ("POST", _) => {
                stored.insert(key(body), body.clone());
                Some(body.clone())
            }
            ("GET", "/other") => Some(json!({"metadata": {"name": "inject", "uid": "u"}})),
            ("DELETE", path) => stored.remove(&path[1..]),
            (_, path) => stored.get(&path[1..]).cloned(),
        }
    });
    let bindings = Bindings::new(&client, "inject");
    (api, bindings)
}

fn changes(api: &FakeApi) -> Vec<String> {
    let mut changes = api.paths();
    changes.retain(|path| !path.starts_with("GET"));
    changes.iter().map(|change| change.replace(ALL, "")).collect()
}

#[test]
fn a_binding_selects_pods_by_the_name_and_takes_the_framebuffer_of_their_namespace() {
    let binding = binding(&policy(), "ring.v2");
    assert_eq!(binding["metadata"]["name"], "inject-ring.v2");
    assert_eq!(binding["spec"]["paramRef"], json!({"name": "ring.v2", "parameterNotFoundAction": "Allow"}));
    let selector = &binding["spec"]["matchResources"]["objectSelector"];
    assert_eq!(*selector, json!({"matchLabels": {"framebuffer.dev/inject": "ring.v2"}}));
    assert_eq!(binding["metadata"]["ownerReferences"][0]["uid"], "u");
}

/// `FrameBuffer`s by name and the second of their creation.
fn declared(all: &[(&str, i64)]) -> Vec<FrameBuffer> {
    let made = |(name, second): &(&str, i64)| {
        let mut made = framebuffer(json!({"size": "1Mi"}));
        made.metadata.name = Some((*name).to_owned());
        made.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(*second).unwrap()));
        made
    };
    all.iter().map(made).collect()
}

#[test]
fn names_that_no_label_can_hold_are_not_bound_and_equal_names_once() {
    let long = "x".repeat(64);
    let all = declared(&[("a", 1), ("b", 1), ("a", 2), (&long, 1), (&long[1..], 1)]);
    let names = Names::choose(all.iter(), 9);
    assert_eq!(names, Names { chosen: set(&["a", "b", &long[1..]]), beyond: set(&[]) });
    assert_ne!(name("inject", "a"), name("inject", "b"));
}

#[test]
fn beyond_the_limit_the_oldest_names_stay_and_newcomers_are_told_why() {
    let all = declared(&[("new", 9), ("old", 1), ("shared", 8), ("middle", 5), ("shared", 2)]);
    let names = Names::choose(all.iter(), 2);
    assert_eq!(names, Names { chosen: set(&["old", "shared"]), beyond: set(&["middle", "new"]) });
    assert_eq!(Names::choose(all.iter(), 4).beyond, set(&[]));
    let (now, mut known) = (Instant::now(), Known::default());
    (known.beyond, known.limit) = (names.beyond, 2);
    known.learn(policy(), round(&[("old", true), ("shared", true)]), now);
    assert_eq!(not_ready(&known, "shared", now), None);
    let (reason, why) = known.readiness(now).0.not_ready("new").unwrap();
    assert_eq!(reason, "TooManyNames");
    assert!(why.contains("4 names") && why.contains("the 2 oldest") && why.contains("injection.maxNames"), "{why}");
}

#[test]
fn a_binding_is_repaired_in_whatever_part_it_differs() {
    let wanted = binding(&policy(), "ring");
    let found = |change: &dyn Fn(&mut Value)| {
        let mut found = wanted.clone();
        change(&mut found);
        repair(&serde_json::from_value(found).unwrap(), &wanted)
    };
    assert_eq!(found(&|_| {}), None);
    assert_eq!(found(&|found| found["metadata"]["labels"]["team"] = json!("media")), None, "more labels do no harm");
    let changes: [&dyn Fn(&mut Value); 4] = [
        &|found| found["spec"]["paramRef"]["namespace"] = json!("other"),
        &|found| found["spec"]["matchResources"]["excludeResourceRules"] = json!([{}]),
        &|found| found["metadata"]["ownerReferences"][0]["uid"] = json!("before"),
        &|found| found["metadata"]["labels"] = json!({}),
    ];
    for change in changes {
        let patch = found(change).expect("it differs");
        assert_eq!(patch[2], json!({"op": "add", "path": "/spec", "value": wanted["spec"]}));
    }
}

#[tokio::test]
async fn missing_bindings_are_created_wrong_ones_repaired_and_unneeded_ones_deleted() {
    let mut wrong = binding(&policy(), "wrong");
    wrong["spec"]["matchResources"]["objectSelector"] = json!({});
    let (api, bindings) = server(&[binding(&policy(), "right"), wrong, binding(&policy(), "old")]);
    let found = bindings.policy().await.unwrap().unwrap();
    assert_eq!(found, policy());
    let round = bindings.reconcile(&found, &set(&["right", "wrong", "new"]), 9).await.unwrap();
    let bound = [("new", false), ("right", true), ("wrong", false)].map(|(name, before)| (name.to_owned(), before));
    assert_eq!(round, Round { bound: bound.into(), ..Round::default() });
    let mut changes = changes(&api);
    changes.sort();
    assert_eq!(changes, ["DELETE /inject-old", "PATCH /inject-wrong", "POST "]);
}

#[tokio::test]
async fn a_replica_that_does_not_lead_deletes_nothing() {
    let (api, bindings) = server(&[binding(&policy(), "old")]);
    bindings.reconcile(&policy(), &set(&["new"]), 0).await.unwrap();
    assert_eq!(changes(&api), ["POST "]);
}

#[tokio::test]
async fn many_are_deleted_a_few_at_a_time() {
    let (api, bindings) = server(&["a", "b", "c"].map(|name| binding(&policy(), name)));
    for (gone, more) in [(2, true), (3, false)] {
        let round = bindings.reconcile(&policy(), &set(&[]), 2).await.unwrap();
        assert_eq!((changes(&api).len(), round.more), (gone, more));
    }
}

#[test]
fn a_name_is_not_ready_once_its_binding_is_about_to_be_deleted() {
    let (now, mut known) = (Instant::now(), Known::default());
    known.learn(policy(), round(&[("kept", true), ("going", true)]), now);
    known.withdraw(&set(&["kept"]));
    assert_eq!(not_ready(&known, "kept", now), None);
    assert!(not_ready(&known, "going", now).is_some());
}

#[tokio::test]
async fn a_binding_that_lost_its_label_is_found_by_its_name() {
    let mut unlabelled = binding(&policy(), "ring");
    unlabelled["metadata"]["labels"] = json!({});
    let (api, bindings) = server(&[unlabelled]);
    let round = bindings.reconcile(&policy(), &set(&["ring"]), 9).await.unwrap();
    assert!(!round.bound["ring"]);
    assert_eq!(changes(&api), ["POST ", "PATCH /inject-ring"]);
}

#[tokio::test]
async fn one_binding_that_is_refused_keeps_no_other_from_being_created() {
    let (_, bindings) = server(&[]);
    let round = bindings.reconcile(&policy(), &set(&["a", "forbidden", "z"]), 9).await.unwrap();
    assert_eq!(round.bound.keys().collect::<Vec<_>>(), ["a", "z"]);
    assert_eq!(round.failure.unwrap(), "failed to write binding `inject-forbidden`: no (403)");
}

fn round(bound: &[(&str, bool)]) -> Round {
    Round { bound: bound.iter().map(|(name, before)| ((*name).to_owned(), *before)).collect(), ..Round::default() }
}

fn not_ready(known: &Known, name: &str, now: Instant) -> Option<String> {
    known.readiness(now).0.not_ready(name).map(|(_, why)| why)
}

#[test]
fn a_name_is_ready_when_its_binding_was_there_or_has_settled() {
    let (now, mut known) = (Instant::now(), Known::default());
    known.learn(policy(), round(&[("old", true), ("new", false)]), now);
    assert_eq!(not_ready(&known, "old", now), None);
    assert!(not_ready(&known, "new", now).unwrap().contains("not in effect yet"));
    assert_eq!(known.readiness(now).1, Some(now + SETTLE), "that is when to look again");
    // The next round finds it: that makes it no younger, and no older.
    known.learn(policy(), round(&[("old", true), ("new", true)]), now + SETTLE / 2);
    assert!(not_ready(&known, "new", now + SETTLE / 2).is_some());
    assert_eq!(not_ready(&known, "new", now + SETTLE), None);
    // Somebody has edited it.
    known.learn(policy(), round(&[("old", false)]), now + SETTLE);
    assert!(not_ready(&known, "old", now + SETTLE).is_some());
    assert!(not_ready(&known, "new", now + SETTLE).is_some(), "it is gone");
}

#[test]
fn a_policy_that_is_gone_is_reported_and_a_new_one_settles() {
    let (now, mut known) = (Instant::now(), Known::default());
    known.learn(policy(), round(&[("ring", true)]), now);
    known.forget("inject");
    assert!(not_ready(&known, "ring", now).unwrap().starts_with("MutatingAdmissionPolicy inject does not exist"));
    let again = Policy { uid: "again".to_owned(), ..policy() };
    known.learn(again, round(&[("ring", true)]), now);
    assert!(not_ready(&known, "ring", now).unwrap().contains("the policy is not in effect yet"));
    assert_eq!(not_ready(&known, "ring", now + SETTLE), None);
}

#[test]
fn a_failure_is_reported_for_the_names_that_it_concerns() {
    let (now, mut known) = (Instant::now(), Known::default());
    known.learn(policy(), Round { failure: Some("no room".to_owned()), ..round(&[("ring", true)]) }, now);
    assert_eq!(not_ready(&known, "ring", now), None);
    assert_eq!(not_ready(&known, "other", now).unwrap(), "no room");
    assert!(matches!(known.readiness(now + Duration::from_secs(1)).0, Readiness::Bound(_)));
}
