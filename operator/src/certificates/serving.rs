//! [`Serving`]: the current certificate, in every replica.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use super::material::{certificates, read, serving};
use super::trust::trusts;
use crate::client::watching;
use crate::metrics::Metrics;

/// How often cert-manager's files are read. It renews them weeks before they expire.
const FILES_PERIOD: Duration = Duration::from_secs(10);

/// The current certificate. Each TLS handshake uses it; nothing restarts when it changes.
#[derive(Default)]
pub struct Serving {
    current: RwLock<Option<Current>>,
}

struct Current {
    key: Arc<CertifiedKey>,
    /// The PEM texts, to detect a change.
    pem: (String, String),
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().as_ref().map(|current| Arc::clone(&current.key))
    }
}

impl Serving {
    /// Whether there is a certificate.
    pub fn is_loaded(&self) -> bool {
        self.current().is_some()
    }

    /// Whether a client with this `caBundle` trusts the current certificate for `name`.
    pub fn is_trusted(&self, bundle: &str, name: &str) -> bool {
        self.current().as_ref().is_some_and(|current| trusts(bundle, &current.key.cert, name))
    }

    /// Serves with this certificate from now on. On an error the previous one stays.
    ///
    /// # Errors
    ///
    /// Certificate or key cannot be read, or do not belong together.
    ///
    /// # Panics
    ///
    /// Never: nobody panics with the lock that this takes.
    pub fn load(&self, certificate: &str, key: &str, metrics: &Metrics) -> anyhow::Result<()> {
        let pem = (certificate.to_owned(), key.to_owned());
        if self.current().as_ref().is_some_and(|current| current.pem == pem) {
            return Ok(());
        }
        let chain = certificates("tls.crt", certificate)?;
        let facts = read("tls.crt", chain.first().context("there is no serving certificate")?)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("failed to read the serving key")?;
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .context("failed to use the serving certificate")?;
        *self.current.write().expect("nobody panics with this lock") = Some(Current { key: Arc::new(key), pem });
        metrics.certificate_expiry.set(facts.not_after.as_second());
        info!(until = %facts.not_after, "serving with a new certificate");
        Ok(())
    }

    fn current(&self) -> std::sync::RwLockReadGuard<'_, Option<Current>> {
        self.current.read().expect("nobody panics with this lock")
    }

    /// Follows the Secret that the leader writes. If it is deleted or unusable, the current certificate stays.
    pub async fn follow_secret(&self, api: Api<Secret>, name: &str, metrics: &Metrics) {
        let config = watching().fields(&format!("metadata.name={name}"));
        let mut secrets = pin!(watcher(api, config).default_backoff().applied_objects());
        while let Some(secret) = secrets.next().await {
            let loaded = match secret {
                Ok(secret) => serving(secret.data.as_ref())
                    .map_err(anyhow::Error::from)
                    .and_then(|(certificate, key)| self.load(&certificate, &key, metrics)),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = loaded {
                warn!(error = format!("{error:#}"), "failed to take the certificate from the Secret");
            }
        }
    }

    /// Follows the files of a mounted Secret of cert-manager. Polls them: a mounted Secret changes by a renamed link,
    /// which file watches miss.
    pub async fn follow_files(&self, folder: PathBuf, metrics: &Metrics) {
        loop {
            if let Err(error) = self.load_files(&folder, metrics) {
                warn!(error = format!("{error:#}"), "failed to take the certificate from files");
            }
            tokio::time::sleep(FILES_PERIOD).await;
        }
    }

    /// Reads small files in memory: this does not block the runtime noticeably.
    fn load_files(&self, folder: &Path, metrics: &Metrics) -> anyhow::Result<()> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        self.load(&read("tls.crt")?, &read("tls.key")?, metrics)
    }
}
