//! [`build`]: the status of a `FrameBuffer`. Pure: the clock is an argument. [`mod@write`]: sends it to the API server.

pub(super) mod write;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;
use serde_json::Value;

use super::restart::Restarts;
use crate::api::status::{Injection, PodCounts, READY, UP_TO_DATE};
use crate::api::{FrameBuffer, FrameBufferStatus, PullSecret, UpdateKind};
use crate::render::{Content, Rendering};
use crate::validate::Invalid;

/// Owners that a message names; the rest are counted.
const NAMED: usize = 5;

/// What a status is built from.
pub(super) struct Found<'a> {
    /// The content of an injection, or why there is none.
    pub(super) rendering: Result<&'a Rendering, &'a Invalid>,
    pub(super) update: UpdateKind,
    pub(super) pods: PodCounts,
    /// Why pods don't get it although it is rendered: reason and message.
    pub(super) not_ready: Option<(&'static str, String)>,
    pub(super) restarts: &'a Restarts,
}

/// Builds the status. Times stay those of the status before as long as what they date has not changed.
pub(super) fn build(framebuffer: &FrameBuffer, found: &Found<'_>, now: Timestamp) -> FrameBufferStatus {
    let before = framebuffer.status.clone().unwrap_or_default();
    let generation = framebuffer.metadata.generation;
    let conditions = [(READY, ready(found)), (UP_TO_DATE, up_to_date(found))];
    FrameBufferStatus {
        observed_generation: generation,
        conditions: conditions.map(|(kind, verdict)| condition(kind, verdict, &before, generation, now)).into(),
        pods: Some(found.pods),
        injection: found.rendering.ok().map(|rendering| injection(rendering, before.injection.as_ref(), now)),
    }
}

struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn ready(found: &Found<'_>) -> Verdict {
    match (found.rendering, &found.not_ready) {
        (Err(invalid), _) => Verdict { status: "False", reason: "InvalidSpec", message: invalid.to_string() },
        (Ok(_), Some((reason, message))) => Verdict { status: "False", reason, message: message.clone() },
        (Ok(_), None) => {
            let message = "labelled pods that are created now get the ring".to_owned();
            Verdict { status: "True", reason: "Injecting", message }
        }
    }
}

fn up_to_date(found: &Found<'_>) -> Verdict {
    let PodCounts { matched, ready: _, outdated } = found.pods;
    if found.rendering.is_err() {
        let message = "pods cannot be compared with an invalid spec".to_owned();
        return Verdict { status: "Unknown", reason: "InvalidSpec", message };
    }
    if outdated == 0 {
        let message = "every labelled pod has the current injection".to_owned();
        return Verdict { status: "True", reason: "UpToDate", message };
    }
    let some = format!("{outdated} of {matched} pods have an older injection than the current one");
    let Restarts { restarted, unsupported, failed, settling, off } = found.restarts;
    let (reason, what) = match found.update {
        UpdateKind::OnDelete => ("WaitingForDelete", "they get it when they are replaced".to_owned()),
        UpdateKind::RollingRestart if *off => {
            ("RestartsOff", "the operator is set to restart nothing; they get it when they are replaced".to_owned())
        }
        UpdateKind::RollingRestart if *settling => ("Settling", "they are restarted in a moment".to_owned()),
        UpdateKind::RollingRestart if !failed.is_empty() => {
            ("RestartFailed", format!("failed to restart {}, which is tried again each minute", named(failed)))
        }
        UpdateKind::RollingRestart if !unsupported.is_empty() => {
            ("CannotRestart", format!("the operator cannot restart {}; replace their pods", named(unsupported)))
        }
        UpdateKind::RollingRestart if restarted.is_empty() => {
            ("NotRestarted", "they were created after the change and are not restarted for it".to_owned())
        }
        UpdateKind::RollingRestart => ("Restarted", format!("restarted for it: {}", named(restarted))),
    };
    Verdict { status: "False", reason, message: format!("{some}; {what}") }
}

fn named(owners: &[String]) -> String {
    let names = owners.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match owners.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

fn condition(
    kind: &str,
    Verdict { status, reason, message }: Verdict,
    before: &FrameBufferStatus,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let same = before.conditions.iter().find(|condition| condition.type_ == kind && condition.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: same.map_or_else(|| seconds(now), |same| same.last_transition_time.clone()),
        observed_generation,
    }
}

/// Truncated to seconds, as the API server stores times.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn injection(rendering: &Rendering, before: Option<&Injection>, now: Timestamp) -> Injection {
    let Rendering { hash, content } = rendering;
    let Content { containers, sidecar, volume, volume_mount, env, image_pull_secrets } = content;
    let same = before.filter(|before| before.hash == *hash);
    Injection {
        hash: hash.clone(),
        rendered_at: same.map_or_else(|| seconds(now), |same| same.rendered_at.clone()),
        containers: containers.clone(),
        sidecar: json(sidecar),
        volume: json(volume),
        volume_mount: json(volume_mount),
        env: env.iter().map(json).collect(),
        image_pull_secrets: image_pull_secrets.iter().map(|secret| PullSecret { name: secret.name.clone() }).collect(),
    }
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types have string keys only")
}

#[cfg(test)]
mod tests;
