//! [`Material`]: certificates and keys, as stored in the Secret.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::plan::{Certificate, Facts};

/// Names of the Secret's entries. `ca.crt`, `tls.crt` and `tls.key` are named as in a Secret of cert-manager.
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Certificates and keys, in PEM. The keys are secret: `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// CAs, the newest first.
    pub cas: String,
    /// Key of the newest CA.
    pub ca_key: String,
    /// Serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("cas", &self.cas)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why certificates cannot be used.
#[derive(Debug, Error)]
pub enum Unusable {
    /// An entry is missing, or is no text.
    #[error("entry {0} is missing or is not text")]
    Entry(&'static str),
    /// Not PEM.
    #[error("{0} is not PEM: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// Not a certificate.
    #[error("{0} is not a certificate that can be read")]
    Certificate(&'static str),
}

impl Material {
    /// Reads the data of a Secret.
    ///
    /// # Errors
    ///
    /// An entry is missing.
    pub fn read(data: Option<&BTreeMap<String, ByteString>>) -> Result<Self, Unusable> {
        let (certificate, key) = serving(data)?;
        Ok(Self { cas: entry(data, CA)?, ca_key: entry(data, CA_KEY)?, certificate, key })
    }

    /// The data for a Secret.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let Self { cas, ca_key, certificate, key } = self;
        let entries = [(CA, cas), (CA_KEY, ca_key), (CERTIFICATE, certificate), (KEY, key)];
        entries.map(|(name, pem)| (name.to_owned(), ByteString(pem.clone().into_bytes()))).into()
    }

    /// Parses the certificates.
    ///
    /// # Errors
    ///
    /// One of them cannot be read.
    pub fn facts(&self) -> Result<Facts, Unusable> {
        let cas = certificates(CA, &self.cas)?.iter().map(|der| read(CA, der)).collect::<Result<_, _>>()?;
        let serving = certificates(CERTIFICATE, &self.certificate)?;
        let serving = read(CERTIFICATE, serving.first().ok_or(Unusable::Certificate(CERTIFICATE))?)?;
        Ok(Facts { cas, serving })
    }
}

/// Serving certificate and key in a Secret's data. The CA's key may be missing: a Secret of cert-manager, which lacks
/// it, is served until the leader has replaced it.
///
/// # Errors
///
/// An entry is missing.
pub fn serving(data: Option<&BTreeMap<String, ByteString>>) -> Result<(String, String), Unusable> {
    Ok((entry(data, CERTIFICATE)?, entry(data, KEY)?))
}

fn entry(data: Option<&BTreeMap<String, ByteString>>, name: &'static str) -> Result<String, Unusable> {
    let bytes = data.and_then(|data| data.get(name)).filter(|bytes| !bytes.0.is_empty());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    text.ok_or(Unusable::Entry(name))
}

/// The certificates in a PEM text.
///
/// # Errors
///
/// It is not PEM.
pub fn certificates(name: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let pem_error = |error| Unusable::Pem(name, error);
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(pem_error)
}

/// Parses a certificate.
///
/// # Errors
///
/// It cannot be read.
pub fn read(name: &'static str, der: &CertificateDer<'_>) -> Result<Certificate, Unusable> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unusable::Certificate(name))?;
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| Unusable::Certificate(name));
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    Ok(Certificate {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        names: names
            .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
            .collect(),
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
    })
}
