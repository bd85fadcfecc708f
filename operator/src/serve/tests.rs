//! Tests over real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{bounds, close_when_stopping, serve, tls};
use crate::certificates::issue;
use crate::certificates::material::{Material, certificates};
use crate::certificates::plan::Lifetimes;
use crate::certificates::serving::Serving;
use crate::metrics::Metrics;

const NAME: &str = "operator.ns.svc";

fn made() -> Material {
    let lifetimes = Lifetimes::new(SignedDuration::from_hours(2), SignedDuration::from_hours(1));
    issue::create("", &[NAME.to_owned()], &lifetimes, Timestamp::now()).unwrap()
}

async fn connect(port: u16, cas: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca", cas).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
}

fn served_by(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

async fn start(serving: &Arc<Serving>, router: Router) -> (u16, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, shutdown) = (listener.local_addr().unwrap().port(), CancellationToken::new());
    let tls = tls(Arc::clone(serving) as _).unwrap();
    (port, shutdown.clone(), tokio::spawn(serve(listener, Some(tls), router, bounds::WEBHOOK, shutdown)))
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_leaves_old_ones_alone() {
    let (serving, metrics, first, second) = (Arc::new(Serving::default()), Metrics::default(), made(), made());
    let (port, _shutdown, _server) = start(&serving, Router::new().route("/", get(|| async { "yes" }))).await;
    assert!(connect(port, &first.cas).await.is_err(), "there is no certificate yet");
    serving.load(&first.certificate, &first.key, &metrics).unwrap();
    let mut old = connect(port, &first.cas).await.unwrap();
    assert!(ask(&mut old).await.ends_with("yes"));
    serving.load(&second.certificate, &second.key, &metrics).unwrap();
    let mut new = connect(port, &second.cas).await.unwrap();
    assert_ne!(served_by(&old), served_by(&new));
    assert!(ask(&mut old).await.ends_with("yes"), "an open connection goes on");
    assert!(ask(&mut new).await.ends_with("yes"));
    assert!(connect(port, &first.cas).await.is_err(), "the new certificate is not of the old CA");
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let (serving, metrics, material) = (Arc::new(Serving::default()), Metrics::default(), made());
    serving.load(&material.certificate, &material.key, &metrics).unwrap();
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, wait) = (Arc::clone(&begun), Arc::clone(&finish));
    let slow = get(|| async move {
        begin.notify_one();
        wait.notified().await;
        "late"
    });
    let (port, shutdown, server) = start(&serving, Router::new().route("/", slow)).await;
    let mut stream = connect(port, &material.cas).await.unwrap();
    let answer = tokio::spawn(async move { ask(&mut stream).await });
    begun.notified().await;
    shutdown.cancel();
    let refused = async { while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {} };
    timeout(Duration::from_secs(10), refused).await.expect("no connection is taken any more");
    assert!(!server.is_finished());
    finish.notify_one();
    assert!(answer.await.unwrap().ends_with("late"));
    timeout(Duration::from_secs(10), server).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn clients_are_asked_to_close_from_the_first_signal_on() {
    let stopping = CancellationToken::new();
    let router =
        close_when_stopping(Router::new().route("/", axum::routing::get(|| async { "here" })), stopping.clone());
    let asked = async || {
        let request = Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        response.headers().get(CONNECTION).is_some_and(|value| value == "close")
    };
    assert!(!asked().await);
    stopping.cancel();
    assert!(asked().await);
}

/// Short bounds, for tests that wait until they are exceeded.
fn short() -> bounds::Bounds {
    let short = Duration::from_millis(200);
    bounds::Bounds { connections: 2, handshake: short, idle: short, head: short, receive: short, ..bounds::WEBHOOK }
}

async fn plain(bounds: bounds::Bounds) -> (u16, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, shutdown) = (listener.local_addr().unwrap().port(), CancellationToken::new());
    let echo = axum::routing::post(|body: String| async move { body });
    let router = Router::new().route("/", get(|| async { "yes" }).merge(echo));
    tokio::spawn(serve(listener, None, router, bounds, shutdown.clone()));
    (port, shutdown)
}

/// All that comes after this was sent, until the server hangs up.
async fn told(port: u16, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("the server hangs up").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_says_nothing_or_drips_is_cut_off() {
    let (port, _shutdown) = plain(short()).await;
    assert_eq!(told(port, b"").await, "");
    assert_eq!(told(port, b"POST / HTTP/1.1\r\nhost:").await, "");
    let slow = told(port, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabc").await;
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("did not arrive within"), "{slow}");
    let answered = told(port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answered.ends_with("yes"), "{answered}");
}

#[tokio::test]
async fn a_body_is_refused_before_it_is_read_if_it_is_too_large_or_of_unknown_size() {
    let (port, _shutdown) = plain(bounds::WEBHOOK).await;
    let post = "POST / HTTP/1.1\r\nhost: x\r\n";
    let large = told(port, format!("{post}content-length: {}\r\n\r\n", bounds::BODY_LIMIT + 1).as_bytes()).await;
    assert!(large.starts_with("HTTP/1.1 413") && large.contains("the limit is 4194304"), "{large}");
    let chunked = told(port, format!("{post}transfer-encoding: chunked\r\n\r\n").as_bytes()).await;
    assert!(chunked.starts_with("HTTP/1.1 411"), "{chunked}");
}

#[tokio::test]
async fn large_bodies_wait_for_each_other_and_are_told_to_come_back() {
    let (port, _shutdown) = plain(bounds::Bounds { connections: 64, ..short() }).await;
    let large = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", bounds::SMALL_BODY + 1);
    let asked: Vec<_> = (0..9).map(|_| told(port, large.as_bytes())).collect();
    let answers = futures::future::join_all(asked).await;
    let busy = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 503")).collect::<Vec<_>>();
    assert!(!busy.is_empty(), "{answers:?}");
    assert!(busy.iter().all(|answer| answer.contains("retry-after: 1") && answer.contains("2 requests above 65536")));
    assert!(answers.iter().any(|answer| answer.starts_with("HTTP/1.1 408")), "{answers:?}");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let listener = super::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let error = format!("{:#}", super::listen(address).unwrap_err());
    assert!(error.starts_with(&format!("failed to listen on {address}: ")), "{error}");
}
