//! The real binary on networks with IPv6 only, with IPv4 only and with both: a sidecar that listens as in a pod is
//! reached, by others and by its own probe. Each test runs once more, by itself, in a network of its own.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use common::{Sidecar, command, run};
use framebuffer_contract::defaults;

mod common;

/// What the test process in a network of its own finds in its environment: that test's name.
const ALONE: &str = "FRAMEBUFFER_TEST_NETWORK";

/// Runs the test `name` in a network that `prepare`, a shell command, sets up; it goes with the process. Says why it
/// does not where the machine lets nobody make one.
fn in_network(name: &str, prepare: &str, test: impl FnOnce()) {
    if std::env::var(ALONE).is_ok_and(|alone| alone == name) {
        return test();
    }
    let prepare = format!("ip link set lo up && {prepare}");
    let root = nix::unistd::geteuid().is_root();
    let within = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net").args((!root).then_some("--map-root-user"));
        unshare.args(["sh", "-c", script, "sh"]);
        unshare
    };
    match within(&prepare).output() {
        Ok(made) if made.status.success() => {}
        Ok(made) => return eprintln!("skipped {name}: no network: {}", String::from_utf8_lossy(&made.stderr).trim()),
        Err(error) => return eprintln!("skipped {name}: unshare: {error}"),
    }
    let mut again = within(&format!("{prepare} && exec \"$@\""));
    again.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let output = again.env(ALONE, name).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "in the network: {}\n{text}", output.status);
}

/// `[::]` with a free port, as the operator has it with the pod's.
fn admin() -> String {
    let all: SocketAddr = defaults::ADMIN.parse().unwrap();
    SocketAddr::new(all.ip(), 0).to_string()
}

fn assert_reached(sidecar: &Sidecar, ips: &[&str], not: &[&str]) {
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), sidecar.admin.port());
    for ip in ips {
        let stream = TcpStream::connect(at(ip)).unwrap_or_else(|error| panic!("{ip}: {error}\n{}", sidecar.log()));
        assert_eq!(common::request(stream, "GET", "/readyz", ""), (200, "ready\n".to_owned()), "{ip}");
    }
    for ip in not {
        assert!(TcpStream::connect(at(ip)).is_err(), "{ip} is not of this network");
    }
    // As the pod's probe: by the address that the sidecar was told.
    let told = format!("[::]:{}", sidecar.admin.port());
    let output = run(&["healthcheck", "--admin", &told]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn with_ipv6_only_a_pods_sidecar_is_reached_and_its_api_is_on_loopback_all_the_same() {
    let name = "with_ipv6_only_a_pods_sidecar_is_reached_and_its_api_is_on_loopback_all_the_same";
    in_network(name, "ip address add fd00::7/128 dev lo", || {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::start_on(["127.0.0.1:0", &admin()], dir.path(), &["--size", "1Mi"]);
        assert_reached(&sidecar, &["fd00::7", "::1", "127.0.0.1"], &["192.0.2.7"]);
        assert_eq!(sidecar.get("/get_key").0, 200, "the kernel gives 127.0.0.1 to every network");
    });
}

#[test]
fn without_any_ipv4_address_the_probe_reaches_the_sidecar_over_ipv6() {
    let name = "without_any_ipv4_address_the_probe_reaches_the_sidecar_over_ipv6";
    let prepare = "ip address add fd00::7/128 dev lo && ip address del 127.0.0.1/8 dev lo";
    in_network(name, prepare, || {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::start_on(["[::1]:0", &admin()], dir.path(), &["--size", "1Mi"]);
        assert_reached(&sidecar, &["fd00::7", "::1"], &["127.0.0.1"]);
        assert_eq!(sidecar.get("/get_key").0, 200);
    });
}

#[test]
fn where_ipv6_is_switched_off_a_pods_sidecar_is_reached_over_ipv4() {
    let name = "where_ipv6_is_switched_off_a_pods_sidecar_is_reached_over_ipv4";
    let prepare = "ip address add 192.0.2.7/32 dev lo && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    in_network(name, prepare, || {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::start_on(["127.0.0.1:0", &admin()], dir.path(), &["--size", "1Mi"]);
        assert_reached(&sidecar, &["192.0.2.7", "127.0.0.1"], &["::1"]);
    });
}

#[test]
fn with_both_all_addresses_are_taken_even_where_ipv6_listeners_take_no_ipv4_by_default() {
    let name = "with_both_all_addresses_are_taken_even_where_ipv6_listeners_take_no_ipv4_by_default";
    let addresses = "ip address add fd00::7/128 dev lo && ip address add 192.0.2.7/32 dev lo";
    let prepare = format!("{addresses} && echo 1 > /proc/sys/net/ipv6/bindv6only");
    in_network(name, &prepare, || {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::start_on(["127.0.0.1:0", &admin()], dir.path(), &["--size", "1Mi"]);
        assert_reached(&sidecar, &["fd00::7", "192.0.2.7", "::1", "127.0.0.1"], &[]);
    });
}

#[test]
fn a_probe_that_nobody_answers_names_all_addresses_that_it_tried() {
    let output = command(&["healthcheck", "--admin", "[::]:1"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("does not answer on 127.0.0.1:1 or [::1]:1 (--admin)"), "{error}");
}
