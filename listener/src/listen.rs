//! [`listen`]: a listener on an address, on machines with IPv4, IPv6 or both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps until they are accepted: not at this process' cost.
const BACKLOG: u32 = 1024;

/// Listens on an address. `[::]` stands for all addresses: IPv4 too, and on a machine without IPv6 only these.
///
/// A connection has buffers of `socket_buffer` bytes in the kernel, each way. The kernel doubles them for its own
/// records, and charges the container.
///
/// # Errors
///
/// The address cannot be used.
pub fn listen(address: SocketAddr, socket_buffer: u32) -> io::Result<TcpListener> {
    on_any_machine(address, |address| bind(address, socket_buffer))
}

fn on_any_machine<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match bind(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            let all = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            tracing::info!(%address, instead = %all, %error, "this machine has no IPv6");
            bind(all)
        }
        bound => bound,
    }
}

fn bind(address: SocketAddr, socket_buffer: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Whatever the machine's default is (net.ipv6.bindv6only).
        SockRef::from(&socket).set_only_v6(false)?;
    }
    // What is accepted inherits them.
    socket.set_recv_buffer_size(socket_buffer)?;
    socket.set_send_buffer_size(socket_buffer)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

const EAFNOSUPPORT: i32 = 97;

/// Switched off when the machine was started (no such family). Where it was later (`net.ipv6.conf.all.disable_ipv6`),
/// Linux still binds `[::]`; others say that there is no such address.
fn no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_too_whether_the_machine_has_ipv6_or_not() {
        let listener = listen("[::]:0".parse().unwrap(), 8 << 10).unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).await.unwrap();
        }
    }

    /// What is bound, one after the other, on a machine where IPv6 fails like this.
    fn tried(address: &str, ipv6: impl Fn() -> io::Error) -> (Vec<String>, io::Result<()>) {
        let tried = RefCell::default();
        let bound = on_any_machine(address.parse().unwrap(), |address| {
            Vec::push(&mut tried.borrow_mut(), address.to_string());
            if address.is_ipv6() { Err(ipv6()) } else { Ok(()) }
        });
        (tried.into_inner(), bound)
    }

    #[test]
    fn on_a_machine_without_ipv6_all_addresses_are_those_of_ipv4() {
        let off = || io::Error::from_raw_os_error(EAFNOSUPPORT);
        for error in [off, || io::ErrorKind::AddrNotAvailable.into()] {
            let (tried, bound) = tried("[::]:7571", error);
            assert_eq!(tried, ["[::]:7571", "0.0.0.0:7571"]);
            bound.unwrap();
        }
        let (tried, bound) = tried("[::1]:7571", off);
        assert_eq!(tried, ["[::1]:7571"], "one address is no other");
        bound.unwrap_err();
    }

    #[test]
    fn an_address_in_use_is_not_replaced_by_another_one() {
        let (tried, bound) = tried("[::]:7571", || io::ErrorKind::AddrInUse.into());
        assert_eq!(tried, ["[::]:7571"]);
        assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
