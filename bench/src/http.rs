//! What `POST /allocate` costs beside a bare axum handler with the same JSON, over TCP and over a Unix socket.
//!
//! It measures HTTP itself, to the byte and the microsecond, so it writes requests and reads answers with code of its own
//! instead of the product's client.
//!
//! One process serves all four, on a runtime as the sidecar has it. The coordinator asks; variants take turns.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use framebuffer::{FrameBufferServer, Prefault};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};

use crate::figures::{Http, Rounds, percentile};
use crate::folder::RunFolder;
use crate::group::collect;
use crate::interrupt;
use crate::orders::Answer;
use crate::process::Worker;
use crate::wait::PATIENCE;

/// Requests one after the other, per variant and round.
const REQUESTS: usize = 1000;
/// Connections whose requests are sent together, for the throughput.
const CONNECTIONS: usize = 16;

const ONE: &str = r#"{"size":6220800}"#;
const SIXTEEN: &str = r#"{"size":65536,"count":16}"#;

const BARE_TCP: &str = "bare axum handler, TCP";
const BARE_UNIX: &str = "bare axum handler, Unix socket";

/// What the server's sockets are called.
const BARE: &str = "bare";
const ALLOCATE: &str = "allocate";

/// Serve allocations and a bare handler.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The folder for sockets and addresses
    dir: PathBuf,
}

/// Asks all variants in turns.
///
/// # Errors
///
/// If the server fails, or somebody interrupts.
pub(crate) fn measure(folder: &RunFolder, rounds: usize) -> Result<Vec<Http>> {
    let dir = folder.group("http")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("http-server").arg(&dir);
    let mut server = Worker::start("http server".to_owned(), &dir, &command)?;
    collect(std::slice::from_mut(&mut server))?;
    let mut variants = [
        Variant::new(BARE_TCP, BARE_TCP, ONE, || tcp(&dir, BARE))?,
        Variant::new("allocate, TCP", BARE_TCP, ONE, || tcp(&dir, ALLOCATE))?,
        Variant::new("allocate 16 at once, TCP", BARE_TCP, SIXTEEN, || tcp(&dir, ALLOCATE))?,
        Variant::new(BARE_UNIX, BARE_UNIX, ONE, || unix(&dir, BARE))?,
        Variant::new("allocate, Unix socket", BARE_UNIX, ONE, || unix(&dir, ALLOCATE))?,
        Variant::new("allocate 16 at once, Unix socket", BARE_UNIX, SIXTEEN, || unix(&dir, ALLOCATE))?,
    ];
    for round in 0..rounds {
        for index in 0..variants.len() {
            interrupt::check()?;
            let index = (index + round) % variants.len();
            variants[index].round()?;
        }
    }
    server.finish()?;
    Ok(variants.map(|variant| variant.found).into())
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

struct Variant {
    request: String,
    connections: Vec<Box<dyn Connection>>,
    found: Http,
}

impl Variant {
    fn new(
        name: &'static str,
        reference: &'static str,
        body: &str,
        connect: impl Fn() -> Result<Box<dyn Connection>>,
    ) -> Result<Self> {
        let connections = (0..CONNECTIONS).map(|_| connect()).collect::<Result<_>>()?;
        let [p50_ns, p99_ns, requests_per_second] = <[Rounds; 3]>::default();
        let request = format!(
            "POST /allocate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { request, connections, found: Http { name, reference, p50_ns, p99_ns, requests_per_second } })
    }

    fn round(&mut self) -> Result<()> {
        let mut latencies = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let started = Instant::now();
            self.send(0)?;
            self.receive(0)?;
            latencies.push(started.elapsed().as_nanos() as u64);
        }
        latencies.sort_unstable();
        self.found.p50_ns.push(percentile(&latencies, 0.5));
        self.found.p99_ns.push(percentile(&latencies, 0.99));
        let started = Instant::now();
        let turns = REQUESTS / CONNECTIONS;
        for _ in 0..turns {
            (0..CONNECTIONS).try_for_each(|connection| self.send(connection))?;
            (0..CONNECTIONS).try_for_each(|connection| self.receive(connection))?;
        }
        self.found.requests_per_second.push((turns * CONNECTIONS) as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }

    fn send(&mut self, connection: usize) -> Result<()> {
        self.connections[connection].write_all(self.request.as_bytes()).context("failed to send a request")
    }

    /// Reads one response, which comes in one piece: it is far shorter than a segment.
    fn receive(&mut self, connection: usize) -> Result<()> {
        let mut response = [0; 512];
        let len = self.connections[connection].read(&mut response).context("failed to receive a response")?;
        let response = &response[..len];
        let good = response.starts_with(b"HTTP/1.1 200") && response.ends_with(b"}");
        ensure!(good, "the server answered {:?}", String::from_utf8_lossy(response));
        Ok(())
    }
}

fn tcp(dir: &Path, what: &str) -> Result<Box<dyn Connection>> {
    let address = fs::read_to_string(dir.join(what)).context("failed to learn the server's address")?;
    let stream = TcpStream::connect(&address).with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
    stream.set_read_timeout(Some(PATIENCE)).context("failed to set a timeout")?;
    Ok(Box::new(stream))
}

fn unix(dir: &Path, what: &str) -> Result<Box<dyn Connection>> {
    let stream = UnixStream::connect(dir.join(format!("{what}.sock"))).context("failed to connect to the server")?;
    stream.set_read_timeout(Some(PATIENCE)).context("failed to set a timeout")?;
    Ok(Box::new(stream))
}

/// Serves until its standard input ends.
pub(crate) fn serve(args: &ServerArgs) -> Result<()> {
    let options = FrameBufferServer::options(64 << 20).dir(&args.dir).prefault(Prefault::Wait);
    let ring = options.start().context("failed to create a ring")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        for (name, router) in [(BARE, bare()), (ALLOCATE, framebuffer_sidecar::api::router(Arc::new(ring)))] {
            let unix = UnixListener::bind(args.dir.join(format!("{name}.sock"))).context("failed to listen")?;
            tokio::spawn(axum::serve(unix, router.clone()).into_future());
            let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen on loopback")?;
            let address = listener.local_addr().context("failed to learn the own address")?;
            fs::write(args.dir.join(name), address.to_string()).context("failed to say the own address")?;
            let listener = listener.tap_io(|stream| {
                // The measurement would show it.
                let _ = stream.set_nodelay(true);
            });
            tokio::spawn(axum::serve(listener, router).into_future());
        }
        println!("{}", serde_json::to_string(&Answer::default()).context("failed to encode an answer")?);
        wait_for_end_of_input().await
    })
}

async fn wait_for_end_of_input() -> Result<()> {
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // However it ends, there is nobody left to serve.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    ended.await.context("failed to wait")
}

/// The least that axum does to take and return the same JSON.
fn bare() -> Router {
    #[derive(Deserialize)]
    struct Wanted {
        size: u64,
    }
    #[derive(Serialize)]
    struct Offset {
        offset: u64,
    }
    Router::new()
        .route("/allocate", post(|Json(wanted): Json<Wanted>| async move { Json(Offset { offset: wanted.size }) }))
}
