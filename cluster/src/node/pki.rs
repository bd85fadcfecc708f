//! Keys and certificates, of an authority that is valid for this cluster alone and is removed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{NODE, NODE_ADDRESS};
use crate::command::output;
use crate::state::State;

/// Makes all keys and certificates.
pub(super) fn make(state: &State) -> Result<()> {
    let folder = state.path("pki");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let pki = Pki { folder };
    pki.authority()?;
    let names = format!("IP:127.0.0.1,IP:{NODE_ADDRESS},IP:10.98.0.1,DNS:localhost,DNS:kubernetes.default.svc");
    pki.certificate("apiserver", "/CN=kube-apiserver", &names)?;
    pki.certificate("admin", "/O=system:masters/CN=admin", "DNS:admin")?;
    let names = format!("DNS:{NODE},IP:{NODE_ADDRESS}");
    pki.certificate("kubelet", &format!("/O=system:nodes/CN=system:node:{NODE}"), &names)?;
    // Signs the tokens of service accounts.
    pki.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key"])
}

struct Pki {
    folder: PathBuf,
}

impl Pki {
    fn authority(&self) -> Result<()> {
        let certificate = ["req", "-x509", "-subj", "/CN=framebuffer-e2e", "-days", "365"];
        self.openssl(&[&certificate[..], &["-keyout", "ca.key", "-out", "ca.crt"], NEW_KEY].concat())
    }

    /// Makes a certificate for servers and clients.
    fn certificate(&self, name: &str, subject: &str, names: &str) -> Result<()> {
        let file = |ending: &str| format!("{name}.{ending}");
        let (key, request, extensions) = (file("key"), file("csr"), file("ext"));
        let text = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n");
        fs::write(self.folder.join(&extensions), text).context("failed to write a certificate's extensions")?;
        self.openssl(&[&["req", "-subj", subject, "-keyout", &key, "-out", &request][..], NEW_KEY].concat())?;
        let authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "365"];
        let certificate = file("crt");
        let files = ["-in", &request, "-out", &certificate, "-extfile", &extensions];
        self.openssl(&[&["x509", "-req"][..], &authority, &files].concat())
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        output(Command::new("openssl").args(arguments).current_dir(&self.folder)).map(drop)
    }
}

const NEW_KEY: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// The path of one of these files.
pub(super) fn file(state: &State, name: &str) -> String {
    state.path(Path::new("pki").join(name)).display().to_string()
}
