//! The sockets: bound before the ring is touched, served until they are told to stop.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, UnixListener};

pub(super) use super::unix_socket::UnixSocket;
use crate::cli::ServeArgs;

/// All that the sidecar listens on.
pub(super) struct Sockets {
    pub(super) api: TcpListener,
    pub(super) unix: Option<UnixSocket>,
    pub(super) admin: TcpListener,
}

impl Sockets {
    pub(super) async fn bind(args: &ServeArgs) -> anyhow::Result<Self> {
        let api = bind(args.listen, "--listen").await?;
        let admin = bind(args.admin, "--admin").await?;
        let unix = args.socket.as_deref().map(|path| {
            UnixSocket::bind(path, args.mode)
                .with_context(|| format!("failed to listen on {} (--socket)", path.display()))
        });
        Ok(Self { api, unix: unix.transpose()?, admin })
    }
}

async fn bind(addr: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("failed to listen on {addr} ({flag})"))
}

pub(super) async fn serve_tcp(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send + 'static) {
    // Answers are small and somebody waits for each.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
    });
    log_end(axum::serve(listener, router).with_graceful_shutdown(stop).await);
}

pub(super) async fn serve_unix(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    log_end(axum::serve(listener, router).with_graceful_shutdown(stop).await);
}

fn log_end(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "stopped serving");
    }
}
