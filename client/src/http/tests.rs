//! Requests to servers that behave badly, over both kinds of socket.

use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Serves one connection over each kind of socket with `answer`, which gets the stream after the request.
fn with_server(answer: fn(&mut dyn io::Write), test: impl Fn(Endpoint)) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let over_tcp = Endpoint::from(tcp.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        read_request(&mut stream);
        answer(&mut stream);
    });
    thread::spawn(move || {
        let (mut stream, _) = unix.accept().unwrap();
        read_request(&mut stream);
        answer(&mut stream);
    });
    test(over_tcp);
    test(Endpoint::Unix(path));
}

fn read_request(stream: &mut dyn io::Read) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    assert!(request.starts_with(b"GET /get_key HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
}

#[test]
fn both_kinds_of_url_are_understood_and_others_refused() {
    let parse = |url: &str| url.parse::<Endpoint>();
    for (url, shown) in [
        ("http://127.0.0.1:7570", "http://127.0.0.1:7570"),
        ("http://localhost:1/", "http://localhost:1"),
        ("http://[::1]:7570", "http://[::1]:7570"),
        ("unix:/run/fb.sock", "unix:/run/fb.sock"),
        ("unix:///run/fb.sock", "unix:/run/fb.sock"),
    ] {
        assert_eq!(parse(url).unwrap().to_string(), shown);
    }
    let no_port = ["127.0.0.1:7570", "http://127.0.0.1", "http://x:99999", "http://:1", "http://"];
    let other = ["", "https://127.0.0.1:1", "http://a:1/b", "http://u@h:1", "http://a:1?b", "unix:relative", "unix:"];
    for url in no_port.into_iter().chain(other) {
        assert_eq!(parse(url), Err(InvalidUrl(url.to_owned())), "{url}");
    }
}

#[test]
fn any_status_is_a_response_and_its_body_may_end_with_the_connection() {
    let whole = |stream: &mut dyn io::Write| {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbody").unwrap();
    };
    let old = |stream: &mut dyn io::Write| stream.write_all(b"HTTP/1.0 503 Wait\r\n\r\nbody").unwrap();
    for answer in [whole, old] {
        with_server(answer, |endpoint| {
            let response = endpoint.get("/get_key", SOON).unwrap();
            assert_eq!((response.status, response.body.as_slice()), (503, b"body".as_slice()), "{endpoint}");
        });
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let redirect = |stream: &mut dyn io::Write| {
        stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").unwrap();
    };
    with_server(redirect, |endpoint| assert_eq!(endpoint.get("/get_key", SOON).unwrap().status, 302, "{endpoint}"));
}

#[test]
fn an_answer_that_is_cut_off_or_not_http_or_endless_is_an_error() {
    let cut = |stream: &mut dyn io::Write| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbody").unwrap();
    };
    let in_head = |stream: &mut dyn io::Write| stream.write_all(b"HTTP/1.1 200 OK\r\nconten").unwrap();
    let none = |_: &mut dyn io::Write| {};
    let foreign = |stream: &mut dyn io::Write| stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").unwrap();
    let endless = |stream: &mut dyn io::Write| {
        let started = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        // Until the other side has had enough.
        while started.is_ok() && stream.write_all(&[b' '; 4096]).is_ok() {}
    };
    for answer in [cut, in_head, none, foreign, endless] as [fn(&mut dyn io::Write); 5] {
        with_server(answer, |endpoint| {
            let error = endpoint.get("/get_key", SOON).unwrap_err();
            assert_ne!(error.kind(), io::ErrorKind::TimedOut, "{endpoint}: {error}");
        });
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    gives_up_at_the_deadline(|_| thread::sleep(SOON));
}

#[test]
fn a_server_that_drips_its_body_cannot_extend_the_deadline() {
    gives_up_at_the_deadline(|stream| {
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        drip(stream);
    });
}

#[test]
fn a_server_that_drips_its_header_cannot_extend_the_deadline() {
    gives_up_at_the_deadline(|stream| {
        stream.write_all(b"HTTP/1.0 200 OK\r\nx: ").unwrap();
        drip(stream);
    });
}

fn drip(stream: &mut dyn io::Write) {
    while stream.write_all(b" ").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn gives_up_at_the_deadline(answer: fn(&mut dyn io::Write)) {
    with_server(answer, |endpoint| {
        let started = Instant::now();
        let error = endpoint.get("/get_key", Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{endpoint}: {error}");
        assert_eq!(error.to_string(), "no complete answer within 0.2 s");
        assert!(started.elapsed() < SOON / 2, "{endpoint}: {:?}", started.elapsed());
    });
}

#[test]
fn the_next_address_of_a_name_is_tried_when_the_first_refuses() {
    // Names resolve as the machine has it, so the addresses are given to the connector as a lookup would.
    #[derive(Debug)]
    struct Two([SocketAddr; 2]);
    impl Resolver for Two {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut addresses = self.empty();
            self.0.into_iter().for_each(|address| addresses.push(address));
            Ok(addresses)
        }
    }
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serving = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = Two([refusing, serving.local_addr().unwrap()]);
    thread::spawn(move || {
        let (mut stream, _) = serving.accept().unwrap();
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let url = "http://two:1/get_key";
    assert_eq!(get(config(SOON), TcpConnector::default(), addresses, url).unwrap().status, 200);
}

#[test]
fn localhost_is_found_whichever_of_its_addresses_serves() {
    // On machines that know ::1 as localhost too, one of the two refuses at its first address.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let address = listener.local_addr().unwrap();
        let name = format!("localhost:{}", address.port());
        if !name.to_socket_addrs().unwrap().any(|known| known == address) {
            continue;
        }
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let endpoint: Endpoint = format!("http://{name}").parse().unwrap();
        assert_eq!(endpoint.get("/get_key", SOON).unwrap().status, 200, "{address}");
    }
}

#[test]
fn a_socket_that_is_not_there_is_an_error_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let error = Endpoint::Unix(dir.path().join("none.sock")).get("/get_key", SOON).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Endpoint::from(refusing).get("/get_key", SOON).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
