//! [`trusts`]: the check that the API server makes at each connection to the webhook.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::material::certificates;

/// Whether a client with this `caBundle` trusts this chain of a server called `name`, now.
pub fn trusts(bundle: &str, chain: &[CertificateDer<'_>], name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("caBundle", bundle).unwrap_or_default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        // There is no CA in it.
        return false;
    };
    let (Some((end, intermediates)), Ok(name)) = (chain.split_first(), ServerName::try_from(name)) else {
        return false;
    };
    verifier.verify_server_cert(end, intermediates, &name, &[], UnixTime::now()).is_ok()
}
