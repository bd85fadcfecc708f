//! Connections over pipes and sockets, by a clock that stands still while anybody has work.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const BOUNDS: ConnectionBounds = ConnectionBounds {
    keep_alive: true,
    read_buffer: 8 << 10,
    headers: 16,
    idle: Duration::from_mins(1),
    head: Duration::from_secs(10),
    request: Duration::from_secs(20),
    answer: Duration::from_secs(30),
    lingers: Lingers::WithinRequests,
    linger: Duration::from_secs(1),
    discarded: 64 << 10,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";

/// Of the answer that nobody takes: more than a pipe holds.
const LARGE: usize = 1 << 20;

/// Reads the body of a POST; `/large` is answered at length.
async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = if request.uri().path() == "/large" { vec![b'a'; LARGE].into() } else { Bytes::from("yes") };
    let _ = request.into_body().collect().await;
    Response::new(Full::new(answer))
}

/// A connection to a server with one place, and the server's end of it.
async fn connect(bounds: ConnectionBounds) -> (DuplexStream, JoinHandle<()>) {
    let (ours, theirs) = duplex(16 << 10);
    let place = Crowd::new(1).enter().await;
    let served = async move { serve_connection(theirs, &place, &bounds, answer, std::future::pending()).await };
    (ours, tokio::spawn(served))
}

/// Seconds until the server ends a connection over which each of `pieces` is sent, the last one every second.
async fn seconds_for(bounds: ConnectionBounds, pieces: &[&[u8]]) -> u64 {
    let (mut stream, served) = connect(bounds).await;
    let begin = Instant::now();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
    }
    while !served.is_finished() {
        sleep(Duration::from_secs(1)).await;
        if let Some(last) = pieces.last() {
            let _ = timeout(Duration::from_millis(1), stream.write_all(last)).await;
        }
    }
    begin.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn each_step_has_its_time_and_dripping_gives_no_more() {
    let around = |seconds: u64| seconds..seconds + 3;
    assert!(around(60).contains(&seconds_for(BOUNDS, &[]).await), "idle");
    assert!(around(10).contains(&seconds_for(BOUNDS, &[b"GET / HTTP/1.1\r\n", b"a"]).await), "head");
    assert!(around(20).contains(&seconds_for(BOUNDS, &[POST, b"a"]).await), "request");
    let large = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(around(30).contains(&seconds_for(BOUNDS, &[large, b""]).await), "answer");
}

#[tokio::test(start_paused = true)]
async fn an_idle_time_begins_anew_with_each_answer() {
    let (mut stream, served) = connect(BOUNDS).await;
    for _ in 0..3 {
        sleep(BOUNDS.idle.mul_f32(0.9)).await;
        stream.write_all(GET).await.unwrap();
        let len = stream.read(&mut [0; 1024]).await.unwrap();
        assert!(len > 0 && !served.is_finished());
    }
    sleep(BOUNDS.idle + Duration::from_secs(1)).await;
    assert!(served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_connection_for_one_request_ends_with_its_answer() {
    let (mut stream, _served) = connect(ConnectionBounds { keep_alive: false, ..BOUNDS }).await;
    let begin = Instant::now();
    stream.write_all(GET).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("yes"), "{told}");
    assert!(begin.elapsed() < BOUNDS.idle, "it is not kept for another");
}

/// A connection over which something has been sent that is not HTTP, and the refusal has been read.
async fn refused() -> (DuplexStream, JoinHandle<()>) {
    let (mut stream, served) = connect(BOUNDS).await;
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400"), "{told}");
    (stream, served)
}

#[tokio::test(start_paused = true)]
async fn who_sends_on_after_a_refusal_can_read_it_and_is_read_within_bounds() {
    let (mut stream, served) = refused().await;
    let mut taken = 0;
    while !served.is_finished() && taken < 2 * BOUNDS.discarded {
        let more = timeout(Duration::from_millis(10), stream.write(&[b'a'; 1024])).await;
        taken += more.map_or(0, |more| more.unwrap_or(0));
    }
    // Beyond that, what a pipe holds.
    assert!((BOUNDS.discarded..BOUNDS.discarded + (32 << 10)).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hang_up_after_a_refusal_is_not_waited_for_longer_than_its_bounds() {
    let (_stream, served) = refused().await;
    sleep(BOUNDS.linger.mul_f32(0.9)).await;
    assert!(!served.is_finished(), "it waits for us to hang up");
    sleep(BOUNDS.linger.mul_f32(0.2)).await;
    assert!(served.is_finished(), "but no longer than that");
}

#[tokio::test(start_paused = true)]
async fn who_lingers_always_does_so_after_a_whole_request_too() {
    let once = ConnectionBounds { keep_alive: false, discarded: usize::MAX, ..BOUNDS };
    for (lingers, at_once) in [(Lingers::WithinRequests, true), (Lingers::Always, false)] {
        let (mut stream, served) = connect(ConnectionBounds { lingers, ..once }).await;
        stream.write_all(GET).await.unwrap();
        sleep(BOUNDS.linger / 2).await;
        assert_eq!(served.is_finished(), at_once, "{lingers:?}");
        drop(stream);
        served.await.unwrap();
    }
}

/// A listener on loopback with room for so many connections, until what it returns is dropped. Each request is in work
/// until `go` lets it go on, if there is one.
fn listening(places: usize, go: Option<Arc<Notify>>) -> (SocketAddr, watch::Sender<()>, JoinHandle<()>) {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 8 << 10).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut stopping) = watch::channel(());
    let connections = stopping.clone();
    let welcome = move |stream: TcpStream, place: Place| {
        let (mut stopping, go) = (connections.clone(), go.clone());
        async move {
            let answer = async |request| {
                if let Some(go) = &go {
                    place.progress().enter(Phase::Work);
                    go.notified().await;
                }
                answer(request).await
            };
            serve_connection(stream, &place, &BOUNDS, answer, async { _ = stopping.changed().await }).await;
        }
    };
    let tcp = Tcp { listener, local: Crowd::new(places), outside: None };
    let served = tokio::spawn(async move { serve(tcp, welcome, async { _ = stopping.changed().await }).await });
    (address, stop, served)
}

/// Everything until the server hangs up.
async fn rest(mut stream: TcpStream) -> String {
    let mut told = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut told)).await.expect("the server hangs up").unwrap();
    told
}

const LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_newcomer_takes_the_place_of_who_does_not_get_on() {
    let (address, _stop, _served) = listening(2, None);
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut asker = TcpStream::connect(address).await.unwrap();
    asker.write_all(LAST).await.unwrap();
    assert!(rest(asker).await.ends_with("yes"));
    assert_eq!(rest(silent.remove(0)).await, "", "the first has made room");
}

#[tokio::test]
async fn whoever_is_in_work_when_it_stops_is_answered_and_nobody_else_is_taken() {
    let go = Arc::new(Notify::new());
    let (address, stop, served) = listening(2, Some(Arc::clone(&go)));
    let mut asker = TcpStream::connect(address).await.unwrap();
    asker.write_all(GET).await.unwrap();
    let idle = TcpStream::connect(address).await.unwrap();
    // Nobody else can be accepted before both have been.
    let third = TcpStream::connect(address).await.unwrap();
    assert_eq!(rest(idle).await, "", "the third takes its place");
    drop(stop);
    assert_eq!(rest(third).await, "", "it had not asked");
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(Duration::from_secs(10), refused).await.expect("nobody is taken any more");
    assert!(!served.is_finished());
    go.notify_one();
    assert!(rest(asker).await.ends_with("yes"));
    timeout(Duration::from_secs(10), served).await.expect("it ends with its last connection").unwrap();
}

#[tokio::test]
async fn who_has_asked_already_is_answered_however_many_come_behind() {
    let (address, _stop, _served) = listening(1, None);
    // Nobody is accepted before something here is awaited.
    let asked: Vec<_> = std::iter::repeat_with(|| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(GET).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    })
    .take(30)
    .collect();
    // The last one keeps its place.
    for asker in asked.into_iter().take(29) {
        assert!(rest(asker).await.ends_with("yes"));
    }
}
