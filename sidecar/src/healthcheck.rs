//! `healthcheck`: asks a sidecar whether it is ready, for probes in an image without a shell.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use framebuffer::http::Endpoint;

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
    let addr = reachable(args.admin);
    let end = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        match ask(addr) {
            Err(_) if Instant::now() < end => sleep(PAUSE),
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    // The exit code is the answer, the word is for people.
    let _ = writeln!(std::io::stdout(), "ready");
    Ok(ExitCode::SUCCESS)
}

fn ask(addr: SocketAddr) -> anyhow::Result<()> {
    let failed = || format!("the sidecar does not answer on {addr} (--admin)");
    let response = Endpoint::from(addr).get("/readyz", DEADLINE).with_context(failed)?;
    if response.status != 200 {
        bail!("the sidecar is not ready: {} {}", response.status, String::from_utf8_lossy(&response.body).trim());
    }
    Ok(())
}

/// Where to reach a server that listens on `addr`, from the same machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_is_reached_over_loopback() {
        let reached = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7571"), "127.0.0.1:7571");
        assert_eq!(reached("[::]:7571"), "[::1]:7571");
        assert_eq!(reached("192.0.2.7:7571"), "192.0.2.7:7571");
    }
}
