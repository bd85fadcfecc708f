//! [`serve`]: a router over TLS, with the current certificate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::{self, Next};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// The longest TLS handshake: an idle client must not hold a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Asks clients to close their connection after the next response, from the first signal on.
///
/// The API server keeps HTTP/1.1 connections open between requests. If we close one while it is idle, the API server
/// may be about to send the next request, which then fails; a connection that it closes itself after our response is
/// safe.
pub fn close_when_stopping(router: Router, stopping: CancellationToken) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let stopping = stopping.clone();
        async move {
            let keeps_alive = request.version() <= Version::HTTP_11;
            let mut response = next.run(request).await;
            if keeps_alive && stopping.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

/// Serves until `shutdown` is cancelled; then accepts no more connections, and lets requests in progress finish.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, shutdown: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, acceptor.clone(), router.clone(), graceful.watcher());
                tokio::spawn(connection);
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                debug!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(DRAIN, graceful.shutdown()).await;
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "failed a TLS handshake"),
        Err(_) => return debug!("a client took too long for its TLS handshake"),
    };
    let service = TowerToHyperService::new(router);
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        debug!(error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests;
