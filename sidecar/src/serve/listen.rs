//! The sockets: bound before the ring is touched, served until they are told to stop.

use std::future::Future;
use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::bounds::SOCKET_BUFFER;
use super::connection::{self, Door};
use super::crowd::Crowd;
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
    listen(addr).with_context(|| format!("failed to listen on {addr} ({flag})"))
}

/// Connections that the kernel keeps until they are accepted: not at this process' cost.
const BACKLOG: u32 = 1024;

/// Before the next try to accept after one that failed, for lack of memory or descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // What is accepted inherits them.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts connections and knows which crowd each belongs to.
pub(super) trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, &Arc<Crowd>)>> + Send;

    fn crowds(&self) -> impl Iterator<Item = Arc<Crowd>>;
}

/// A TCP listener and its connections: of this machine and, if it does not listen on loopback only, of others.
pub(super) struct Tcp {
    pub(super) listener: TcpListener,
    pub(super) local: Arc<Crowd>,
    pub(super) outside: Option<Arc<Crowd>>,
}

impl Listener for Tcp {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, &Arc<Crowd>)> {
        let (stream, peer) = self.listener.accept().await?;
        // Answers are small and somebody waits for each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let outside = self.outside.as_ref().filter(|_| !peer.ip().to_canonical().is_loopback());
        Ok((stream, outside.unwrap_or(&self.local)))
    }

    fn crowds(&self) -> impl Iterator<Item = Arc<Crowd>> {
        [Some(&self.local), self.outside.as_ref()].into_iter().flatten().cloned()
    }
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
    tokio::select! {
        () = accept_all(&listener, &door, &connections) => {}
        _ = stop.changed() => {}
    }
    let crowds: Vec<_> = listener.crowds().collect();
    drop(listener);
    for crowd in crowds {
        crowd.gone().await;
    }
}

/// Until it is dropped.
async fn accept_all(listener: &impl Listener, door: &Door, stop: &watch::Receiver<()>) {
    loop {
        match listener.accept().await {
            Ok((stream, crowd)) => {
                let place = crowd.enter().await;
                tokio::spawn(connection::serve(stream, door.clone(), place, stop.clone()));
                // Whoever has come may ask before the next one comes, who could push it out.
                yield_now().await;
            }
            // It has gone already.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
