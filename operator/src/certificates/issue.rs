//! Makes the certificates for the steps of [`super::plan`].

use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::material::{Material, certificates, read};
use super::plan::{BACKDATE, Lifetimes};

/// Prefix of our CAs' names. The time follows: a serving certificate names its CA as issuer.
const CA_NAME: &str = "framebuffer-operator CA";

/// The most old CAs that are kept: more than rotations ever leave behind.
const OLD_CAS: usize = 4;

/// Makes a new CA and a serving certificate. `trusted` is the bundle that the API server trusts so far: our own CAs in
/// it are kept, since replicas may still serve with their certificates.
///
/// # Errors
///
/// A key cannot be generated, or a name cannot be in a certificate.
pub fn create(trusted: &str, names: &[String], lifetimes: &Lifetimes, now: Timestamp) -> anyhow::Result<Material> {
    let (ca, ca_key) = new_ca(lifetimes, now)?;
    let material = Material { cas: ca + &ours(trusted, now), ca_key, certificate: String::new(), key: String::new() };
    issue(&material, names, lifetimes, now)
}

/// Returns the material with a new CA in front; the serving certificate stays.
///
/// # Errors
///
/// A key cannot be generated.
pub fn add_ca(material: &Material, lifetimes: &Lifetimes, now: Timestamp) -> anyhow::Result<Material> {
    let (ca, ca_key) = new_ca(lifetimes, now)?;
    Ok(Material { cas: ca + &ours(&material.cas, now), ca_key, ..material.clone() })
}

/// Returns the material with a new serving certificate, signed by the newest CA.
///
/// # Errors
///
/// The CA or its key cannot be read, or a name cannot be in a certificate.
pub fn issue(material: &Material, names: &[String], lifetimes: &Lifetimes, now: Timestamp) -> anyhow::Result<Material> {
    let ca_key = KeyPair::from_pem(&material.ca_key).context("failed to read the CA's key")?;
    let issuer = Issuer::from_ca_cert_pem(&material.cas, ca_key).context("failed to read the CA")?;
    let mut params = CertificateParams::new(names).context("failed to name the serving certificate")?;
    params.distinguished_name = named(names.first().map_or("framebuffer-operator", String::as_str));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    live(&mut params, lifetimes.serving, now);
    let key = KeyPair::generate().context("failed to generate a key")?;
    let certificate = params.signed_by(&key, &issuer).context("failed to sign the serving certificate")?;
    Ok(Material { certificate: certificate.pem(), key: key.serialize_pem(), ..material.clone() })
}

/// Returns the material with the newest CA alone.
///
/// # Errors
///
/// The CAs cannot be read.
pub fn prune(material: &Material) -> anyhow::Result<Material> {
    let cas = certificates("ca.crt", &material.cas)?;
    let newest = cas.first().context("there is no CA")?;
    Ok(Material { cas: pem(newest), ..material.clone() })
}

fn new_ca(lifetimes: &Lifetimes, now: Timestamp) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("{CA_NAME} {}", now.as_millisecond()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    live(&mut params, lifetimes.ca, now);
    let key = KeyPair::generate().context("failed to generate a key")?;
    let ca = params.self_signed(&key).context("failed to sign the CA")?;
    Ok((ca.pem(), key.serialize_pem()))
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn live(params: &mut CertificateParams, life: SignedDuration, now: Timestamp) {
    let time = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = time(now - BACKDATE);
    params.not_after = time(now + life);
}

/// The CAs in a bundle that are ours and have not expired. Whatever else was written there is no longer trusted.
fn ours(bundle: &str, now: Timestamp) -> String {
    let cas = certificates("ca.crt", bundle).unwrap_or_default();
    let ours = cas.iter().filter(|der| {
        let named = |subject: &[u8]| subject.windows(CA_NAME.len()).any(|window| window == CA_NAME.as_bytes());
        read("ca.crt", der).is_ok_and(|ca| named(&ca.subject) && now < ca.not_after)
    });
    ours.take(OLD_CAS).map(pem).collect()
}

fn pem(der: &rustls::pki_types::CertificateDer<'_>) -> String {
    let base64 = serde_json::to_value(k8s_openapi::ByteString(der.to_vec())).unwrap_or_default();
    let base64 = base64.as_str().unwrap_or_default();
    let lines = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}
