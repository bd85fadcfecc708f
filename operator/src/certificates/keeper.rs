//! [`Keeper`]: the leader's part. It looks at the Secret and at the webhook's configuration, has that repaired, does the one
//! step that [`super::plan`] asks for, and looks again: when either changes (by its own hand or another's), or when the next
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
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::configuration::{all_bundles, bundles};
use super::issue;
use super::material::Material;
use super::plan::{Plan, Policy, plan};
use super::repair::{Found, Repair};
use super::serving::Serving;
use crate::brief;
use crate::carrier::Readiness;

/// Between telling the API servers of a CA and serving with it, when there is no time for [`Policy::publish`].
const PROPAGATION: Duration = Duration::from_secs(2);

/// After a step that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Until files are looked at again that the API server does not trust.
const FILES: Duration = Duration::from_secs(10);

/// No timer is longer: a clock that is set is noticed.
const LONGEST: Duration = Duration::from_hours(1);

/// Names of what the keeper keeps.
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
    /// DNS names by which the webhook may be reached; the API server uses the first.
    pub fn dns(&self) -> Vec<String> {
        let Self { namespace, service, .. } = self;
        ["svc", "svc.cluster.local"].iter().map(|suffix| format!("{service}.{namespace}.{suffix}")).collect()
    }
}

/// The leader's part.
pub struct Keeper {
    names: Names,
    /// `None` if cert-manager keeps the certificates: then the keeper only looks.
    policy: Option<Policy>,
    secrets: Api<Secret>,
    webhooks: Api<MutatingWebhookConfiguration>,
    repair: Repair,
    serving: Arc<Serving>,
    readiness: watch::Sender<Option<Readiness>>,
}

impl Keeper {
    /// Reports on `readiness`, and of repairs in events by `recorder`. `serving` is what this replica serves with.
    pub fn new(
        client: &Client,
        names: Names,
        policy: Option<Policy>,
        serving: Arc<Serving>,
        recorder: Recorder,
        readiness: watch::Sender<Option<Readiness>>,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &names.namespace);
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let repair = Repair::new(webhooks.clone(), recorder);
        Self { names, policy, secrets, webhooks, repair, serving, readiness }
    }

    /// Keeps them until it is dropped.
    pub async fn run(mut self) {
        let mut changes = std::pin::pin!(self.changes());
        let mut wait = Duration::ZERO;
        // The watches only say that it is time to look: what they deliver may be older than our own last write.
        while let Ok(Some(())) | Err(_) = timeout(wait, changes.next()).await {
            wait = match self.look().await {
                Ok(wait) => wait.min(LONGEST),
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, "failed to keep the certificates");
                    // One failure takes nothing back that is known.
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
        let secrets = if self.policy.is_some() { secrets.left_stream() } else { stream::pending().right_stream() };
        stream::select(webhooks, secrets)
    }

    async fn look(&mut self) -> anyhow::Result<Duration> {
        let Names { webhook, secret, .. } = &self.names;
        let failed = |name: &str| format!("failed to look at {name}");
        let webhook = self.webhooks.get_opt(webhook).await.map_err(brief).with_context(|| failed(webhook))?;
        let secret = match self.policy {
            Some(_) => self.secrets.get_opt(secret).await.map_err(brief).with_context(|| failed(secret))?,
            None => None,
        };
        let Some(webhook) = webhook else {
            let missing = format!(
                "MutatingWebhookConfiguration {} does not exist: labelled pods are refused until helm upgrade puts it back",
                self.names.webhook
            );
            self.report(Readiness::WebhookNotReady(missing));
            return Ok(LONGEST);
        };
        let (wrong, again) = match self.repair.look(&webhook).await {
            // Our own write wakes us.
            Found::Repaired => return Ok(LONGEST),
            Found::Good => (None, LONGEST),
            Found::Wrong { why, again } => (Some(why), again),
        };
        let now = Timestamp::now();
        let next = match &self.policy {
            Some(policy) => self.step(secret.as_ref(), &webhook, policy, wrong, now).await?,
            None => self.look_on(&webhook, wrong),
        };
        Ok(next.min(again))
    }

    /// One step; how long until the next, if nothing changes. `wrong` is what is wrong with the configuration otherwise.
    async fn step(
        &self,
        secret: Option<&Secret>,
        webhook: &MutatingWebhookConfiguration,
        policy: &Policy,
        wrong: Option<String>,
        now: Timestamp,
    ) -> anyhow::Result<Duration> {
        let material = secret.and_then(|secret| Material::read(secret.data.as_ref()).ok());
        let facts = material.as_ref().and_then(|material| material.facts().ok());
        let published = material.as_ref().is_some_and(|material| all_bundles(webhook, |bundle| bundle == material.cas));
        let dns = self.names.dns();
        let plan = plan(facts.as_ref(), &dns, published, policy, now);
        let Some(material) = material.filter(|_| plan != Plan::Create) else {
            self.create(secret, webhook, policy, now).await?;
            return Ok(LONGEST);
        };
        if !published && let Err(error) = self.publish(webhook, &material.cas).await {
            self.report(Readiness::WebhookNotReady(wrong.unwrap_or_else(|| format!("{error:#}"))));
            return Err(error);
        }
        self.report(wrong.map_or(Readiness::Ready, Readiness::WebhookNotReady));
        let next = match plan {
            Plan::Keep { until } => return Ok(until.duration_since(now).max(SignedDuration::ZERO).unsigned_abs()),
            Plan::AddCa => issue::add_ca(&material, policy, now)?,
            Plan::Issue => issue::issue(&material, &dns, policy, now)?,
            Plan::Prune => issue::prune(&material)?,
            Plan::Create => return Ok(Duration::ZERO),
        };
        info!(?plan, "renewing certificates");
        self.write(secret, &next).await?;
        Ok(LONGEST)
    }

    /// With cert-manager: its injector fills the configuration in, and the kubelet brings the certificate.
    fn look_on(&self, webhook: &MutatingWebhookConfiguration, wrong: Option<String>) -> Duration {
        let name = webhook.name_any();
        let wrong = wrong.or_else(|| {
            if !all_bundles(webhook, |bundle| !bundle.is_empty()) {
                return Some(format!("cert-manager has not yet put a CA into MutatingWebhookConfiguration {name}"));
            }
            let service = self.names.dns().remove(0);
            let trusted = all_bundles(webhook, |bundle| self.serving.is_trusted(bundle, &service));
            let what = format!("what is served as {service} is no certificate of the CA in");
            (!trusted).then(|| format!("{what} MutatingWebhookConfiguration {name}"))
        });
        let next = if wrong.is_some() { FILES } else { LONGEST };
        self.report(wrong.map_or(Readiness::Ready, Readiness::WebhookNotReady));
        next
    }

    /// From nothing. The API server is told first: replicas may still serve with certificates of a CA that it trusts, and
    /// will serve with new ones as soon as the Secret is there.
    async fn create(
        &self,
        secret: Option<&Secret>,
        webhook: &MutatingWebhookConfiguration,
        policy: &Policy,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let trusted = bundles(webhook).next().unwrap_or_default();
        let material = issue::create(&trusted, &self.names.dns(), policy, now)?;
        info!("making certificates: there are none that can be used");
        self.publish(webhook, &material.cas).await?;
        if !trusted.is_empty() {
            sleep(PROPAGATION).await;
        }
        self.write(secret, &material).await
    }

    /// Replaces exactly what was seen: a write in between fails, and its event brings us back here.
    async fn write(&self, secret: Option<&Secret>, material: &Material) -> anyhow::Result<()> {
        let metadata = ObjectMeta {
            name: Some(self.names.secret.clone()),
            namespace: Some(self.names.namespace.clone()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), "framebuffer-operator".to_owned())].into()),
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

    async fn publish(&self, webhook: &MutatingWebhookConfiguration, cas: &str) -> anyhow::Result<()> {
        let bundle = ByteString(cas.as_bytes().to_vec());
        if webhook.webhooks.as_ref().is_none_or(Vec::is_empty) {
            // Somebody has removed them. When they are put back, we come back here.
            return Ok(());
        }
        let webhooks: Vec<_> = webhook.webhooks.iter().flatten().map(|webhook| &webhook.name).collect();
        let webhooks: Vec<_> =
            webhooks.iter().map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}})).collect();
        let params = PatchParams { field_manager: Some(crate::MANAGER.to_owned()), ..PatchParams::default() };
        // Of what was seen, or not at all: a leader that was stopped for long must not put an old CA back.
        let metadata = json!({"resourceVersion": webhook.resource_version()});
        let patch = Patch::Strategic(json!({"metadata": metadata, "webhooks": webhooks}));
        let name = webhook.name_any();
        info!(webhook = name, "giving the API server the CA");
        let patched = self.webhooks.patch(&name, &params, &patch).await.map_err(brief);
        patched.with_context(|| format!("failed to give {name} the CA"))?;
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

/// Something for each change of an object. Errors are tried again, ever more slowly.
fn changes_of<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let fields = format!("metadata.name={name}");
    let events = watcher(api, watcher::Config::default().fields(&fields)).default_backoff();
    let events = events.inspect_err(|error| warn!(error = error as &dyn std::error::Error, "failed to watch"));
    let changes = |event| matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)).then_some(());
    events.filter_map(move |event| std::future::ready(changes(event)))
}
