//! How much of the sidecar others can take, by connecting to it: connections, memory, descriptors and time.
//!
//! Each listener has bounds of its own, so that whoever crowds one does not crowd the others. The admin port has two
//! kinds of places: for its own machine, where the probes come from, and for others, who can be anybody.
//!
//! ```text
//!   16 MiB that the operator adds to the ring for its sidecar
//! -  6 MiB the sidecar itself
//! -  2 MiB a probe, a second process in the same container
//! =  8 MiB for 128 connections of 64 KiB
//! ```

use std::time::Duration;

use anyhow::bail;
use framebuffer_listener::{ConnectionBounds, Lingers};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What the operator adds to the ring in the sidecar's memory limit.
const INJECTED_BYTES: usize = 16 * MIB;

/// What the sidecar takes without connections.
const OWN_BYTES: usize = 6 * MIB;

/// What a `healthcheck` takes.
const PROBE_BYTES: usize = 2 * MIB;

/// The most bytes of a request's head, and of what is read ahead. The least that hyper can be told.
const READ_BUFFER: usize = 8 * KIB;

/// The most headers of a request. As many as a map of headers has room for before it doubles.
const MAX_HEADERS: usize = 48;

/// Socket buffers of a connection, each way. The kernel doubles them for its own records, and charges the container.
pub(super) const SOCKET_BUFFER: u32 = 4 * KIB as u32;

/// What a connection takes at most, which is while nobody takes its answer: what is read ahead of the next request;
/// room for its headers; the head of the answer, for which hyper reserves as much as for reading; the longest body,
/// 1024 offsets of up to 20 digits (what would be longer, about channels, is made [piece by piece](crate::pieces));
/// the socket's buffers; and the task with its futures.
const CONNECTION_BYTES: usize = {
    let headers = MAX_HEADERS * 112 + 256;
    let answer = 1024 * 21 + KIB;
    let sockets = 2 * 2 * SOCKET_BUFFER as usize;
    let task = 4 * KIB;
    READ_BUFFER + headers + READ_BUFFER + answer + sockets + task
};

/// How many connections there can be of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// To the API over TCP.
    pub(super) api: usize,
    /// To the API over a Unix socket.
    pub(super) unix: usize,
    /// To the admin port from the same machine, or rather the same pod.
    pub(super) admin: usize,
    /// To the admin port from elsewhere.
    pub(super) admin_outside: usize,
}

/// The most bytes that are read and thrown away behind a request that was refused before its end.
const DISCARDED: usize = 256 * KIB;

/// Of the API: its clients may keep a connection for many requests.
pub(super) const API: ConnectionBounds = ConnectionBounds {
    keep_alive: true,
    read_buffer: READ_BUFFER,
    headers: MAX_HEADERS,
    idle: Duration::from_mins(1),
    head: Duration::from_secs(10),
    // Of one length, so that the body, the work and the answer have it together.
    request: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    lingers: Lingers::WithinRequests,
    linger: Duration::from_secs(1),
    discarded: DISCARDED,
};

/// Of the admin port: one request in a connection, and soon.
pub(super) const ADMIN: ConnectionBounds = ConnectionBounds {
    keep_alive: false,
    idle: Duration::from_secs(5),
    head: Duration::from_secs(5),
    request: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    ..API
};

const PLACES: Places = Places { api: 64, unix: 32, admin: 16, admin_outside: 16 };

const _: () = assert!(OWN_BYTES + PROBE_BYTES + PLACES.total() * CONNECTION_BYTES <= INJECTED_BYTES);

/// Descriptors for all but connections: standard streams, runtime, listeners and their file, ring, log, tools of the
/// runtime. There are about 20.
const OWN_DESCRIPTORS: u64 = 32;

/// Descriptors of connections that are accepted while another one is still being closed, one for each listener.
const SPARE_DESCRIPTORS: u64 = 3;

/// The least descriptors of connections: with fewer there would be kinds with no place at all.
const LEAST_DESCRIPTORS: u64 = 8;

impl Places {
    /// Raises this process' limit of descriptors if it has to, and as far as it may. Where that is not enough, there
    /// are fewer places.
    ///
    /// # Errors
    ///
    /// If the limit is so low that nobody could be served.
    pub(super) fn reserve() -> anyhow::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let wanted = OWN_DESCRIPTORS + SPARE_DESCRIPTORS + PLACES.total() as u64;
        let limit = soft.max(wanted.min(hard));
        if limit > soft {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
        }
        let places = Self::within(limit)?;
        if places != PLACES {
            tracing::warn!(
                limit,
                wanted,
                connections = places.total(),
                "few descriptors, so there are few connections"
            );
        }
        Ok(places)
    }

    /// As many as fit beside everything else if there can be `limit` descriptors.
    fn within(limit: u64) -> anyhow::Result<Self> {
        let other = OWN_DESCRIPTORS + SPARE_DESCRIPTORS;
        if limit < other + LEAST_DESCRIPTORS {
            let least = other + LEAST_DESCRIPTORS;
            bail!("{least} descriptors are needed, the limit is {limit}: raise it (ulimit -n, RLIMIT_NOFILE)");
        }
        let all = PLACES.total();
        let left = (limit - other).min(all as u64) as usize;
        let share = |places: usize| (places * left / all).max(1);
        let Self { api, unix, admin, admin_outside } = PLACES;
        Ok(Self { api: share(api), unix: share(unix), admin: share(admin), admin_outside: share(admin_outside) })
    }

    const fn total(self) -> usize {
        self.api + self.unix + self.admin + self.admin_outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_never_take_more_descriptors_than_there_are() {
        for limit in 43..300 {
            let places = Places::within(limit).unwrap();
            assert!(places.total() as u64 + OWN_DESCRIPTORS + SPARE_DESCRIPTORS <= limit, "{limit}: {places:?}");
            let Places { api, unix, admin, admin_outside } = places;
            assert!([api, unix, admin, admin_outside].iter().all(|places| *places > 0), "{limit}: {places:?}");
        }
        assert_eq!(Places::within(163).unwrap(), PLACES);
        assert_eq!(Places::within(u64::MAX).unwrap(), PLACES);
    }

    #[test]
    fn too_few_descriptors_are_an_error_that_says_how_many_are_needed() {
        let error = Places::within(42).unwrap_err().to_string();
        assert!(error.contains("42") && error.contains("43") && error.contains("ulimit -n"), "{error}");
    }
}
