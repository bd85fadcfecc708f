//! `run`: puts the parts together, and takes them apart in order at the end.
//!
//! Every replica: the reflector of `FrameBuffer`s, the certificate, the webhook, the admin port. The leader: the keeper of
//! certificates and the controller.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::FrameBuffer;
use crate::certificates::configuration::all_bundles;
use crate::certificates::keeper::{Keeper, Names};
use crate::certificates::plan::Policy;
use crate::certificates::serving::Serving;
use crate::cli::{LogFormat, RunArgs};
use crate::leader::{Election, Timing};
use crate::metrics::Metrics;
use crate::signals::Signals;
use crate::webhook::{self, Admission, lookup::Lookup};
use crate::{admin, controller};

/// Between two looks whether the API server trusts us, until it does.
const TRUST_PERIOD: Duration = Duration::from_millis(500);

/// Threads for requests. Two keep up with any API server; more would cost memory.
const WORKERS: usize = 2;

/// Runs the operator until a signal; the exit code is success after an orderly end.
pub fn main(args: RunArgs) -> ExitCode {
    log_to_stderr(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let ran = runtime.context("failed to start the runtime").and_then(|runtime| runtime.block_on(run(args)));
    ran.unwrap_or_else(|error| {
        error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn log_to_stderr(args: &RunArgs) {
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,framebuffer_operator={}", args.log_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// What every replica has.
struct Replica {
    args: RunArgs,
    client: Client,
    metrics: Arc<Metrics>,
    serving: Arc<Serving>,
    /// Set once the API server trusts what is served.
    trusted: AtomicBool,
    store: Store<FrameBuffer>,
    /// The first signal: be unready, work no more as leader.
    stopping: CancellationToken,
    /// A little later: take no more connections.
    closing: CancellationToken,
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let client = Client::try_default().await.context("failed to find the API server")?;
    let webhook = bind(args.listen).await?;
    let admin = bind(args.admin).await?;
    let (store, writer) = reflector::store();
    let replica = Arc::new(Replica {
        args,
        client,
        metrics: Arc::default(),
        serving: Arc::default(),
        trusted: AtomicBool::default(),
        store,
        stopping: CancellationToken::new(),
        closing: CancellationToken::new(),
    });
    info!(version = env!("CARGO_PKG_VERSION"), listen = %replica.args.listen, "starting");
    let mut work = std::pin::pin!(replica.work(webhook, admin, writer));
    tokio::select! {
        ended = &mut work => return ended.map(|()| ExitCode::FAILURE),
        _ = signals.next() => info!("stopping; a second signal ends the process at once"),
    }
    replica.stopping.cancel();
    let drain = async {
        tokio::time::sleep(Duration::from_secs(replica.args.drain_seconds)).await;
        replica.closing.cancel();
    };
    tokio::select! {
        (ended, ()) = async { tokio::join!(&mut work, drain) } => ended.map(|()| ExitCode::SUCCESS),
        code = signals.next() => Ok(code),
    }
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
}

impl Replica {
    /// Ends once `closing` is cancelled and everything under way is done.
    async fn work(
        self: &Arc<Self>,
        webhook: TcpListener,
        admin: TcpListener,
        writer: Writer<FrameBuffer>,
    ) -> anyhow::Result<()> {
        let admission = Arc::new(Admission {
            framebuffers: Lookup::new(self.store.clone(), self.client.clone()),
            settings: self.args.sidecar.settings(),
            metrics: Arc::clone(&self.metrics),
        });
        let tls = webhook::serve::tls(Arc::clone(&self.serving) as _)?;
        let router = webhook::serve::part(webhook::router(admission), self.stopping.clone());
        let serving = tokio::spawn(webhook::serve::serve(webhook, tls, router, self.closing.clone()));
        let admin = axum::serve(admin, admin::router(self.readiness(), Arc::clone(&self.metrics)));
        let admin = admin.with_graceful_shutdown(self.closing.clone().cancelled_owned());
        let background =
            async { tokio::join!(self.follow_certificates(), self.be_trusted(), self.follow_framebuffers(writer)) };
        let background = self.closing.run_until_cancelled(background);
        let (served, administered, (), _) = tokio::join!(serving, admin.into_future(), self.lead(), background);
        served.context("the webhook ended")?;
        administered.context("the admin port ended")
    }

    fn readiness(self: &Arc<Self>) -> admin::Ready {
        let replica = Arc::clone(self);
        Arc::new(move || {
            let synced = futures::FutureExt::now_or_never(replica.store.wait_until_ready());
            if replica.stopping.is_cancelled() {
                return Err("stopping");
            }
            if !replica.serving.is_loaded() {
                return Err("there is no certificate yet");
            }
            if !replica.trusted.load(Ordering::Relaxed) {
                return Err("the webhook's configuration does not trust the certificate yet");
            }
            if synced.is_some_and(|synced| synced.is_ok()) { Ok(()) } else { Err("FrameBuffers are not known yet") }
        })
    }

    async fn follow_certificates(&self) {
        if let Some(folder) = self.args.tls_dir.clone().filter(|_| self.args.cert_manager) {
            self.serving.follow_files(folder, &self.metrics).await;
        } else {
            let secrets = Api::namespaced(self.client.clone(), &self.args.namespace);
            self.serving.follow_secret(secrets, &self.args.secret_name, &self.metrics).await;
        }
    }

    /// Waits until the API server trusts what is served: the leader may still have to tell it. No longer looked at afterwards,
    /// when a replica that takes itself out of the Service could only make things worse.
    async fn be_trusted(&self) {
        let webhooks = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let service = self.names().dns().remove(0);
        loop {
            match webhooks.get_opt(&self.args.webhook_name).await {
                Ok(Some(found)) if all_bundles(&found, |bundle| self.serving.is_trusted(bundle, &service)) => break,
                Ok(_) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "failed to look at the webhook's configuration");
                }
            }
            tokio::time::sleep(TRUST_PERIOD).await;
        }
        self.trusted.store(true, Ordering::Relaxed);
        info!("trusted by the API server");
    }

    fn names(&self) -> Names {
        let RunArgs { namespace, service_name, secret_name, webhook_name, .. } = &self.args;
        Names {
            namespace: namespace.clone(),
            service: service_name.clone(),
            secret: secret_name.clone(),
            webhook: webhook_name.clone(),
        }
    }

    /// Keeps what the webhook needs of every `FrameBuffer`.
    async fn follow_framebuffers(&self, writer: Writer<FrameBuffer>) {
        let events = watcher(Api::<FrameBuffer>::all(self.client.clone()), watcher::Config::default())
            .default_backoff()
            .modify(|framebuffer| {
                framebuffer.status = None;
                framebuffer.managed_fields_mut().clear();
                framebuffer.annotations_mut().clear();
            })
            .reflect(writer)
            .inspect_err(|error| warn!(error = error as &dyn std::error::Error, "failed to watch FrameBuffers"));
        events.for_each(|_| std::future::ready(())).await;
    }

    async fn lead(&self) {
        let RunArgs { namespace, lease_name, identity, .. } = &self.args;
        let identity = identity.clone().unwrap_or_else(host_name);
        let election = Election::new(self.client.clone(), namespace, lease_name, &identity, Timing::default());
        election.run(self.stopping.clone(), || Box::pin(self.leader_work(&identity))).await;
    }

    async fn leader_work(&self, identity: &str) {
        let _leading = Leading::new(&self.metrics);
        let (report, readiness) = watch::channel(None);
        let seconds = SignedDuration::from_secs;
        let policy = Policy::new(seconds(self.args.ca_seconds), seconds(self.args.certificate_seconds));
        let policy = (!self.args.cert_manager).then_some(policy);
        let settings = self.args.sidecar.settings();
        let metrics = Arc::clone(&self.metrics);
        let mut context = controller::Context::new(self.client.clone(), settings, identity, readiness, metrics);
        context.may_restart = !self.args.no_rolling_restart;
        let (serving, recorder) = (Arc::clone(&self.serving), context.recorder.clone());
        let keeper = Keeper::new(&self.client, self.names(), policy, serving, recorder, report);
        tokio::join!(keeper.run(), controller::run(context));
    }
}

/// Shows in the metrics who leads, for as long as it is held.
struct Leading<'a>(&'a Metrics);

impl<'a> Leading<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.leader.set(1);
        Self(metrics)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leader.set(0);
        self.0.pods.set(0);
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", name.trim(), std::process::id())
}
