//! `healthcheck`: asks a sidecar whether it is ready, for probes in an image without a shell.

use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use framebuffer::http::{Endpoint, Response};

use crate::cli::HealthcheckArgs;

/// How long a sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Between two questions of who waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Succeeds if the sidecar is ready, or becomes so in the time that `args` give it.
///
/// # Errors
///
/// If it is not, with its reason, or if nobody answers.
pub fn main(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let addrs = reachable(args.admin);
    let end = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        match ask(&addrs) {
            Err(_) if Instant::now() < end => sleep(PAUSE),
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    // The exit code is the answer, the word is for people.
    let _ = writeln!(std::io::stdout(), "ready");
    Ok(ExitCode::SUCCESS)
}

fn ask(addrs: &[SocketAddr]) -> anyhow::Result<()> {
    let response = get(addrs).with_context(|| {
        let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
        format!("the sidecar does not answer on {} (--admin)", addrs.join(" or "))
    })?;
    if response.status != 200 {
        bail!("the sidecar is not ready: {} {}", response.status, String::from_utf8_lossy(&response.body).trim());
    }
    Ok(())
}

/// From the first address where somebody answers, or is too slow to.
fn get(addrs: &[SocketAddr]) -> io::Result<Response> {
    let mut failed = None;
    for addr in addrs {
        match Endpoint::from(*addr).get("/readyz", DEADLINE) {
            Err(error) if error.kind() != ErrorKind::TimedOut => failed = failed.or(Some(error)),
            answered_or_slow => return answered_or_slow,
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
}

/// Where to reach a server that listens on `addr`, from the same machine. Behind `[::]` that depends on the machine:
/// without IPv6, the server listens on IPv4 only.
fn reachable(addr: SocketAddr) -> Vec<SocketAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let ips = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![V4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![V4, V6],
        ip => vec![ip],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, addr.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_is_reached_over_loopback() {
        let reached = |addr: &str| reachable(addr.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(reached("0.0.0.0:7571"), ["127.0.0.1:7571"]);
        assert_eq!(reached("[::]:7571"), ["127.0.0.1:7571", "[::1]:7571"]);
        assert_eq!(reached("192.0.2.7:7571"), ["192.0.2.7:7571"]);
    }
}
