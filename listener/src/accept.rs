//! [`serve`]: accepts connections, each into its crowd, until it is told to stop.

use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::crowd::{Crowd, Place};
use crate::seldom::Seldom;

/// Before the next try to accept after one that failed: memory or descriptors, say, come back when connections end.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections and knows which crowd each belongs to.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and whose place it takes.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, &Arc<Crowd>)>> + Send;

    /// All crowds.
    fn crowds(&self) -> impl Iterator<Item = Arc<Crowd>>;
}

/// A TCP listener and its connections: of this machine and, if they are counted apart, of others.
pub struct Tcp {
    /// The listener.
    pub listener: TcpListener,
    /// Connections from this machine; without `outside`, all.
    pub local: Arc<Crowd>,
    /// Connections from elsewhere, so that they take no place from this machine's.
    pub outside: Option<Arc<Crowd>>,
}

impl Tcp {
    fn crowd_of(&self, peer: IpAddr) -> &Arc<Crowd> {
        let outside = self.outside.as_ref().filter(|_| !peer.to_canonical().is_loopback());
        outside.unwrap_or(&self.local)
    }
}

impl Listener for Tcp {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, &Arc<Crowd>)> {
        let (stream, peer) = self.listener.accept().await?;
        // Answers are small and somebody waits for each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        Ok((stream, self.crowd_of(peer.ip())))
    }

    fn crowds(&self) -> impl Iterator<Item = Arc<Crowd>> {
        [Some(&self.local), self.outside.as_ref()].into_iter().flatten().cloned()
    }
}

/// Welcomes each connection in a task of its own, until `stopping` is ready. Then closes the listener and waits until
/// all connections have ended; the tasks have to hear of `stopping` by their own means.
pub async fn serve<L, W, C>(listener: L, welcome: W, stopping: impl Future<Output = ()>)
where
    L: Listener,
    W: Fn(L::Stream, Place) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let mut stopping = pin!(stopping);
    tokio::select! {
        () = accept_all(&listener, welcome) => {}
        () = &mut stopping => {}
    }
    let crowds: Vec<_> = listener.crowds().collect();
    drop(listener);
    for crowd in crowds {
        crowd.gone().await;
    }
}

/// Until it is dropped.
async fn accept_all<L, W, C>(listener: &L, welcome: W)
where
    L: Listener,
    W: Fn(L::Stream, Place) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let mut failed = Seldom::default();
    loop {
        match listener.accept().await {
            Ok((stream, crowd)) => {
                let place = crowd.enter().await;
                tokio::spawn(welcome(stream, place));
                // Whoever has come may ask before the next one comes, who could push it out.
                yield_now().await;
            }
            // It has gone already.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                if failed.is_due() {
                    tracing::error!(%error, "failed to accept a connection");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_from_elsewhere_takes_no_place_from_this_machine_if_they_are_counted_apart() {
        let (local, outside) = (Crowd::new(1), Crowd::new(1));
        let listener = crate::listen("127.0.0.1:0".parse().unwrap(), 8 << 10).unwrap();
        let mut tcp = Tcp { listener, local: Arc::clone(&local), outside: Some(Arc::clone(&outside)) };
        for (peer, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.8.8.8", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("fd00::7", false),
        ] {
            assert_eq!(Arc::ptr_eq(tcp.crowd_of(peer.parse().unwrap()), &local), here, "{peer}");
        }
        tcp.outside = None;
        assert!(Arc::ptr_eq(tcp.crowd_of("192.0.2.1".parse().unwrap()), &local));
    }
}
