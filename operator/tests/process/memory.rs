//! Hostile requests to the webhook: whoever reaches its port can send them.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::api_server::ApiServer;
use crate::operator::{Operator, prepare, put_framebuffer};

/// The chart's limit.
const LIMIT_MIB: u64 = 128;

/// What must be left of it for what else the operator keeps.
const SPARE_MIB: u64 = 32;

const MIB: usize = 1 << 20;

/// A review of a labelled pod, with more in its spec, metadata or beside it.
fn review(spec: &str, metadata: &str, beside: &str) -> String {
    let head = r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u","#;
    let labels = r#""labels": {"framebuffer.dev/inject": "ring"}"#;
    format!(
        r#"{head} "namespace": "video", "operation": "CREATE"{beside}, "object": {{"metadata": {{{labels}{metadata}}},
            "spec": {{{spec}}}}}}}}}"#
    )
}

/// `item` again and again, up to so many bytes.
fn many(item: &str, bytes: usize) -> String {
    vec![item; bytes / (item.len() + 1)].join(",")
}

/// Bodies just below the limit, each after another way to make them expensive.
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let list = |item: &str| format!(r#""x": [{}]"#, many(item, bytes));
    let containers = |item: &str| format!(r#""containers": [{}]"#, many(item, bytes));
    let in_one =
        |field: &str, item: &str| format!(r#""containers": [{{"name": "a", "{field}": [{}]}}]"#, many(item, bytes));
    let mount = r#"{"name":"v","mountPath":"/dev/shm/a"}"#;
    let deep = format!(r#""x": {}{}"#, "[".repeat(bytes / 2), "]".repeat(bytes / 2));
    let names: Vec<String> = (0..bytes / 4200).map(|_| format!(r#"{{"name":"{}"}}"#, "n".repeat(4180))).collect();
    vec![
        ("numbers", review(&list("1"), "", "")),
        ("numbers beside the pod", review("", "", &format!(r#", "userInfo": {{{}}}"#, list("1")))),
        ("objects", review(&list("{}"), "", "")),
        ("objects with a field", review(&list(r#"{"":{}}"#), "", "")),
        ("lists", review(&list("[[]]"), "", "")),
        ("deep lists", review(&deep, "", "")),
        ("one string", review(&format!(r#""x": "{}""#, "x".repeat(bytes)), "", "")),
        ("strings", review(&list(r#""xxxxxxxxxxxxxxxx""#), "", "")),
        ("labels", review("", &format!(r#", "l": {{{}}}"#, many(r#""a":"b""#, bytes)), "")),
        ("managed fields", review("", &format!(r#", "managedFields": [{}]"#, many("{}", bytes)), "")),
        ("containers", review(&containers("{}"), "", "")),
        ("containers with long names", review(&format!(r#""containers": [{}]"#, names.join(",")), "", "")),
        ("variables", review(&in_one("env", r#"{"name":"FRAMEBUFFER_URL"}"#), "", "")),
        ("mounts inside the ring", review(&in_one("volumeMounts", mount), "", "")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worst_requests_at_once_fit_into_the_charts_memory_limit() {
    let server = ApiServer::start().await;
    prepare(&server);
    let operator = Operator::start(&server, &[]).await;
    let before = operator.peak_mib();
    // The others keep their places meanwhile: some say nothing, some have sent most of a body that needs no place.
    let mut idle = Vec::new();
    for number in 0..40 {
        let mut stream = operator.connect(&server).await.unwrap();
        if number % 2 == 0 {
            let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 65536";
            stream.write_all(format!("{head}\r\n\r\n{}", " ".repeat(65_000)).as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        idle.push(stream);
    }
    for (kind, body) in hostile(4 * MIB - 4096) {
        let started = std::time::Instant::now();
        let answers = join_all((0..6).map(|_| operator.post(&server, &body))).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert!(answer.starts_with("HTTP/1.1 "), "{kind}: {answer}");
            assert!(answer.len() < MIB, "{kind}: {} bytes", answer.len());
        }
        let (peak, took) = (operator.peak_mib(), started.elapsed());
        eprintln!("{kind}: peak {peak} MiB, {before} before, in {took:?}");
        assert!(peak < LIMIT_MIB - SPARE_MIB, "{kind}: {peak} MiB");
    }
    // Small ones, many at once.
    for (kind, body) in hostile(60 << 10) {
        let answers = join_all((0..60).map(|_| operator.post(&server, &body))).await;
        assert!(answers.into_iter().all(|answer| answer.is_ok()), "{kind}");
        let peak = operator.peak_mib();
        eprintln!("{kind}, small: peak {peak} MiB");
        assert!(peak < LIMIT_MIB - SPARE_MIB, "{kind}: {peak} MiB");
    }
    drop(idle);
    let pod = review(r#""containers": [{"name": "a"}]"#, "", "");
    let answer = operator.post(&server, &pod).await.unwrap();
    assert!(answer.contains("JSONPatch"), "{answer}");
    eprintln!("{} MiB afterwards", operator.now_mib());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_injected_while_others_take_all_connections_and_say_nothing() {
    let server = ApiServer::start().await;
    prepare(&server);
    let operator = Operator::start(&server, &[]).await;
    let mut crowd = Vec::new();
    for number in 0..200 {
        // Half of them do not even begin a handshake.
        if number % 2 == 0 {
            crowd.push(tokio::net::TcpStream::connect(("127.0.0.1", operator.webhook)).await.unwrap());
        } else {
            let mut stream = operator.connect(&server).await.unwrap();
            stream.write_all(b"POST /mutate HTTP/1.1\r\nx: ").await.unwrap();
            let (tcp, _) = stream.into_inner();
            crowd.push(tcp);
        }
    }
    let body = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u", "namespace": "video", "operation": "CREATE", "object": {
            "metadata": {"labels": {"framebuffer.dev/inject": "ring"}}, "spec": {"containers": [{"name": "a"}]},
        }},
    });
    let answer = tokio::time::timeout(Duration::from_secs(5), operator.post(&server, &body.to_string())).await;
    assert!(answer.unwrap().unwrap().contains("JSONPatch"));
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_framebuffers_with_names_of_their_own_take_a_few_kilobytes_each() {
    const COUNT: usize = 1000;
    // With a thousand. Decoded statuses, with what is injected, would take 40 more.
    const MOST_MIB: u64 = 32;
    let server = ApiServer::start().await;
    prepare(&server);
    for number in 0..COUNT {
        put_framebuffer(&server, &format!("ring-{number}"));
    }
    let framebuffers = "/apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/";
    let operator = Operator::start(&server, &[]).await;
    let ready = |number: usize| {
        let found = server.get(&format!("{framebuffers}ring-{number}")).unwrap();
        found["status"]["injection"].is_object()
    };
    let rendered = async {
        let mut next = 0;
        while next < COUNT {
            if ready(next) {
                next += 1;
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(3), rendered).await.expect("all are rendered");
    let first = operator.peak_mib();
    drop(operator);
    // The next leader finds them with their statuses, and waits for its predecessor's lease to end.
    let operator = Operator::start(&server, &["--identity=next"]).await;
    let leads = async {
        while operator.metric("framebuffer_operator_reconciliations_total").await.is_none_or(|done| done < COUNT) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(3), leads).await.expect("all are reconciled");
    let second = operator.peak_mib();
    eprintln!("{COUNT} FrameBuffers: peak {first} MiB, of the next leader {second} MiB");
    assert!(first.max(second) < MOST_MIB, "{first} MiB, {second} MiB");
}
