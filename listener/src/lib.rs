//! HTTP/1.1 for whoever comes, within bounds: sidecar and operator listen with it.
//!
//! Anybody who reaches a port can connect, say nothing, drip, or never take an answer. So a listener has a fixed number
//! of places ([`Crowd`]), a connection has a deadline for each step of a request ([`ConnectionBounds`]), and whoever
//! does not get on makes room for whoever comes.
//!
//! Read [`listen`] (addresses), [`serve`] (accepts connections), [`Crowd`] (who has to leave when all places are
//! taken), [`serve_connection`] (one connection), `watched` (how its bytes tell its [`Phase`]).
//!
//! What is served, over TLS or not, how a body is read and how large the bounds are is each program's own affair.

mod accept;
mod bounds;
mod connection;
mod crowd;
mod listen;
mod progress;
mod seldom;
mod watched;

pub use accept::{Listener, Tcp, serve};
pub use bounds::{ConnectionBounds, Lingers};
pub use connection::serve_connection;
pub use crowd::{Crowd, Place};
pub use listen::listen;
pub use progress::{Phase, Progress};

#[cfg(test)]
mod tests;
