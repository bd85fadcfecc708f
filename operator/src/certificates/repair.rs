//! [`Repair`]: restores the webhook's configuration after an edit by hand, except `caBundle`, which the rotator writes.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{EventType, Recorder};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::configuration::{Edited, WEBHOOKS_ANNOTATION, edited, with_bundles};
use crate::brief;
use crate::events::send_event;

/// The shortest time between two repairs: somebody who reverts each of them must not keep the API server busy.
const PAUSE: Duration = Duration::from_secs(10);

/// Field manager of repairs. It owns no fields afterwards.
const MANAGER: &str = "framebuffer-operator-repair";

/// The result of a look at the configuration.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The configuration has its intended content.
    Good,
    /// It had not, and has been restored.
    Repaired,
    /// It has not, and was not restored.
    Wrong {
        /// The reason, in words.
        why: String,
        /// When to look again.
        again: Duration,
    },
}

/// Restores the configuration.
pub(super) struct Repair {
    webhooks: Api<MutatingWebhookConfiguration>,
    recorder: Recorder,
    last: Option<Instant>,
}

impl Repair {
    pub(super) fn new(webhooks: Api<MutatingWebhookConfiguration>, recorder: Recorder) -> Self {
        Self { webhooks, recorder, last: None }
    }

    /// Restores the configuration if it was edited. A failure is [`Found::Wrong`]: certificates are rotated regardless.
    pub(super) async fn look(&mut self, configuration: &MutatingWebhookConfiguration) -> Found {
        let title = format!("MutatingWebhookConfiguration {}", configuration.name_any());
        let (wanted, differences) = match edited(configuration) {
            None => return Found::Good,
            Some(Edited::Annotation) => {
                let why = format!(
                    "{title} lacks a readable annotation {WEBHOOKS_ANNOTATION}, without which edits cannot be \
                     detected; helm upgrade restores it"
                );
                return Found::Wrong { why, again: Duration::MAX };
            }
            Some(Edited::Webhooks { wanted, differences }) => (wanted, differences),
        };
        let pause = self.last.map_or(Duration::ZERO, |last| PAUSE.saturating_sub(last.elapsed()));
        if !pause.is_zero() {
            return Found::Wrong { why: format!("{title} was edited again: {differences}"), again: pause };
        }
        self.last = Some(Instant::now());
        let patch = json!({
            // Fails if the configuration has changed since.
            "metadata": {"resourceVersion": configuration.resource_version()},
            "webhooks": with_bundles(&wanted, configuration),
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.webhooks.patch(&configuration.name_any(), &params, &Patch::Merge(patch)).await.map_err(brief) {
            Ok(repaired) => {
                warn!(webhook = configuration.name_any(), differences, "restored the webhook's configuration");
                let note = format!("restored after an edit by hand: {differences}");
                let object = configuration.object_ref(&());
                send_event(&self.recorder, &object, EventType::Warning, "Repaired", "Repair", note).await;
                if let Err(error) = self.disown(&repaired).await {
                    info!(error = format!("{error:#}"), "the operator still owns the restored fields");
                }
                Found::Repaired
            }
            Err(error) => {
                let why = format!("{title} was edited ({differences}), and restoring it failed: {error:#}");
                warn!("{why}");
                Found::Wrong { why, again: PAUSE }
            }
        }
    }

    /// Gives up ownership of the restored fields: Helm refuses to change fields that another manager owns, which would
    /// block the next upgrade of the chart.
    async fn disown(&self, configuration: &MutatingWebhookConfiguration) -> anyhow::Result<()> {
        let mut managers = configuration.metadata.managed_fields.clone().unwrap_or_default();
        managers.retain(|entry| entry.manager.as_deref() != Some(MANAGER));
        let version = configuration.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version, "managedFields": managers}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.webhooks.patch(&configuration.name_any(), &params, &Patch::Merge(patch)).await;
        patched.map(drop).map_err(brief).context("failed to give up ownership of the restored fields")
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::events::Reporter;
    use serde_json::Value;

    use super::*;
    use crate::testing::FakeApi;

    fn webhooks(policy: &str) -> Value {
        let service = json!({"name": "operator", "namespace": "ns"});
        json!([{
            "name": "inject.framebuffer.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": service},
            "failurePolicy": policy,
            "sideEffects": "None",
        }])
    }

    fn configuration(policy: &str) -> MutatingWebhookConfiguration {
        let manager = |name: &str| json!({"manager": name, "operation": "Update"});
        serde_json::from_value(json!({
            "metadata": {
                "name": "operator",
                "resourceVersion": "7",
                "annotations": {WEBHOOKS_ANNOTATION: webhooks("Fail").to_string()},
                "managedFields": [manager("helm"), manager(MANAGER)],
            },
            "webhooks": webhooks(policy),
        }))
        .unwrap()
    }

    /// An API server that refuses patches, or answers with what is right.
    fn repair(refuses: bool) -> (FakeApi, Repair) {
        let api = FakeApi::default();
        let client = api.client(move |(method, _, body)| match method.as_str() {
            "PATCH" if refuses => Some(json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no"})),
            "PATCH" => Some(json!(configuration("Fail"))),
            _ => Some(body.clone()),
        });
        let recorder = Recorder::new(client.clone(), Reporter { controller: "me".to_owned(), instance: None });
        (api, Repair::new(Api::all(client), recorder))
    }

    #[tokio::test]
    async fn a_good_configuration_is_left_alone() {
        let (api, mut repair) = repair(false);
        assert_eq!(repair.look(&configuration("Fail")).await, Found::Good);
        assert_eq!(api.paths(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_edited_one_is_restored_reported_and_given_up() {
        let (api, mut repair) = repair(false);
        assert_eq!(repair.look(&configuration("Ignore")).await, Found::Repaired);
        let asked = api.asked();
        let [(_, _, back), (_, _, event), (_, _, given_up)] = &asked[..] else { panic!("{asked:#?}") };
        assert_eq!(back["webhooks"], webhooks("Fail"));
        assert_eq!(back["metadata"]["resourceVersion"], "7", "an edit in between is not overwritten");
        assert_eq!(event["note"], "restored after an edit by hand: failurePolicy was edited");
        assert_eq!(given_up["metadata"]["managedFields"], json!([{"manager": "helm", "operation": "Update"}]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_edited_again_and_again_is_restored_now_and_then() {
        let (api, mut repair) = repair(false);
        repair.look(&configuration("Ignore")).await;
        let asked = api.asked().len();
        let Found::Wrong { why, again } = repair.look(&configuration("Ignore")).await else { panic!("no pause") };
        assert!(why.contains("edited again: failurePolicy") && again <= PAUSE, "{why} {again:?}");
        assert_eq!(api.asked().len(), asked);
        tokio::time::advance(PAUSE).await;
        assert_eq!(repair.look(&configuration("Ignore")).await, Found::Repaired);
    }

    #[tokio::test]
    async fn a_repair_that_is_refused_says_why() {
        let (_api, mut repair) = repair(true);
        let Found::Wrong { why, .. } = repair.look(&configuration("Ignore")).await else { panic!("it was refused") };
        assert!(why.contains("failurePolicy") && why.contains("failed: no"), "{why}");
    }
}
