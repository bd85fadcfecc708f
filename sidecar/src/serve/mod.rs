//! `serve`: the life of the server. Sockets -> ring -> serving -> draining -> ring removed or kept.
//!
//! Signals are caught before the ring exists, and whatever ends the serving, the ring is stopped on the way out: so
//! nothing is left behind without `--keep`. A process that is killed cannot do that; then the next owner of the same
//! key takes the ring over, and rings with random keys are removed by the next owner in the same folder.
//!
//! A ring whose file was deleted cannot be found by new clients, and no file system of Linux gives it a name again. It
//! is retired, which its clients notice, and replaced by a new one with the same key. Other faults are said, in the log
//! and by `/readyz`, and left as they are: what wrote over the ring may do so again, and whoever looks for it needs the
//! traces.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use framebuffer::{FrameBufferServer, Key, ServerOptions};
use framebuffer_listener::{Crowd, Tcp};
use framebuffer_signals::{Signal, Signals};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::admin::{self, Health};
use crate::api::{self, guard};
use crate::cli::ServeArgs;
use crate::ring::CurrentRing;

mod bounds;
mod connection;
mod listen;
mod log;
mod unix_socket;
mod watcher;

use bounds::Places;
use connection::Door;
use listen::{Sockets, Unix, UnixSocket};
use watcher::{Verdict, Watcher};

/// How long requests under way may take to end after the first signal.
const DRAIN: Duration = Duration::from_secs(5);

/// How often to look at the ring and for dead participants.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How serving ended.
enum End {
    /// After one signal: in order, even if some connection had to be cut.
    Stopped,
    /// By another signal while connections were still being drained.
    Interrupted(Signal),
}

/// Serves until a signal. Errors go to the log.
pub fn main(args: ServeArgs) -> ExitCode {
    log::init(args.log_level.into(), args.log_format);
    run(args).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let options = ring_options(&args)?;
    let ring = CurrentRing::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    let served = runtime.block_on(serve(args, options, ring.clone()));
    // Ends the connections that are still there. After that nobody else holds the ring.
    drop(runtime);
    let stopped = stop(&ring);
    let end = served?;
    stopped?;
    tracing::info!("stopped");
    Ok(match end {
        End::Stopped => ExitCode::SUCCESS,
        End::Interrupted(signal) => signal.exit_code().into(),
    })
}

fn ring_options(args: &ServeArgs) -> anyhow::Result<ServerOptions> {
    let key = match &args.key {
        Some(key) => key.check()?,
        None => Key::random().context("failed to make a random key")?,
    };
    Ok(FrameBufferServer::options(args.size.bytes())
        .key(key)
        .dir(&args.dir)
        .mode(args.mode)
        .keep(args.keep)
        .prefault(args.prefault.into())
        .window(args.window))
}

async fn serve(args: ServeArgs, options: ServerOptions, ring: CurrentRing) -> anyhow::Result<End> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), size = %args.size, dir = %args.dir.display(), "starting");
    let mut signals = Signals::catch(&Signal::ALL).context("failed to catch signals")?;
    let places = Places::reserve()?;
    let Sockets { api, unix, admin } = Sockets::bind(&args)?;

    let health = Arc::new(Health::new(ring.clone()));
    tracing::info!(addr = %admin.local_addr()?, "admin listening");
    // Never told to stop: it answers until the runtime ends.
    let (_never, end) = watch::channel(());
    tokio::spawn(listen::serve(admin_listener(admin, places), admin_door(&health), end));

    ring.set(create(options.clone(), args.keep).await?);
    let (stop_sender, stop) = watch::channel(());
    let router = api::router(ring.clone());
    let mut api_servers = JoinSet::new();
    tracing::info!(addr = %api.local_addr()?, "api listening");
    let door = Door { router: router.clone(), admit: guard::admit_tcp, bounds: &bounds::API };
    api_servers.spawn(listen::serve(api_listener(api, places), door, stop.clone()));
    let mut socket_file = None;
    if let Some(UnixSocket { listener, file }) = unix {
        tracing::info!(socket = %file.path().display(), "api listening");
        let door = Door { router, admit: guard::admit_unix, bounds: &bounds::API };
        api_servers.spawn(listen::serve(Unix { listener, crowd: Crowd::new(places.unix) }, door, stop));
        socket_file = Some(file);
    }

    let signal = until_signal(&mut signals, &ring, &options, args.keep).await?;
    tracing::info!(%signal, "stopping");
    health.stopping();
    drop(socket_file);
    drop(stop_sender);
    Ok(drain(&mut signals, api_servers).await)
}

fn admin_listener(listener: TcpListener, places: Places) -> Tcp {
    Tcp { listener, local: Crowd::new(places.admin), outside: Some(Crowd::new(places.admin_outside)) }
}

/// What is there is not secret, so it asks nobody who they are.
fn admin_door(health: &Arc<Health>) -> Door {
    Door { router: admin::router(Arc::clone(health)), admit: |_, _| Ok(()), bounds: &bounds::ADMIN }
}

fn api_listener(listener: TcpListener, places: Places) -> Tcp {
    Tcp { listener, local: Crowd::new(places.api), outside: None }
}

/// Creates or adopts the ring, on a thread of its own: the admin port answers meanwhile.
async fn create(options: ServerOptions, keep: bool) -> anyhow::Result<FrameBufferServer> {
    let started = Instant::now();
    let (sender, created) = oneshot::channel();
    // Sending fails only if nobody waits any more.
    let work = move || _ = sender.send(options.start());
    framebuffer::threads::spawn("ring", work).context("failed to start a thread (see ulimit -u and pids.max)")?;
    let ring = created.await.context("the thread that sets up the ring has panicked")?;
    let ring = ring.context("failed to set up the ring")?;
    let stats = ring.stats().context("failed to read the new ring")?;
    let message = if ring.adopted() { "ring adopted" } else { "ring created" };
    let elapsed = started.elapsed();
    tracing::info!(size = stats.size, capacity = stats.capacity, head = stats.head, keep, ?elapsed, "{message}");
    Ok(ring)
}

/// Watches over the ring until there is a signal.
///
/// # Errors
///
/// If the ring had to be replaced and that failed: then whoever started the sidecar has to do so again.
async fn until_signal(
    signals: &mut Signals,
    ring: &CurrentRing,
    options: &ServerOptions,
    keep: bool,
) -> anyhow::Result<Signal> {
    let mut watcher = Watcher::default();
    let mut tick = interval(WATCH_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            signal = signals.next() => return Ok(signal),
            _ = tick.tick() => {}
        }
        let verdict = ring.get().map_or(Verdict::Replace, |ring| watcher.look(&ring));
        if verdict == Verdict::Replace {
            // The old one first: it is retired, so that its clients leave, and both may not fit.
            stop(ring).context("failed to replace the ring")?;
            ring.set(create(options.clone(), keep).await.context("failed to replace the ring")?);
            watcher = Watcher::default();
        }
    }
}

/// Waits for the requests under way, until they have ended, [`DRAIN`] is over or there is another signal.
async fn drain(signals: &mut Signals, mut servers: JoinSet<()>) -> End {
    let ended = async { while servers.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => End::Stopped,
        () = sleep(DRAIN) => {
            tracing::warn!(after = ?DRAIN, "cutting connections that have not ended");
            End::Stopped
        }
        signal = signals.next() => {
            tracing::warn!(%signal, "stopping at once");
            End::Interrupted(signal)
        }
    }
}

/// Stops the ring, if there is one.
fn stop(ring: &CurrentRing) -> anyhow::Result<()> {
    // Dropping the last reference stops the ring as well, but could not report errors.
    match ring.take().and_then(Arc::into_inner) {
        Some(mut ring) => ring.stop().context("failed to stop the ring"),
        None => Ok(()),
    }
}
