//! `run`: starts everything, and stops it in order at the end.
//!
//! Every replica runs the reflector of `FrameBuffer`s, its [`Role`] for the injector ([`policy`] or [`webhook`]) and
//! the admin port. The leader also runs the leader's work of its role, and the controller.

mod policy;
mod webhook;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use framebuffer_signals::{Signal, Signals};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::FrameBuffer;
use crate::cli::{LogFormat, RunArgs};
use crate::client::{self, watching};
use crate::injector::{Injector, Readiness};
use crate::leader::{Election, Timing};
use crate::metrics::Metrics;
use crate::serve::{bounds, listen, serve};
use crate::{admin, controller};

/// Threads of the runtime. Two keep up with any API server; more would cost memory.
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

/// The state of every replica, whatever its role.
struct Shared {
    args: RunArgs,
    client: Client,
    /// Of the election: with a connection of its own, it does not wait behind anything else.
    election: Client,
    metrics: Arc<Metrics>,
    store: Store<FrameBuffer>,
    /// Signals a change of `store`.
    changed: watch::Sender<()>,
    /// Cancelled by the first signal: become unready, stop leading.
    stopping: CancellationToken,
    /// Cancelled a little later: accept no more connections.
    closing: CancellationToken,
}

/// A replica, with its role.
struct Replica {
    shared: Arc<Shared>,
    role: Role,
}

/// What a replica does for the injector.
enum Role {
    Policy(Box<policy::PolicyRole>),
    Webhook(webhook::WebhookRole),
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch(&[Signal::Interrupt, Signal::Terminate]).context("failed to catch signals")?;
    let client = client::connect().await?;
    let admin = listen(args.admin)?;
    let (store, writer) = reflector::store();
    let metrics = Arc::new(Metrics::new(args.injection_mode));
    let shared = Arc::new(Shared {
        args,
        client,
        election: client::connect().await?,
        metrics,
        store,
        changed: watch::Sender::new(()),
        stopping: CancellationToken::new(),
        closing: CancellationToken::new(),
    });
    let role = match shared.args.injection_mode {
        Injector::Policy => Role::Policy(Box::new(policy::PolicyRole::new(&shared))),
        Injector::Webhook => Role::Webhook(webhook::WebhookRole::new(&shared)?),
    };
    let replica = Arc::new(Replica { shared: Arc::clone(&shared), role });
    info!(version = env!("CARGO_PKG_VERSION"), injection_mode = shared.args.injection_mode.as_str(), "starting");
    let mut work = std::pin::pin!(replica.work(admin, writer));
    tokio::select! {
        ended = &mut work => return ended.map(|()| ExitCode::FAILURE),
        _ = signals.next() => info!("stopping; a second signal ends the process at once"),
    }
    shared.stopping.cancel();
    let drain = async {
        tokio::time::sleep(Duration::from_secs(shared.args.drain_seconds)).await;
        shared.closing.cancel();
    };
    tokio::select! {
        (ended, ()) = async { tokio::join!(&mut work, drain) } => ended.map(|()| ExitCode::SUCCESS),
        signal = signals.next() => Ok(signal.exit_code().into()),
    }
}

impl Replica {
    /// Ends once `closing` is cancelled and all work in progress is done.
    async fn work(self: &Arc<Self>, admin: TcpListener, writer: Writer<FrameBuffer>) -> anyhow::Result<()> {
        let Shared { metrics, closing, .. } = &*self.shared;
        let routes = admin::router(self.readiness(), Arc::clone(metrics));
        let admin = tokio::spawn(serve(admin, None, routes, bounds::ADMIN, closing.clone()));
        let role = async {
            match &self.role {
                Role::Policy(role) => role.work(closing).await,
                Role::Webhook(role) => role.work(closing).await,
            }
        };
        let background = closing.run_until_cancelled(self.shared.follow_framebuffers(writer));
        let (worked, administered, (), _) = tokio::join!(role, admin, self.lead(), background);
        worked?;
        administered.context("the admin port ended")
    }

    fn readiness(self: &Arc<Self>) -> admin::Ready {
        let replica = Arc::clone(self);
        Arc::new(move || {
            let shared = &replica.shared;
            if shared.stopping.is_cancelled() {
                return Err("stopping");
            }
            match &replica.role {
                Role::Policy(role) => role.ready()?,
                Role::Webhook(role) => role.ready()?,
            }
            let synced = futures::FutureExt::now_or_never(shared.store.wait_until_ready());
            if synced.is_some_and(|synced| synced.is_ok()) { Ok(()) } else { Err("FrameBuffers are not known yet") }
        })
    }

    async fn lead(&self) {
        let RunArgs { namespace, lease_name, identity, injection_mode, .. } = &self.shared.args;
        let identity = identity.clone().unwrap_or_else(host_name);
        let client = self.shared.election.clone();
        let election = Election::new(client, namespace, lease_name, &identity, *injection_mode, Timing::default());
        election.run(self.shared.stopping.clone(), || Box::pin(self.leader_work(&identity))).await;
    }

    async fn leader_work(&self, identity: &str) {
        let Shared { args, client, metrics, .. } = &*self.shared;
        let _leading = Leading::new(metrics);
        let (report, readiness) = watch::channel(None);
        let settings = args.sidecar.settings();
        let mut context = controller::Context::new(client.clone(), settings, identity, readiness, Arc::clone(metrics));
        context.may_restart = !args.no_rolling_restart;
        let context = context.among(&args.namespace, identity, args.max_restarts);
        let role = self.lead_role(context.recorder.clone(), report);
        tokio::join!(role, controller::run(context));
    }

    async fn lead_role(&self, recorder: Recorder, report: watch::Sender<Option<Readiness>>) {
        match &self.role {
            Role::Policy(role) => role.lead(report).await,
            Role::Webhook(role) => role.lead(recorder, report).await,
        }
    }
}

impl Shared {
    /// Keeps `store` up to date, without the parts of a `FrameBuffer` that no role needs.
    async fn follow_framebuffers(&self, writer: Writer<FrameBuffer>) {
        let events = watcher(Api::<FrameBuffer>::all(self.client.clone()), watching())
            .default_backoff()
            .modify(|framebuffer| {
                framebuffer.status = None;
                framebuffer.managed_fields_mut().clear();
                framebuffer.annotations_mut().clear();
            })
            .reflect(writer)
            .inspect_err(|error| warn!(error = error as &dyn std::error::Error, "failed to watch FrameBuffers"));
        events
            .for_each(|_| {
                self.changed.send_replace(());
                std::future::ready(())
            })
            .await;
    }
}

/// Sets the metric of the leader while this is alive.
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
