//! [`serve`]: a router over TCP, with TLS or without, within [`Bounds`].
//!
//! It speaks HTTP/1.1 only, as the API server does with webhooks: a connection then has one request at a time, and the
//! bound of connections is one of requests too.
//!
//! Read [`bounds`] (how much and how long), [`connection`] (one connection), [`body`] (one request's body). Places,
//! deadlines and addresses are those of [`framebuffer_listener`].

mod body;
pub mod bounds;
mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{self, Next};
use framebuffer_listener::{Crowd, Tcp};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) use body::busy;
use bounds::{Bounds, LARGE_BODIES, SOCKET_BUFFER};
use connection::{Door, welcome};

/// How long requests in progress may take at the end. By default the API server gives up on a webhook after 10 seconds.
const DRAIN: Duration = Duration::from_secs(10);

/// The TLS configuration of a server whose certificate may change at any time.
///
/// # Errors
///
/// The cryptographic provider lacks a protocol version.
pub fn tls(certificates: Arc<dyn ResolvesServerCert>) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("failed to set up TLS")?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Asks clients to close their connection after the next response, from the first signal on.
///
/// The API server keeps connections open between requests. If we close one while it is idle, the API server may be
/// about to send the next request, which then fails; a connection that it closes itself after our response is safe.
pub fn close_when_stopping(router: Router, stopping: CancellationToken) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let stopping = stopping.clone();
        async move {
            let mut response = next.run(request).await;
            if stopping.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

/// Listens on an address. `[::]` stands for all addresses: IPv4 too, and on a machine without IPv6 only these.
///
/// # Errors
///
/// The address cannot be used.
pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    framebuffer_listener::listen(address, SOCKET_BUFFER).with_context(|| format!("failed to listen on {address}"))
}

/// Serves until `closing` is cancelled; then accepts no more connections, and lets requests in progress finish.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    bounds: Bounds,
    closing: CancellationToken,
) {
    let large = Arc::new(Semaphore::new(LARGE_BODIES));
    let door = Door { router, tls: tls.map(TlsAcceptor::from), bounds, large };
    let listener = Tcp { listener, local: Crowd::new(bounds.connections), outside: None };
    let welcome = |stream, place| welcome(stream, door.clone(), place, closing.clone());
    let drained = async {
        closing.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        () = framebuffer_listener::serve(listener, welcome, closing.cancelled()) => {}
        () = drained => {}
    }
}

#[cfg(test)]
mod tests;
