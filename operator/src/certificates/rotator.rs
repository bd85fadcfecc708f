//! [`CertificateRotator`]: run by the leader. It reads the Secret and the webhook's configuration, repairs the
//! configuration, takes the step that [`super::plan`] returns, and starts over when either object changes or the next
//! step is due.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::events::Recorder;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::configuration::{all_bundles, bundles};
use super::issue;
use super::material::Material;
use super::plan::{Lifetimes, Plan, plan};
use super::repair::{Found, Repair};
use super::serving::Serving;
use crate::brief;
use crate::client::watching;
use crate::injector::Readiness;

/// Delay between writing a CA bundle and serving with its CA, when there is no time for [`Lifetimes::propagation`].
const SHORT_PROPAGATION: Duration = Duration::from_secs(2);

/// Delay after a step that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Delay until cert-manager's files are checked again, while the API server does not trust them.
const FILES: Duration = Duration::from_secs(10);

/// The longest wait, so that a change of the clock is noticed.
const LONGEST: Duration = Duration::from_hours(1);

/// Names of the objects that the rotator works on.
#[derive(Debug, Clone)]
pub struct Names {
    /// The operator's namespace.
    pub namespace: String,
    /// The webhook's Service.
    pub service: String,
    /// The Secret.
    pub secret: String,
    /// The `MutatingWebhookConfiguration`.
    pub webhook: String,
}

impl Names {
    /// DNS names of the webhook; the API server uses the first.
    pub fn dns(&self) -> Vec<String> {
        let Self { namespace, service, .. } = self;
        ["svc", "svc.cluster.local"].iter().map(|suffix| format!("{service}.{namespace}.{suffix}")).collect()
    }
}

/// Rotates the certificates and repairs the webhook's configuration.
pub struct CertificateRotator {
    names: Names,
    /// `None` if cert-manager issues the certificates: then the rotator only checks them.
    lifetimes: Option<Lifetimes>,
    secrets: Api<Secret>,
    webhooks: Api<MutatingWebhookConfiguration>,
    repair: Repair,
    serving: Arc<Serving>,
    readiness: watch::Sender<Option<Readiness>>,
}

impl CertificateRotator {
    /// Reports on `readiness`, and sends events about repairs by `recorder`. `serving` is this replica's certificate.
    pub fn new(
        client: &Client,
        names: Names,
        lifetimes: Option<Lifetimes>,
        serving: Arc<Serving>,
        recorder: Recorder,
        readiness: watch::Sender<Option<Readiness>>,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &names.namespace);
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let repair = Repair::new(webhooks.clone(), recorder);
        Self { names, lifetimes, secrets, webhooks, repair, serving, readiness }
    }

    /// Runs until the future is dropped.
    pub async fn run(mut self) {
        let mut changes = std::pin::pin!(self.changes());
        let mut wait = Duration::ZERO;
        // The watches are only a trigger: the objects that they deliver may be older than our own last write.
        while let Ok(Some(())) | Err(_) = timeout(wait, changes.next()).await {
            wait = match self.check().await {
                Ok(wait) => wait.min(LONGEST),
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, "failed to rotate the certificates");
                    // One failure does not change the readiness known so far.
                    if self.readiness.borrow().is_none() {
                        self.report(Readiness::WebhookNotReady(error));
                    }
                    RETRY
                }
            };
        }
    }

    fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let webhooks = changes_of(self.webhooks.clone(), &self.names.webhook);
        let secrets = changes_of(self.secrets.clone(), &self.names.secret);
        let secrets = if self.lifetimes.is_some() { secrets.left_stream() } else { stream::pending().right_stream() };
        stream::select(webhooks, secrets)
    }

    async fn check(&mut self) -> anyhow::Result<Duration> {
        let Names { webhook, secret, .. } = &self.names;
        let failed = |name: &str| format!("failed to read {name}");
        let webhook = self.webhooks.get_opt(webhook).await.map_err(brief).with_context(|| failed(webhook))?;
        let secret = match self.lifetimes {
            Some(_) => self.secrets.get_opt(secret).await.map_err(brief).with_context(|| failed(secret))?,
            None => None,
        };
        let Some(webhook) = webhook else {
            let missing = format!(
                "MutatingWebhookConfiguration {} does not exist: labelled pods are refused until helm upgrade \
                 restores it",
                self.names.webhook
            );
            self.report(Readiness::WebhookNotReady(missing));
            return Ok(LONGEST);
        };
        let (wrong, again) = match self.repair.look(&webhook).await {
            // Our own write triggers the next check.
            Found::Repaired => return Ok(LONGEST),
            Found::Good => (None, LONGEST),
            Found::Wrong { why, again } => (Some(why), again),
        };
        let now = Timestamp::now();
        let next = match &self.lifetimes {
            Some(lifetimes) => self.step(secret.as_ref(), &webhook, lifetimes, wrong, now).await?,
            None => self.check_cert_manager(&webhook, wrong),
        };
        Ok(next.min(again))
    }

    /// Takes one step; returns how long to wait for the next if nothing changes. `wrong` says what else is wrong with
    /// the configuration.
    async fn step(
        &self,
        secret: Option<&Secret>,
        webhook: &MutatingWebhookConfiguration,
        lifetimes: &Lifetimes,
        wrong: Option<String>,
        now: Timestamp,
    ) -> anyhow::Result<Duration> {
        let material = secret.and_then(|secret| Material::read(secret.data.as_ref()).ok());
        let facts = material.as_ref().and_then(|material| material.facts().ok());
        let trusted = material.as_ref().is_some_and(|material| all_bundles(webhook, |bundle| bundle == material.cas));
        let dns = self.names.dns();
        let plan = plan(facts.as_ref(), &dns, trusted, lifetimes, now);
        let Some(material) = material.filter(|_| plan != Plan::Create) else {
            self.create(secret, webhook, lifetimes, now).await?;
            return Ok(LONGEST);
        };
        if !trusted && let Err(error) = self.write_ca_bundle(webhook, &material.cas).await {
            self.report(Readiness::WebhookNotReady(wrong.unwrap_or_else(|| format!("{error:#}"))));
            return Err(error);
        }
        self.report(wrong.map_or(Readiness::Ready, Readiness::WebhookNotReady));
        let next = match plan {
            Plan::Wait { until } => return Ok(until.duration_since(now).max(SignedDuration::ZERO).unsigned_abs()),
            Plan::AddCa => issue::add_ca(&material, lifetimes, now)?,
            Plan::Issue => issue::issue(&material, &dns, lifetimes, now)?,
            Plan::Prune => issue::prune(&material)?,
            Plan::Create => return Ok(Duration::ZERO),
        };
        info!(?plan, "renewing certificates");
        self.write_secret(secret, &next).await?;
        Ok(LONGEST)
    }

    /// Checks the certificates of cert-manager: its cainjector writes the CA bundle, and the kubelet mounts the Secret.
    fn check_cert_manager(&self, webhook: &MutatingWebhookConfiguration, wrong: Option<String>) -> Duration {
        let name = webhook.name_any();
        let wrong = wrong.or_else(|| {
            if !all_bundles(webhook, |bundle| !bundle.is_empty()) {
                return Some(format!("cert-manager has not yet put a CA into MutatingWebhookConfiguration {name}"));
            }
            let service = self.names.dns().remove(0);
            let trusted = all_bundles(webhook, |bundle| self.serving.is_trusted(bundle, &service));
            let what = format!("the certificate served as {service} is no certificate of the CA in");
            (!trusted).then(|| format!("{what} MutatingWebhookConfiguration {name}"))
        });
        let next = if wrong.is_some() { FILES } else { LONGEST };
        self.report(wrong.map_or(Readiness::Ready, Readiness::WebhookNotReady));
        next
    }

    /// Makes new certificates. The CA bundle is written first: replicas may still serve with certificates of a CA in
    /// it, and serve with the new one as soon as the Secret is there.
    async fn create(
        &self,
        secret: Option<&Secret>,
        webhook: &MutatingWebhookConfiguration,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let trusted = bundles(webhook).next().unwrap_or_default();
        let material = issue::create(&trusted, &self.names.dns(), lifetimes, now)?;
        info!("making certificates: there are no usable ones");
        self.write_ca_bundle(webhook, &material.cas).await?;
        if !trusted.is_empty() {
            sleep(SHORT_PROPAGATION).await;
        }
        self.write_secret(secret, &material).await
    }

    /// Replaces exactly the version that was read: after a write in between this fails, and the event of that write
    /// triggers the next check.
    async fn write_secret(&self, secret: Option<&Secret>, material: &Material) -> anyhow::Result<()> {
        let metadata = ObjectMeta {
            name: Some(self.names.secret.clone()),
            namespace: Some(self.names.namespace.clone()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), crate::MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let data = Some(material.data());
        let params = PostParams::default();
        let written = match secret {
            Some(secret) => {
                let next = Secret { data, ..secret.clone() };
                self.secrets.replace(&self.names.secret, &params, &next).await
            }
            None => self.secrets.create(&params, &Secret { metadata, data, ..Secret::default() }).await,
        };
        written.map(drop).map_err(brief).with_context(|| format!("failed to write Secret {}", self.names.secret))
    }

    async fn write_ca_bundle(&self, webhook: &MutatingWebhookConfiguration, cas: &str) -> anyhow::Result<()> {
        let bundle = ByteString(cas.as_bytes().to_vec());
        if webhook.webhooks.as_ref().is_none_or(Vec::is_empty) {
            // Removed by somebody. Restoring them triggers the next check.
            return Ok(());
        }
        let webhooks: Vec<_> = webhook.webhooks.iter().flatten().map(|webhook| &webhook.name).collect();
        let webhooks: Vec<_> =
            webhooks.iter().map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}})).collect();
        let params = PatchParams { field_manager: Some(crate::MANAGER.to_owned()), ..PatchParams::default() };
        // Fails if the configuration has changed: a leader that hung for long must not write an old CA.
        let metadata = json!({"resourceVersion": webhook.resource_version()});
        let patch = Patch::Strategic(json!({"metadata": metadata, "webhooks": webhooks}));
        let name = webhook.name_any();
        info!(webhook = name, "writing the CA bundle");
        let patched = self.webhooks.patch(&name, &params, &patch).await.map_err(brief);
        patched.with_context(|| format!("failed to write the CA bundle of {name}"))?;
        Ok(())
    }

    fn report(&self, readiness: Readiness) {
        let readiness = Some(readiness);
        self.readiness.send_if_modified(|current| {
            let changed = *current != readiness;
            *current = readiness;
            changed
        });
    }
}

/// An item for each change of an object. Errors are retried with backoff.
fn changes_of<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let fields = format!("metadata.name={name}");
    let events = watcher(api, watching().fields(&fields)).default_backoff();
    let events = events.inspect_err(|error| warn!(error = error as &dyn std::error::Error, "failed to watch"));
    let changes = |event| matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)).then_some(());
    events.filter_map(move |event| std::future::ready(changes(event)))
}
