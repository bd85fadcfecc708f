//! What `POST /allocate` costs beside a bare axum handler with the same JSON, on one runtime as the sidecar has it.
//!
//! Variants take turns, so that whatever else the machine does meets all of them alike. Figures are medians over the
//! rounds, ratios are medians of the rounds' ratios.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use framebuffer::{FrameBufferServer, Prefault};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};

/// Requests one after the other, per variant and round.
const REQUESTS: usize = 2000;
/// Connections whose requests are sent together, for the throughput.
const CONNECTIONS: usize = 16;

const REQUEST: &str = "POST /allocate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                       Content-Length: 16\r\n\r\n{\"size\":6220800}";

fn main() {
    // Without `--bench` it is `cargo test` that calls, which only wants to know that it works.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 40 } else { 1 };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let [bare, allocate] = start_server(dir.path(), socket.clone());
    let variants = [
        Variant::new("bare axum handler", || connect(bare)),
        Variant::new("allocate", || connect(allocate)),
        Variant::new("allocate, Unix socket", || Box::new(std::os::unix::net::UnixStream::connect(&socket).unwrap())),
    ];
    print(variants.map(|variant| (variant.name, variant.run())), rounds);
}

type Measured = [(&'static str, Box<dyn FnMut() -> Round>); 3];

fn print(mut variants: Measured, rounds: usize) {
    let mut results: [Vec<Round>; 3] = Default::default();
    for round in 0..rounds {
        for index in 0..variants.len() {
            let index = (index + round) % variants.len();
            results[index].push((variants[index].1)());
        }
    }
    println!(
        "{:<24}{:>9}{:>9}{:>12}   ratios to the bare handler: p50, p99, time per request under load",
        "", "p50", "p99", "requests/s"
    );
    for ((name, _), rounds) in variants.iter().zip(&results) {
        let figure = |get: fn(&Round) -> f64| median(rounds.iter().map(get));
        let ratio =
            |get: fn(&Round) -> f64| median(rounds.iter().zip(&results[0]).map(|(one, bare)| get(one) / get(bare)));
        println!(
            "{name:<24}{:>6.1} us{:>6.1} us{:>12.0}   {:.2} {:.2} {:.2}",
            figure(|round| round.p50),
            figure(|round| round.p99),
            figure(|round| 1e6 / round.loaded),
            ratio(|round| round.p50),
            ratio(|round| round.p99),
            ratio(|round| round.loaded),
        );
    }
}

/// What one round has measured, in microseconds.
struct Round {
    p50: f64,
    p99: f64,
    /// Per request, with requests on all connections at once.
    loaded: f64,
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

struct Variant {
    name: &'static str,
    connections: Vec<Box<dyn Connection>>,
}

impl Variant {
    fn new(name: &'static str, connect: impl Fn() -> Box<dyn Connection>) -> Self {
        Self { name, connections: std::iter::repeat_with(connect).take(CONNECTIONS).collect() }
    }

    fn run(self) -> Box<dyn FnMut() -> Round> {
        let Self { mut connections, .. } = self;
        Box::new(move || {
            let mut latencies: Vec<f64> = (0..REQUESTS)
                .map(|_| {
                    let started = Instant::now();
                    send(connections[0].as_mut());
                    receive(connections[0].as_mut());
                    micros(started.elapsed())
                })
                .collect();
            latencies.sort_by(f64::total_cmp);
            let started = Instant::now();
            for _ in 0..REQUESTS / CONNECTIONS {
                for connection in &mut connections {
                    send(connection.as_mut());
                }
                for connection in &mut connections {
                    receive(connection.as_mut());
                }
            }
            let loaded = micros(started.elapsed()) / (REQUESTS / CONNECTIONS * CONNECTIONS) as f64;
            Round { p50: latencies[REQUESTS / 2], p99: latencies[REQUESTS * 99 / 100], loaded }
        })
    }
}

fn connect(addr: SocketAddr) -> Box<dyn Connection> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    Box::new(stream)
}

fn send(connection: &mut dyn Connection) {
    connection.write_all(REQUEST.as_bytes()).unwrap();
}

/// Reads one response, which comes in one piece: it is far shorter than a segment.
fn receive(connection: &mut dyn Connection) {
    let mut response = [0; 512];
    let len = connection.read(&mut response).unwrap();
    let response = &response[..len];
    assert!(response.starts_with(b"HTTP/1.1 200") && response.ends_with(b"}"), "{}", String::from_utf8_lossy(response));
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Starts a thread that serves both, and returns their addresses: the bare handler's and the sidecar's.
fn start_server(dir: &Path, socket: PathBuf) -> [SocketAddr; 2] {
    let ring = FrameBufferServer::options(64 << 20).dir(dir).prefault(Prefault::Wait).start().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let router = framebuffer_sidecar::api::router(Arc::new(ring));
            let unix = UnixListener::bind(socket).unwrap();
            tokio::spawn(axum::serve(unix, router.clone()).into_future());
            for router in [bare(), router] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
                tokio::spawn(axum::serve(listener, router).into_future());
            }
            std::future::pending::<()>().await;
        });
    });
    std::array::from_fn(|_| receiver.recv().unwrap())
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
