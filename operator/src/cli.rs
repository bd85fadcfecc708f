//! The command line. Every flag of `run` is an environment variable as well.

#![allow(clippy::doc_markdown, reason = "the descriptions are shown as help, which knows no Markdown")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::injector::Injector;
use crate::render::Settings;

/// Injects FrameBuffer rings into labelled pods.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator in a cluster: injector, controller
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print manifests as the webhook would make them
    Inject(InjectArgs),
}

/// What shows in pods.
#[derive(Debug, Clone, Args)]
pub struct SidecarArgs {
    /// Image of the sidecar
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_SIDECAR_IMAGE",
        default_value = concat!("framebuffer-sidecar:", env!("CARGO_PKG_VERSION"))
    )]
    pub sidecar_image: String,
    /// When the kubelet pulls it: Always, IfNotPresent or Never; by default what Kubernetes does
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: Option<String>,
}

impl SidecarArgs {
    /// As rendering takes them.
    pub fn settings(&self) -> Settings {
        let Self { sidecar_image, sidecar_pull_policy } = self.clone();
        Settings { sidecar_image, pull_policy: sidecar_pull_policy }
    }
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What shows in pods.
    #[command(flatten)]
    pub sidecar: SidecarArgs,
    /// The operator's own namespace, for its Secret and Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "framebuffer-system")]
    pub namespace: String,
    /// Name of this replica, which no other has; by default its host name
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Who brings the sidecar into pods: the API server by a MutatingAdmissionPolicy, or this program when it is asked
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_INJECTION_MODE", value_enum, default_value = "webhook")]
    pub injection_mode: Injector,
    /// The MutatingAdmissionPolicy, with --injection-mode=policy
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_POLICY_NAME", default_value = "framebuffer-operator-inject")]
    pub policy_name: String,
    /// The webhook's Service
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SERVICE_NAME", default_value = "framebuffer-operator")]
    pub service_name: String,
    /// The MutatingWebhookConfiguration
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_WEBHOOK_NAME", default_value = "framebuffer-operator")]
    pub webhook_name: String,
    /// The Secret with the webhook's certificates
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SECRET_NAME", default_value = "framebuffer-operator-tls")]
    pub secret_name: String,
    /// The Lease by which replicas elect their leader
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LEASE_NAME", default_value = "framebuffer-operator")]
    pub lease_name: String,
    /// Serve with cert-manager's certificates from --tls-dir, and make none
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_CERT_MANAGER", requires = "tls_dir")]
    pub cert_manager: bool,
    /// Folder with tls.crt and tls.key, with --cert-manager
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Life of the CA in seconds; it is replaced after two thirds
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_CA_SECONDS", default_value_t = 2 * 365 * 86_400, value_parser = clap::value_parser!(i64).range(30..=3_153_600_000))]
    pub ca_seconds: i64,
    /// Life of the serving certificate in seconds; it is replaced after two thirds
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_CERTIFICATE_SECONDS", default_value_t = 90 * 86_400, value_parser = clap::value_parser!(i64).range(15..=3_153_600_000))]
    pub certificate_seconds: i64,
    /// Restart no workloads: with updateStrategy RollingRestart their pods are only reported as outdated
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_NO_ROLLING_RESTART")]
    pub no_rolling_restart: bool,
    /// Where the webhook listens
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// Seconds from the first signal to the end of new connections: the Service forgets this replica meanwhile
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_DRAIN_SECONDS", default_value_t = 5)]
    pub drain_seconds: u64,
    /// How much is logged
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
    /// How it is logged, to standard error
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `inject`.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// What shows in pods.
    #[command(flatten)]
    pub sidecar: SidecarArgs,
    /// YAML file with the FrameBuffers that the manifests name
    #[arg(long)]
    pub framebuffer: PathBuf,
    /// YAML file with pods, Deployments, StatefulSets, DaemonSets, Jobs, CronJobs, ...; standard input if left out
    pub manifests: Option<PathBuf>,
}
