//! The sockets: bound before the ring is touched, served until they are told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use framebuffer_listener::{Crowd, Listener};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

use super::bounds::SOCKET_BUFFER;
use super::connection::{self, Door};
pub(super) use super::unix_socket::UnixSocket;
use crate::cli::ServeArgs;

/// All that the sidecar listens on.
pub(super) struct Sockets {
    pub(super) api: TcpListener,
    pub(super) unix: Option<UnixSocket>,
    pub(super) admin: TcpListener,
}

impl Sockets {
    pub(super) fn bind(args: &ServeArgs) -> anyhow::Result<Self> {
        let api = bind(args.listen, "--listen")?;
        let admin = bind(args.admin, "--admin")?;
        let unix = args.socket.as_deref().map(|path| {
            UnixSocket::bind(path, args.mode)
                .with_context(|| format!("failed to listen on {} (--socket)", path.display()))
        });
        Ok(Self { api, unix: unix.transpose()?, admin })
    }
}

fn bind(addr: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    framebuffer_listener::listen(addr, SOCKET_BUFFER).with_context(|| format!("failed to listen on {addr} ({flag})"))
}

/// A Unix socket and its connections.
pub(super) struct Unix {
    pub(super) listener: UnixListener,
    pub(super) crowd: Arc<Crowd>,
}

impl Listener for Unix {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, &Arc<Crowd>)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, &self.crowd))
    }

    fn crowds(&self) -> impl Iterator<Item = Arc<Crowd>> {
        std::iter::once(Arc::clone(&self.crowd))
    }
}

/// Serves until the sender of `stop` is gone, and then what is under way.
pub(super) async fn serve(listener: impl Listener, door: Door, mut stop: watch::Receiver<()>) {
    let connections = stop.clone();
    let welcome = |stream, place| connection::serve(stream, door.clone(), place, connections.clone());
    framebuffer_listener::serve(listener, welcome, async { _ = stop.changed().await }).await;
}
