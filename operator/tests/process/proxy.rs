//! [`Proxy`]: between the operator and the API server. Told to, it takes everything and passes nothing on.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    swallows: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, told.clone()));
                tokio::spawn(pass(from_server, to_client, told.clone()));
            }
        });
        Self { address, swallows }
    }

    /// From now on, of all connections.
    pub(crate) fn swallow(&self, swallows: bool) {
        self.swallows.send_replace(swallows);
    }
}

/// A connection from which something was swallowed never passes anything on again.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, told: watch::Receiver<bool>) {
    let (mut buffer, mut dead) = ([0; 4096], false);
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) if !dead => return,
            // The other side is not told that this one has hung up.
            Ok(0) | Err(_) => std::future::pending().await,
            Ok(read) => {
                dead |= *told.borrow();
                if !dead && to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
