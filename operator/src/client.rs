//! [`connect`]: a client of the API server with which nothing waits for ever. [`watching`]: the same for watches.
//!
//! A connection can die without a sign: a node is gone, a firewall has forgotten it, a proxy takes everything and
//! passes nothing on. TCP notices that after many minutes, and if the proxy still acknowledges, never. So it is a
//! missing answer that counts:
//!
//! - A request has [`DEADLINE`], from looking for a connection to the last byte of its response.
//! - A watch is asked to end after [`WATCH_SECONDS`]; kube gives up a watch that has been silent for 5 s longer. The
//!   next one continues where it ended, which costs the API server next to nothing.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use kube::client::{Body, ClientBuilder};
use kube::runtime::watcher;
use kube::{Client, Config};
use thiserror::Error;
use tokio::time::timeout;

/// The longest that a request may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The longest that a connection may take to come about: less, so that the error says so.
const CONNECT: Duration = Duration::from_secs(5);

/// After this many seconds the API server ends a watch.
pub const WATCH_SECONDS: u32 = 20;

/// Objects in a page of a list: a page is in memory as a whole, with all that is stripped from its objects later.
pub const PAGE: u32 = 50;

/// No answer in time.
#[derive(Debug, Error)]
#[error("the API server did not answer {method} {path} within {deadline:?}")]
struct Late {
    method: Method,
    path: String,
    deadline: Duration,
}

/// A client of the API server that the environment names, with connections of its own.
///
/// # Errors
///
/// The environment names none, or its credentials cannot be read.
pub async fn connect() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context("failed to find the API server")?;
    config.connect_timeout = Some(CONNECT);
    let namespace = config.default_namespace.clone();
    let client = ClientBuilder::try_from(config).context("failed to set up the client of the API server")?.build();
    Ok(within(client, &namespace, DEADLINE))
}

/// The same client with a deadline for each request. Of a watch, it is for the head of the response.
pub fn within(client: Client, namespace: &str, deadline: Duration) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let answered = timeout(deadline, answer(&client, request)).await;
            answered.unwrap_or_else(|_| Err(Late { method, path, deadline }.into()))
        }
    });
    Client::new(service, namespace)
}

async fn answer(client: &Client, request: Request<Body>) -> Result<Response<Body>, tower::BoxError> {
    let watch = is_watch(request.uri());
    let response = client.send(request).await?;
    if watch {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Body::from(body)))
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1" | "watch"))
}

/// How objects are watched.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}
