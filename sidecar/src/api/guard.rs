//! Keeps web pages away from the ring: which requests the API answers at all.
//!
//! A browser lets every page send requests to its own machine. The page cannot read the answers, unless:
//!
//! - its own name resolves to 127.0.0.1 (DNS rebinding): then the browser takes the API for the page's own server. Such
//!   a request has the page's name in `Host`, so over TCP only names and addresses of loopback are answered. A browser
//!   cannot open a Unix socket, and there `Host` says nothing.
//! - the request does harm without an answer that is read. Requests that a page sends to another server have an
//!   `Origin`, or a `Sec-Fetch-Site` that says so. Programs send neither.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::problem::Problem;

/// Set by browsers: how the page that sends a request is related to the server that gets it.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a request that has come over TCP may be answered.
///
/// # Errors
///
/// A problem to answer with instead: another host than loopback, or a web page that asks.
pub fn admit_tcp(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    // A request that names its server in its first line means that one, whatever `Host` says. Requests without any
    // name are HTTP/1.0, which no browser sends.
    let named = uri.authority().map(|authority| authority.as_str().as_bytes());
    let hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    match named.into_iter().chain(hosts).find(|host| !is_loopback(host)) {
        Some(host) => Err(Problem::foreign_host(&String::from_utf8_lossy(host))),
        None => admit_unix(uri, headers),
    }
}

/// Whether a request that has come over a Unix socket may be answered.
///
/// # Errors
///
/// A problem to answer with instead: a web page asks.
pub fn admit_unix(_: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if let Some(origin) = headers.get(header::ORIGIN) {
        return Err(Problem::web_page("Origin", &text(origin)));
    }
    match headers.get(SEC_FETCH_SITE) {
        // `none` is what a person types into the address bar.
        Some(site) if site != "none" && site != "same-origin" => Err(Problem::web_page("Sec-Fetch-Site", &text(site))),
        _ => Ok(()),
    }
}

/// Whether `authority`, a host with or without a port, is this machine under a name that no other server can have.
fn is_loopback(authority: &[u8]) -> bool {
    let Ok(authority) = str::from_utf8(authority) else { return false };
    if let Some(bracketed) = authority.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        let address = address.parse::<Ipv6Addr>();
        return is_port(port) && address.is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    is_port(port) && (host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()) || is_localhost(host))
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `localhost` and the names below it, which browsers never ask a name server for (RFC 6761).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn names_and_addresses_of_loopback_are_answered_with_any_port() {
        let hosts = [
            "localhost",
            "LocalHost:7570",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.0.0.1:7570",
            "127.8.8.8:80",
            "[::1]",
            "[::1]:7570",
            "[::ffff:127.0.0.1]:7570",
        ];
        for host in hosts {
            admit_tcp(&Uri::from_static("/get_key"), &headers(&[("host", host)])).unwrap();
            admit_tcp(&format!("http://{host}/get_key").parse().unwrap(), &HeaderMap::new()).unwrap();
        }
        admit_tcp(&Uri::from_static("/get_key"), &HeaderMap::new()).unwrap();
    }

    #[test]
    fn other_hosts_are_refused_over_tcp_only() {
        let hosts = [
            "evil.example",
            "evil.example:7570",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "localhost:7570@evil.example",
            "evil.example@localhost",
            "localhost:x",
            "192.0.2.1:7570",
            "0.0.0.0:7570",
            "[::]:7570",
            "[::1",
            "::1",
            "",
        ];
        for host in hosts {
            let headers = headers(&[("host", host)]);
            let problem = admit_tcp(&Uri::from_static("/get_key"), &headers).unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("`{host}`")), "{problem:?}");
            admit_unix(&Uri::from_static("/get_key"), &headers).unwrap();
        }
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        admit_tcp(&Uri::from_static("/get_key"), &two).unwrap_err();
        let local = headers(&[("host", "localhost")]);
        admit_tcp(&Uri::from_static("http://evil.example/get_key"), &local).unwrap_err();
    }

    #[test]
    fn web_pages_are_refused_everywhere() {
        let pages = [
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ];
        for page in pages {
            for admit in [admit_tcp, admit_unix] {
                let problem = admit(&Uri::from_static("/get_key"), &headers(&[("host", "localhost"), page]));
                assert!(format!("{:?}", problem.unwrap_err()).contains(page.1), "{page:?}");
            }
        }
        for site in ["none", "same-origin"] {
            admit_tcp(&Uri::from_static("/get_key"), &headers(&[("sec-fetch-site", site)])).unwrap();
        }
    }
}
