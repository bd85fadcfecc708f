//! [`Operator`]: the program, and requests to it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api_server::ApiServer;

pub(crate) const WEBHOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/framebuffer-operator";

/// A running operator; it is killed when this is dropped.
pub(crate) struct Operator {
    process: Child,
    kubeconfig: PathBuf,
    pub(crate) webhook: u16,
    admin: u16,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

/// A port that was free a moment ago. Not from the range of which the kernel takes those of clients.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
    let mut candidates = (start..).map(|number| 12_000 + u16::try_from(number % 20_000).unwrap());
    candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

impl Operator {
    /// Starts it with more arguments, and waits until it is ready.
    pub(crate) async fn start(server: &ApiServer, arguments: &[&str]) -> Self {
        Self::start_at(server.address, arguments).await
    }

    /// The same, with another address of the API server.
    pub(crate) async fn start_at(server: SocketAddr, arguments: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("kubeconfig-{}-{number}.json", std::process::id());
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let named = |kind: &str, content: Value| json!([{"name": "x", kind: content}]);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": named("cluster", json!({"server": format!("http://{server}")})),
            "users": named("user", json!({})),
            "contexts": named("context", json!({"cluster": "x", "user": "x"})),
            "current-context": "x",
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let (webhook, admin) = (free_port(), free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_framebuffer-operator"))
            .args(["run", "--drain-seconds=0", "--log-level=warn"])
            .args([format!("--listen=127.0.0.1:{webhook}"), format!("--admin=127.0.0.1:{admin}")])
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut operator = Self { process, kubeconfig, webhook, admin };
        let ready = async {
            while operator.get("/readyz").await.is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
                assert!(operator.process.try_wait().unwrap().is_none(), "the operator has ended");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), ready).await.expect("the operator becomes ready");
        operator
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> Option<usize> {
        let text = self.get("/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Asks the admin port.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// A line of `/proc/<pid>/status` in KiB.
    fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches(|other: char| !other.is_ascii_digit()).parse().unwrap()
    }

    /// The most memory so far in MiB. Without the pages of the program's own file, which the kernel can take back.
    pub(crate) fn peak_mib(&self) -> u64 {
        (self.kib("VmHWM:") - self.kib("RssFile:")) >> 10
    }

    /// The memory now in MiB, likewise.
    pub(crate) fn now_mib(&self) -> u64 {
        self.kib("RssAnon:") >> 10
    }

    /// Connects to the webhook as the API server would.
    pub(crate) async fn connect(&self, server: &ApiServer) -> std::io::Result<TlsStream<TcpStream>> {
        let configuration = server.get(WEBHOOK).unwrap();
        let bundle: k8s_openapi::ByteString =
            serde_json::from_value(configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle.0).map(Result::unwrap));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let name = ServerName::try_from("framebuffer-operator.framebuffer-system.svc").unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.webhook)).await?;
        TlsConnector::from(config).connect(name, stream).await
    }

    /// Sends a review; the answer's head and body.
    pub(crate) async fn post(&self, server: &ApiServer, body: &str) -> std::io::Result<String> {
        let mut stream = self.connect(server).await?;
        let head = format!(
            "POST /mutate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // A refusal may come before all has been sent.
        let _ = stream.write_all(body.as_bytes()).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Puts what the operator needs in webhook mode: its webhook's configuration, and a `FrameBuffer` `ring` in `video`.
pub(crate) fn prepare(server: &ApiServer) {
    let webhooks = json!([{
        "name": "inject.framebuffer.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "framebuffer-operator", "namespace": "framebuffer-system"}},
        "sideEffects": "None",
    }]);
    let annotations = json!({"framebuffer.dev/webhooks": webhooks.to_string()});
    let metadata = json!({"name": "framebuffer-operator", "annotations": annotations});
    server.put(WEBHOOK, json!({"metadata": metadata, "webhooks": webhooks}));
    put_framebuffer(server, "ring");
}

/// Puts a `FrameBuffer` in `video`.
pub(crate) fn put_framebuffer(server: &ApiServer, name: &str) {
    server.put(
        &format!("/apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/{name}"),
        json!({
            "apiVersion": "framebuffer.dev/v1alpha1",
            "kind": "FrameBuffer",
            "metadata": {"name": name, "namespace": "video", "uid": name, "generation": 1},
            "spec": {"size": "1Mi"},
        }),
    );
}
