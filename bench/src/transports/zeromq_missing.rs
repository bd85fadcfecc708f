//! ZeroMQ in a build without it.

use super::{Ends, Transport};
use crate::wait::Waiting;

pub(super) const IPC: Transport = Transport {
    id: "zeromq",
    name: "ZeroMQ, ipc",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Block,
    ends: Ends::Processes { writer: |_| missing(), reader: |_| missing() },
    server: None,
    available: missing,
};

fn missing<T>() -> anyhow::Result<T> {
    anyhow::bail!("built without the feature zeromq, which needs a C++ compiler (on Debian: apt-get install g++)")
}
