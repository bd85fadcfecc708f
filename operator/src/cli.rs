//! The command line. Every flag of `run` can also be set by an environment variable.

#![allow(clippy::doc_markdown, reason = "the descriptions are help texts, which are not Markdown")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::injector::Injector;
use crate::quantity::parse_milli_cpu;
use crate::render::{Probes, Settings};

/// The longest lifetime of a certificate, in seconds: 100 years.
const MAX_LIFETIME: i64 = 3_153_600_000;

/// Injects FrameBuffer rings into labelled pods.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator in a cluster: injection and controller
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print manifests with the sidecar injected
    Inject(InjectArgs),
}

/// Settings of the sidecar in pods.
#[derive(Debug, Clone, Args)]
pub struct SidecarArgs {
    /// Image of the sidecar
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_SIDECAR_IMAGE",
        default_value = concat!("framebuffer-sidecar:", env!("CARGO_PKG_VERSION"))
    )]
    pub sidecar_image: String,
    /// Pull policy of that image; by default Kubernetes' own
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: Option<String>,
    /// Secrets for pulling that image, in the namespaces of the pods; added to those of the pods
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_PULL_SECRETS", value_delimiter = ',', value_name = "NAME")]
    pub sidecar_pull_secrets: Vec<String>,
    /// Leave the sidecar's user and group to the platform, as on OpenShift
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_PLATFORM_USER")]
    pub sidecar_platform_user: bool,
    /// How the kubelet probes the sidecar: by a process in its container, or by a request to its admin port
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_PROBES", value_enum, default_value_t)]
    pub sidecar_probes: Probes,
    /// CPU request of sidecars whose FrameBuffer sets none
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_CPU_REQUEST", value_parser = cpu, default_value = "10m")]
    pub sidecar_cpu_request: String,
    /// CPU limit of sidecars whose FrameBuffer sets none; by default they have no limit
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SIDECAR_CPU_LIMIT", value_parser = cpu)]
    pub sidecar_cpu_limit: Option<String>,
    /// Architectures that the sidecar's image is for, as nodes name them; pods that ask for others get a warning
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_SIDECAR_ARCHITECTURES",
        value_delimiter = ',',
        value_name = "NAME",
        default_value = "amd64"
    )]
    pub sidecar_architectures: Vec<String>,
}

fn cpu(text: &str) -> Result<String, String> {
    let amount = parse_milli_cpu(text).map(|_| text.to_owned());
    amount.ok_or_else(|| "this is not an amount of CPU, as in 100m or 0.5".to_owned())
}

impl SidecarArgs {
    /// The settings for rendering.
    pub fn settings(&self) -> Settings {
        let Self {
            sidecar_image,
            sidecar_pull_policy,
            sidecar_pull_secrets,
            sidecar_platform_user,
            sidecar_probes,
            sidecar_cpu_request,
            sidecar_cpu_limit,
            sidecar_architectures,
        } = self.clone();
        Settings {
            sidecar_image,
            pull_policy: sidecar_pull_policy,
            pull_secrets: sidecar_pull_secrets,
            platform_user: sidecar_platform_user,
            probes: sidecar_probes,
            cpu_request: Some(sidecar_cpu_request),
            cpu_limit: sidecar_cpu_limit,
            architectures: sidecar_architectures,
        }
    }
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Settings of the sidecar in pods.
    #[command(flatten)]
    pub sidecar: SidecarArgs,
    /// The operator's own namespace, for its Secret and Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "framebuffer-system")]
    pub namespace: String,
    /// Name of this replica, unique among all; by default host name and process ID
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Which component injects pods: the API server by a MutatingAdmissionPolicy, or this program as a webhook
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_INJECTION_MODE", value_enum, default_value = "webhook")]
    pub injection_mode: Injector,
    /// Name of the MutatingAdmissionPolicy, with --injection-mode=policy
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_POLICY_NAME", default_value = "framebuffer-operator-inject")]
    pub policy_name: String,
    /// The most names of FrameBuffers that are bound, with --injection-mode=policy; the oldest first
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_MAX_NAMES",
        default_value_t = 1000,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000)
    )]
    pub max_names: usize,
    /// Write no bindings of the policy: only report which names the chart's bindings serve, with
    /// --injection-mode=policy
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_STATIC_BINDINGS")]
    pub static_bindings: bool,
    /// Name of the webhook's Service
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SERVICE_NAME", default_value = "framebuffer-operator")]
    pub service_name: String,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_WEBHOOK_NAME", default_value = "framebuffer-operator")]
    pub webhook_name: String,
    /// Name of the Secret with the webhook's certificates
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_SECRET_NAME", default_value = "framebuffer-operator-tls")]
    pub secret_name: String,
    /// Name of the Lease for the election of a leader
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LEASE_NAME", default_value = "framebuffer-operator")]
    pub lease_name: String,
    /// Serve with cert-manager's certificate from --tls-dir instead of making one
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_CERT_MANAGER", requires = "tls_dir")]
    pub cert_manager: bool,
    /// Folder with tls.crt and tls.key, with --cert-manager
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Lifetime of the CA in seconds; it is replaced after two thirds
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_CA_SECONDS",
        default_value_t = 2 * 365 * 86_400,
        value_parser = clap::value_parser!(i64).range(30..=MAX_LIFETIME)
    )]
    pub ca_seconds: i64,
    /// Lifetime of the serving certificate in seconds; it is replaced after two thirds
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_CERTIFICATE_SECONDS",
        default_value_t = 90 * 86_400,
        value_parser = clap::value_parser!(i64).range(15..=MAX_LIFETIME)
    )]
    pub certificate_seconds: i64,
    /// Restart no workloads: with updateStrategy RollingRestart, only report outdated pods
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_NO_ROLLING_RESTART")]
    pub no_rolling_restart: bool,
    /// The most workloads that roll at once because they were restarted
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_MAX_RESTARTS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_restarts: u16,
    /// Address of the webhook; `[::]` stands for all, IPv4 too
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LISTEN", default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics; `[::]` stands for all, IPv4 too
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_ADMIN", default_value = "[::]:8080")]
    pub admin: SocketAddr,
    /// Seconds after the first signal during which connections are accepted, until no node routes to this replica
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_DRAIN_SECONDS", default_value_t = 5)]
    pub drain_seconds: u64,
    /// Log level
    #[arg(
        long,
        env = "FRAMEBUFFER_OPERATOR_LOG_LEVEL",
        default_value = "info",
        value_parser = ["error", "warn", "info", "debug", "trace"]
    )]
    pub log_level: String,
    /// Log format, on standard error
    #[arg(long, env = "FRAMEBUFFER_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// `inject`.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// Settings of the sidecar in pods.
    #[command(flatten)]
    pub sidecar: SidecarArgs,
    /// YAML file with the FrameBuffers that the manifests name
    #[arg(long)]
    pub framebuffer: PathBuf,
    /// YAML file with pods, Deployments, StatefulSets, DaemonSets, Jobs, CronJobs, ...; standard input if left out
    pub manifests: Option<PathBuf>,
}
