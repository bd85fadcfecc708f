//! Tests of the status that is built.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::api::FrameBuffer;
use crate::render::{Settings, render};
use crate::testing::framebuffer;
use crate::validate::validate;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn later() -> Timestamp {
    NOW + SignedDuration::from_hours(1)
}

fn rendering(framebuffer: &FrameBuffer) -> Rendering {
    let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
    render(&validate(framebuffer).unwrap(), &settings)
}

fn condition_of<'a>(status: &'a FrameBufferStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

struct Case {
    pods: PodCounts,
    update: UpdateKind,
    not_ready: Option<(&'static str, String)>,
    restarts: Restarts,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            pods: PodCounts { matched: 3, ready: 3, outdated: 0 },
            update: UpdateKind::OnDelete,
            not_ready: None,
            restarts: Restarts::default(),
        }
    }
}

impl Case {
    fn status(&self, framebuffer: &FrameBuffer, now: Timestamp) -> FrameBufferStatus {
        let rendering = rendering(framebuffer);
        let Self { pods, update, not_ready, restarts } = self;
        let not_ready = not_ready.clone();
        let found = Found { rendering: Ok(&rendering), update: *update, pods: *pods, not_ready, restarts };
        let before = framebuffer.status.as_ref().map(Dated::of).unwrap_or_default();
        build(framebuffer.metadata.generation, &found, &before, now)
    }

    fn up_to_date(&self) -> (String, String, String) {
        let status = self.status(&framebuffer(json!({"size": "1Mi"})), NOW);
        let condition = condition_of(&status, UP_TO_DATE);
        (condition.status.clone(), condition.reason.clone(), condition.message.clone())
    }
}

#[test]
fn a_status_that_is_built_again_is_the_same() {
    let mut framebuffer = framebuffer(json!({"size": "1Mi"}));
    let status = Case::default().status(&framebuffer, NOW);
    assert_eq!(condition_of(&status, READY).status, "True");
    assert_eq!(condition_of(&status, UP_TO_DATE).status, "True");
    assert_eq!(status.observed_generation, Some(1));
    framebuffer.status = Some(status.clone());
    assert_eq!(Case::default().status(&framebuffer, later()), status);
}

#[test]
fn a_status_survives_the_api_server() {
    let status = Case::default().status(&framebuffer(json!({"size": "1Mi"})), later());
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<FrameBufferStatus>(&json).unwrap(), status);
}

#[test]
fn times_change_only_with_what_they_speak_of() {
    let mut framebuffer = framebuffer(json!({"size": "1Mi"}));
    framebuffer.status = Some(Case::default().status(&framebuffer, NOW));
    let unready = Case { not_ready: Some(("WebhookNotReady", "no CA".to_owned())), ..Case::default() };
    let status = unready.status(&framebuffer, later());
    assert_eq!(condition_of(&status, READY).last_transition_time.0, later());
    assert_eq!(condition_of(&status, READY).message, "no CA");
    assert_eq!(condition_of(&status, UP_TO_DATE).last_transition_time.0, NOW);
    assert_eq!(status.injection.as_ref().unwrap().rendered_at.0, NOW);
    framebuffer.spec.size = "2Mi".to_owned();
    let changed = Case::default().status(&framebuffer, later());
    assert_eq!(changed.injection.as_ref().unwrap().rendered_at.0, later());
    let dated = Dated::of(&status);
    assert_eq!(dated.rendered_at(&changed.injection.unwrap().hash), None);
    assert_eq!(dated.rendered_at(&status.injection.unwrap().hash), Some(NOW));
}

#[test]
fn an_invalid_spec_injects_nothing_and_says_why() {
    let framebuffer = framebuffer(json!({"size": "1Ki"}));
    let invalid = validate(&framebuffer).unwrap_err();
    let Case { pods, update, not_ready, restarts } = Case::default();
    let found = Found { rendering: Err(&invalid), update, pods, not_ready, restarts: &restarts };
    let status = build(Some(1), &found, &Dated::default(), NOW);
    let ready = condition_of(&status, READY);
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "InvalidSpec"));
    assert!(ready.message.contains("spec.size `1Ki`"));
    assert_eq!(condition_of(&status, UP_TO_DATE).status, "Unknown");
    assert_eq!(status.injection, None);
}

#[test]
fn outdated_pods_are_reported_with_what_happens_to_them() {
    let pods = PodCounts { matched: 3, ready: 3, outdated: 2 };
    let rolling = |restarts| Case { pods, update: UpdateKind::RollingRestart, restarts, ..Case::default() };
    let (status, reason, message) = Case { pods, ..Case::default() }.up_to_date();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "WaitingForDelete"));
    let expected = "2 of 3 pods have an older injection than the current one; they get it when they are replaced";
    assert_eq!(message, expected);
    assert_eq!(rolling(Restarts { settling: true, ..Restarts::default() }).up_to_date().1, "Settling");
    assert_eq!(rolling(Restarts::default()).up_to_date().1, "NotRestarted");
    let (_, reason, message) = rolling(Restarts { off: true, ..Restarts::default() }).up_to_date();
    assert_eq!(reason, "RestartsOff");
    assert!(message.ends_with("set to restart nothing; they get it when they are replaced"), "{message}");
    let failed = Restarts { failed: BTreeSet::from(["Deployment web".to_owned()]), ..Restarts::default() };
    let (_, reason, message) = rolling(failed).up_to_date();
    assert_eq!(reason, "RestartFailed");
    assert!(message.ends_with("failed to restart Deployment web, which is tried again each minute"), "{message}");
    let restarted = Restarts { restarted: BTreeSet::from(["Deployment web".to_owned()]), ..Restarts::default() };
    assert!(rolling(restarted).up_to_date().2.ends_with("restarted for it: Deployment web"));
    let many = (0..7).map(|number| format!("Rollout r{number}")).collect();
    let (_, reason, message) = rolling(Restarts { unsupported: many, ..Restarts::default() }).up_to_date();
    assert_eq!(reason, "CannotRestart");
    assert!(message.contains("Rollout r4 and 2 more; replace their pods"), "{message}");
}

#[test]
fn the_most_urgent_comes_first_and_nothing_is_left_unsaid() {
    let pods = PodCounts { matched: 9, ready: 9, outdated: 9 };
    let one = |name: &str| BTreeSet::from([name.to_owned()]);
    let restarts = Restarts {
        held: one("Deployment a is paused: resume it"),
        stuck: one("Deployment b"),
        rolling: one("Deployment c"),
        waiting: 4,
        restarted: one("Deployment d"),
        ..Restarts::default()
    };
    let (_, reason, message) =
        Case { pods, update: UpdateKind::RollingRestart, restarts, ..Case::default() }.up_to_date();
    assert_eq!(reason, "HeldBack");
    let said = "Deployment a is paused: resume it; Deployment b restarted, but the rollout does not end: \
                `kubectl rollout status`; being restarted for it: Deployment c; 4 workloads wait until others have \
                rolled; restarted for it: Deployment d";
    assert!(message.ends_with(said), "{message}");
    let restarts = Restarts { upgrading: Some("old-1 runs".to_owned()), ..Restarts::default() };
    let (_, reason, message) =
        Case { pods, update: UpdateKind::RollingRestart, restarts, ..Case::default() }.up_to_date();
    assert_eq!(reason, "UpgradeInProgress");
    assert!(message.ends_with("once the operator is upgraded (old-1 runs)"), "{message}");
}
