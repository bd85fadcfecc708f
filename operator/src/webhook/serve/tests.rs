//! Tests over real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Version;
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

use super::{close_when_stopping, serve, tls};
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
    (port, shutdown.clone(), tokio::spawn(serve(listener, tls, router, shutdown)))
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
    let asked = async |version| {
        let request = Request::builder().version(version).uri("/").body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        response.headers().get(CONNECTION).is_some_and(|value| value == "close")
    };
    assert!(!asked(Version::HTTP_11).await);
    stopping.cancel();
    assert!(asked(Version::HTTP_11).await);
    // Of HTTP/2 the end of a connection is a part.
    assert!(!asked(Version::HTTP_2).await);
}
