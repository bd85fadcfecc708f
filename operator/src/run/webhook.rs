//! [`WebhookRole`]: a replica while the webhook injects. It serves the webhook with the current certificate, and the
//! leader rotates certificates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::runtime::events::Recorder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use crate::certificates::configuration::all_bundles;
use crate::certificates::plan::Lifetimes;
use crate::certificates::rotator::{CertificateRotator, Names};
use crate::certificates::serving::Serving;
use crate::cli::RunArgs;
use crate::injector::Readiness;
use crate::serve::{self, bounds, listen};
use crate::webhook::{Admission, lookup::Lookup, router};

/// Period of checks whether the API server trusts the certificate, until it does.
const TRUST_PERIOD: Duration = Duration::from_millis(500);

pub(super) struct WebhookRole {
    shared: Arc<Shared>,
    /// Until it is served.
    listener: Mutex<Option<TcpListener>>,
    serving: Arc<Serving>,
    /// Set once the API server trusts the certificate.
    trusted: AtomicBool,
}

impl WebhookRole {
    pub(super) fn new(shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let listener = listen(shared.args.listen)?;
        info!(listen = %shared.args.listen, "listening");
        let listener = Mutex::new(Some(listener));
        Ok(Self { shared: Arc::clone(shared), listener, serving: Arc::default(), trusted: AtomicBool::default() })
    }

    /// The work of every replica.
    pub(super) async fn work(&self, closing: &CancellationToken) -> anyhow::Result<()> {
        let Shared { args, client, metrics, store, stopping, .. } = &*self.shared;
        let admission = Arc::new(Admission {
            framebuffers: Lookup::new(store.clone(), client.clone()),
            settings: args.sidecar.settings(),
            metrics: Arc::clone(metrics),
        });
        let listener = self.listener.lock().expect("nobody panics with this lock").take();
        let listener = listener.context("the webhook is served already")?;
        let tls = serve::tls(Arc::clone(&self.serving) as _)?;
        let router = serve::close_when_stopping(router(admission), stopping.clone());
        let served = tokio::spawn(serve::serve(listener, Some(tls), router, bounds::WEBHOOK, closing.clone()));
        let background = async { tokio::join!(self.follow_certificates(), self.be_trusted()) };
        let (served, _) = tokio::join!(served, closing.run_until_cancelled(background));
        served.context("the webhook ended")
    }

    pub(super) fn ready(&self) -> Result<(), &'static str> {
        if !self.serving.is_loaded() {
            return Err("there is no certificate yet");
        }
        let trusted = self.trusted.load(Ordering::Relaxed);
        if trusted { Ok(()) } else { Err("the webhook's configuration does not trust the certificate yet") }
    }

    /// The work of the leader.
    pub(super) async fn lead(&self, recorder: Recorder, report: watch::Sender<Option<Readiness>>) {
        let RunArgs { ca_seconds, certificate_seconds, cert_manager, .. } = &self.shared.args;
        let seconds = SignedDuration::from_secs;
        let lifetimes = (!cert_manager).then(|| Lifetimes::new(seconds(*ca_seconds), seconds(*certificate_seconds)));
        let serving = Arc::clone(&self.serving);
        CertificateRotator::new(&self.shared.client, self.names(), lifetimes, serving, recorder, report).run().await;
    }

    async fn follow_certificates(&self) {
        let Shared { args, client, metrics, .. } = &*self.shared;
        if let Some(folder) = args.tls_dir.clone().filter(|_| args.cert_manager) {
            self.serving.follow_files(folder, metrics).await;
        } else {
            let secrets = Api::namespaced(client.clone(), &args.namespace);
            self.serving.follow_secret(secrets, &args.secret_name, metrics).await;
        }
    }

    /// Waits until the API server trusts the certificate: the leader may still have to write the CA bundle. Not checked
    /// again afterwards: a replica that removed itself from the Service could only make things worse.
    async fn be_trusted(&self) {
        let webhooks = Api::<MutatingWebhookConfiguration>::all(self.shared.client.clone());
        let service = self.names().dns().remove(0);
        loop {
            match webhooks.get_opt(&self.shared.args.webhook_name).await {
                Ok(Some(found)) if all_bundles(&found, |bundle| self.serving.is_trusted(bundle, &service)) => break,
                Ok(_) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "failed to read the webhook's configuration");
                }
            }
            tokio::time::sleep(TRUST_PERIOD).await;
        }
        self.trusted.store(true, Ordering::Relaxed);
        info!("trusted by the API server");
    }

    fn names(&self) -> Names {
        let RunArgs { namespace, service_name, secret_name, webhook_name, .. } = &self.shared.args;
        Names {
            namespace: namespace.clone(),
            service: service_name.clone(),
            secret: secret_name.clone(),
            webhook: webhook_name.clone(),
        }
    }
}
