//! Calls to the API server through a proxy that swallows everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::client::{watching, within};
use framebuffer_operator::injector::Injector;
use framebuffer_operator::leader::{Election, Timing};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::api_server::ApiServer;
use crate::operator::{Operator, prepare, put_framebuffer};
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_millis(300);

/// A client through the proxy, with a short deadline.
fn client(proxy: &Proxy) -> Client {
    let config = Config::new(format!("http://{}", proxy.address).parse().unwrap());
    within(Client::try_from(config).unwrap(), "default", DEADLINE)
}

#[tokio::test]
async fn a_request_that_is_not_answered_ends_with_an_error_that_says_so() {
    let server = ApiServer::start().await;
    put_framebuffer(&server, "ring");
    let proxy = Proxy::to(server.address).await;
    let api: Api<FrameBuffer> = Api::namespaced(client(&proxy), "video");
    assert!(api.get("ring").await.is_ok());
    proxy.swallow(true);
    let error = timeout(Duration::from_secs(10), api.get("ring")).await.expect("it ends").unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("did not answer GET /apis/framebuffer.dev") && error.contains("within 300ms"), "{error}");
    // The dead connection is not used again.
    proxy.swallow(false);
    assert!(api.get("ring").await.is_ok());
}

#[tokio::test]
async fn a_watch_whose_connection_has_died_starts_again_within_its_bound() {
    let server = ApiServer::start().await;
    let proxy = Proxy::to(server.address).await;
    let events = watcher(Api::<FrameBuffer>::all(client(&proxy)), watching().timeout(1)).default_backoff();
    let mut events = std::pin::pin!(events);
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    put_framebuffer(&server, "first");
    assert!(matches!(events.next().await, Some(Ok(Event::Apply(found))) if found.name_any() == "first"));
    proxy.swallow(true);
    put_framebuffer(&server, "second");
    let died = Instant::now();
    // What is sent over the dead connection is lost; new ones are good again.
    let back = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.swallow(false);
        loop {
            match events.next().await {
                Some(Ok(Event::Apply(found))) if found.name_any() == "second" => return,
                Some(_) => {}
                None => panic!("a watch never ends"),
            }
        }
    };
    timeout(Duration::from_secs(30), back).await.expect("the watch starts again");
    eprintln!("noticed after {:?}", died.elapsed());
    // What the API server was asked for, kube's 5 s, and the first pause after a failure.
    assert!(died.elapsed() < Duration::from_secs(1 + 5 + 4), "{:?}", died.elapsed());
}

/// Leads with a short timing, and tells whether it does.
fn candidate(client: Client, name: &str) -> (Arc<AtomicBool>, CancellationToken) {
    struct Leading(Arc<AtomicBool>);
    impl Drop for Leading {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let short = |tenths: u64| Duration::from_millis(100 * tenths);
    let timing = Timing { lease: short(15), deadline: short(10), retry: short(3), attempt: short(4) };
    let election = Election::new(client, "ns", "l", name, Injector::Webhook, timing);
    let (leads, shutdown) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let told = Arc::clone(&leads);
    tokio::spawn(election.run(shutdown.clone(), move || {
        told.store(true, Ordering::SeqCst);
        let leading = Leading(Arc::clone(&told));
        async move {
            let _leading = leading;
            std::future::pending::<()>().await;
        }
    }));
    (leads, shutdown)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn another_takes_over_when_the_leader_hangs_even_if_its_own_attempt_hung_too() {
    // A tenth of the real timing, with which they would be 15 and 30 s. A busy machine may miss them now and then.
    let mut times = Vec::new();
    for _ in 0..3 {
        let [stopped, led] = take_over().await;
        if stopped < Duration::from_millis(1500) && led < Duration::from_secs(3) {
            return;
        }
        times.push([stopped, led]);
    }
    panic!("it stops before its lease ends, and another leads: {times:?}");
}

/// How long it takes until a leader that hangs stops, and until another leads.
async fn take_over() -> [Duration; 2] {
    let server = ApiServer::start().await;
    let (first, second) = (Proxy::to(server.address).await, Proxy::to(server.address).await);
    // Without a deadline of the client: the election's own has to do.
    let endless = |proxy: &Proxy| {
        let config = Config::new(format!("http://{}", proxy.address).parse().unwrap());
        Client::try_from(config).unwrap()
    };
    let (leads, _stop) = candidate(endless(&first), "first");
    until("the first leads", || leads.load(Ordering::SeqCst)).await;
    let (follows, _stop_too) = candidate(endless(&second), "second");
    let asked = || server.asked("/leases/l");
    let before = asked();
    until("the second asks", || asked() > before + 4).await;
    first.swallow(true);
    second.swallow(true);
    let hung = Instant::now();
    until("the first stops", || !leads.load(Ordering::SeqCst)).await;
    let stopped = hung.elapsed();
    second.swallow(false);
    until("the second leads", || follows.load(Ordering::SeqCst)).await;
    assert!(!leads.load(Ordering::SeqCst));
    [stopped, hung.elapsed()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_whose_connections_have_all_died_takes_up_its_work_again() {
    let server = ApiServer::start().await;
    prepare(&server);
    let proxy = Proxy::to(server.address).await;
    let operator = Operator::start_at(proxy.address, &[]).await;
    let ready = |name: &str| {
        let path = format!("/apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/{name}");
        server.get(&path).is_some_and(|found| found["status"]["conditions"][0]["status"] == "True")
    };
    until("a FrameBuffer is ready", || ready("ring")).await;
    proxy.swallow(true);
    put_framebuffer(&server, "late");
    let died = Instant::now();
    // Long enough for the election to try once.
    until("a request is lost", || died.elapsed() > Duration::from_secs(4)).await;
    proxy.swallow(false);
    let wait = async {
        while !ready("late") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_mins(2), wait).await.expect("the new FrameBuffer becomes ready");
    eprintln!("working again after {:?}", died.elapsed());
    assert!(died.elapsed() < Duration::from_secs(40), "{:?}", died.elapsed());
    drop(operator);
}
