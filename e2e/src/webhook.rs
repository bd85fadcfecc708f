//! The operator's webhook from its clients' point of view: its configuration, its replicas, and their certificates.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::metrics::served;
use crate::namespace::TestNamespace;
use crate::operator::operators;
use crate::settings::{OPERATOR, SYSTEM, is_here};

/// The Secret with the certificates.
pub const SECRET: &str = "framebuffer-operator-tls";
/// The DNS name by which the API server reaches the webhook.
pub const SERVICE: &str = "framebuffer-operator.framebuffer-system.svc";

/// How long a replica may take to answer a new connection.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The webhook's configuration, if it exists.
pub async fn configuration(namespace: &TestNamespace) -> Option<MutatingWebhookConfiguration> {
    namespace.api_all().get_opt(OPERATOR).await.expect("the API server answers")
}

/// Edits the configuration by a JSON patch, as field manager `manager`.
pub async fn edit(namespace: &TestNamespace, manager: &str, patch: Value) {
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).expect("this is a JSON patch"));
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let api = namespace.api_all::<MutatingWebhookConfiguration>();
    api.patch(OPERATOR, &params, &patch).await.expect("the patch is good");
}

/// The CA bundle that the API server trusts, as PEM.
pub fn bundle(configuration: &MutatingWebhookConfiguration) -> Option<String> {
    let bundle = configuration.webhooks.as_ref()?.first()?.client_config.ca_bundle.as_ref()?;
    Some(String::from_utf8_lossy(&bundle.0).into_owned())
}

/// Waits until the API server trusts exactly the CA in the Secret, made by the operator; returns it as PEM. A Secret
/// without the CA's key is not the operator's: the leader is about to replace it.
pub async fn trusted_authority(namespace: &TestNamespace) -> String {
    let mut trusted = None;
    let agreed = async || {
        let secret = namespace.api_in::<Secret>(SYSTEM).get_opt(SECRET).await.expect("the API server answers");
        let entries = secret.and_then(|secret| secret.data).unwrap_or_default();
        let authority = entries.get("ca.crt").map(|entry| String::from_utf8_lossy(&entry.0).into_owned());
        let known = configuration(namespace).await.as_ref().and_then(bundle);
        trusted = authority.filter(|authority| entries.contains_key("ca.key") && known.as_ref() == Some(authority));
        trusted.is_some()
    };
    namespace.until("the API server trusts the CA in the Secret", agreed).await;
    trusted.expect("it was found")
}

/// The expiry of a replica's serving certificate, in seconds, from the replica's metrics.
pub fn expiry(replica: &Pod) -> Option<i64> {
    const METRIC: &str = "framebuffer_operator_certificate_expiry_timestamp_seconds ";
    let text = served(SYSTEM, &replica.name_any(), 8080, "/metrics");
    text.lines().find_map(|line| line.strip_prefix(METRIC)?.trim().parse().ok())
}

/// Makes a new connection to every replica, as an API server would that trusts the current configuration. The API
/// server itself keeps its connections open, and rarely sees a new certificate.
///
/// Returns the number of replicas connected to: 0 where pods cannot be reached from here.
///
/// # Errors
///
/// The certificate of a replica is not trusted.
pub async fn handshakes(namespace: &TestNamespace) -> Result<usize, String> {
    if !is_here() {
        return Ok(0);
    }
    let mut asked = 0;
    for replica in operators(namespace).await.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let address = replica.status.and_then(|status| status.pod_ip).and_then(|ip| ip.parse::<IpAddr>().ok());
        let Some(address) = address else { continue };
        let trusted = configuration(namespace).await.as_ref().and_then(bundle).unwrap_or_default();
        let answer = timeout(HANDSHAKE, handshake(address, &trusted)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
        answer.map_err(|error| format!("{address}: {error}"))?;
        asked += 1;
    }
    Ok(asked)
}

async fn handshake(address: IpAddr, trusted: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(ca.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect((address, 8443)).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(SERVICE).expect("the name is one of DNS");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop).map_err(|error| error.to_string())
}
