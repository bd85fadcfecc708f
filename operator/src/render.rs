//! [`render`]: the one place that decides the content of an injection. What applies it to pods (the webhook, the
//! command line, the API server from `status.injection`) adds nothing of its own.

use clap::ValueEnum;
use framebuffer_contract::kubernetes::{ADMIN_PORT, PORT, SIDECAR, VOLUME};
use framebuffer_contract::variables;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, HTTPGetAction,
    Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector, Probe, ResourceRequirements,
    SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::api::SidecarResources;
use crate::quantity::parse_milli_cpu;
use crate::validate::ValidSpec;

/// The sidecar's program in its image. Probes need the full path: the image has no shell and no `PATH`.
const PROGRAM: &str = "/framebuffer-sidecar";

/// The path on its admin port that says whether it is ready; `healthcheck` asks for it too.
const READY_PATH: &str = "/readyz";

/// How long a sidecar may take to create its ring: one of 1 TiB takes minutes.
const START_SECONDS: u16 = 600;

/// A user other than root; which one does not matter: the file mode lets the pod's programs join the ring.
const USER: i64 = 65532;

const CPU_REQUEST: &str = "10m";

/// How the kubelet asks whether the sidecar is ready; chosen by the flag `--sidecar-probes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Probes {
    /// By a process in the container, which asks the admin port over loopback. Service meshes and network policies may
    /// block the kubelet's requests to a container that starts before them, so this is the default.
    #[default]
    Exec,
    /// By a request to the admin port at the pod's address, which costs a node far less.
    Http,
}

/// The operator's own settings that affect injected pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Image of the sidecar.
    pub sidecar_image: String,
    /// Its pull policy; `None` leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// Names of Secrets for pulling it, in the pods' namespaces; a `FrameBuffer` may add more.
    pub pull_secrets: Vec<String>,
    /// Whether user and group are the platform's choice, as on `OpenShift`, rather than [`USER`].
    pub platform_user: bool,
    /// How the kubelet probes the sidecar.
    pub probes: Probes,
    /// CPU request of sidecars whose `FrameBuffer` sets none; `None` for [`CPU_REQUEST`].
    pub cpu_request: Option<String>,
    /// CPU limit of sidecars whose `FrameBuffer` sets none; `None` for no limit.
    pub cpu_limit: Option<String>,
    /// The architectures that the sidecar's image is for, as nodes name them; none if that is not known.
    pub architectures: Vec<String>,
}

/// The content of an injection, with its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// Identifies the content.
    pub hash: String,
    /// Content.
    pub content: Content,
    /// [`Settings::architectures`], for warnings. Not part of the content: it changes nothing in pods.
    pub architectures: Vec<String>,
}

/// The content of an injection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Content {
    /// The containers that get the mount and the environment; `None` for all.
    pub containers: Option<Vec<String>>,
    /// The first init container.
    pub sidecar: Container,
    /// The ring's memory.
    pub volume: Volume,
    /// The mount in the chosen containers.
    pub volume_mount: VolumeMount,
    /// The environment of the chosen containers.
    pub env: Vec<EnvVar>,
    /// Secrets for pulling the sidecar's image, added to those of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

impl Rendering {
    /// The sidecar's ports.
    pub fn ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.content.sidecar.ports.iter().flatten()
    }
}

/// Renders the content of an injection. Equal arguments give equal hashes.
pub fn render(spec: &ValidSpec, settings: &Settings) -> Rendering {
    let content = Content {
        containers: spec.containers.clone(),
        sidecar: sidecar(spec, settings),
        volume: volume(spec),
        volume_mount: volume_mount(spec),
        env: vec![
            variable(variables::URL, format!("http://127.0.0.1:{}", spec.port)),
            variable(variables::DIR, spec.mount_path.clone()),
        ],
        image_pull_secrets: pull_secrets(spec, settings),
    };
    Rendering { hash: hash(&content), content, architectures: settings.architectures.clone() }
}

/// 64 bits of SHA-256: it distinguishes versions of one `FrameBuffer`, and protects no secret.
fn hash(content: &Content) -> String {
    let json = serde_json::to_vec(content).expect("containers, volumes and variables have string keys only");
    let digest = Sha256::digest(json);
    digest.iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

/// The operator's own, then those of the `FrameBuffer`.
fn pull_secrets(spec: &ValidSpec, settings: &Settings) -> Vec<LocalObjectReference> {
    let further = spec.pull_secrets.iter().filter(|name| !settings.pull_secrets.contains(name));
    let names = settings.pull_secrets.iter().chain(further);
    names.map(|name| LocalObjectReference { name: name.clone() }).collect()
}

fn sidecar(spec: &ValidSpec, settings: &Settings) -> Container {
    Container {
        name: SIDECAR.to_owned(),
        image: Some(settings.sidecar_image.clone()),
        image_pull_policy: settings.pull_policy.clone(),
        args: Some(vec!["serve".to_owned()]),
        env: Some(environment(spec)),
        ports: Some(vec![port(PORT, spec.port), port(ADMIN_PORT, spec.admin_port)]),
        // A native sidecar: it starts before the pod's containers, and a Job completes without it.
        restart_policy: Some("Always".to_owned()),
        lifecycle: Some(Lifecycle { post_start: Some(until_ready()), ..Lifecycle::default() }),
        readiness_probe: Some(probe(settings.probes, 10, 3)),
        liveness_probe: Some(probe(settings.probes, 30, 4)),
        resources: Some(resources(spec, settings)),
        security_context: Some(security_context(settings)),
        // If the ring is too large, the sidecar exits with one line of explanation, which belongs in the pod's status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![volume_mount(spec)]),
        ..Container::default()
    }
}

/// Environment rather than arguments, so that the image's tools (`stat`, `doctor`, `healthcheck`) find the ring when
/// run with `kubectl exec`.
fn environment(spec: &ValidSpec) -> Vec<EnvVar> {
    let uid = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.uid".to_owned() };
    let key = EnvVarSource { field_ref: Some(uid), ..EnvVarSource::default() };
    let mut environment = vec![
        // The pod's UID: a restarted sidecar finds its ring again, and no other pod has the same key.
        EnvVar { name: variables::KEY.to_owned(), value: None, value_from: Some(key) },
        variable(variables::SIZE, spec.size.clone()),
        variable(variables::KEEP, "true"),
        // The pod's containers may run as any user.
        variable(variables::MODE, "0666"),
        variable(variables::DIR, spec.mount_path.clone()),
        variable(variables::LISTEN, format!("127.0.0.1:{}", spec.port)),
        variable(variables::ADMIN, format!("[::]:{}", spec.admin_port)),
        variable(variables::LOG_LEVEL, spec.log_level.as_str()),
    ];
    // Only where it is asked for: the injection of all others stays what it is.
    environment.extend(spec.window.as_ref().map(|window| variable(variables::WINDOW, window.clone())));
    environment
}

/// Both ports are declared, even the one on loopback: the scheduler then keeps two pods on the host's network apart.
fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// The kubelet starts no other container before this hook has ended. A startup probe would do the same but cost each
/// pod more than a second: the kubelet probes in whole seconds, and not before the first is over. It is a process
/// whatever the probes are: the kubelet sends a hook's request once, and the ring may take longer.
fn until_ready() -> LifecycleHandler {
    let command = vec![PROGRAM.to_owned(), "healthcheck".to_owned(), format!("--wait={START_SECONDS}")];
    LifecycleHandler { exec: Some(ExecAction { command: Some(command) }), ..LifecycleHandler::default() }
}

/// Either way [`READY_PATH`] is asked for, so both find the same faults.
fn probe(probes: Probes, period: i32, failures: i32) -> Probe {
    let exec = || ExecAction { command: Some(vec![PROGRAM.to_owned(), "healthcheck".to_owned()]) };
    let request = || HTTPGetAction {
        path: Some(READY_PATH.to_owned()),
        port: IntOrString::String(ADMIN_PORT.to_owned()),
        ..HTTPGetAction::default()
    };
    Probe {
        exec: (probes == Probes::Exec).then(exec),
        http_get: (probes == Probes::Http).then(request),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The user's amounts; by default memory for the ring as request and limit, and a small CPU request.
fn resources(spec: &ValidSpec, settings: &Settings) -> ResourceRequirements {
    let SidecarResources { requests, limits } = spec.resources.clone();
    let (requests, limits) = (requests.unwrap_or_default(), limits.unwrap_or_default());
    let computed = spec.memory.sidecar();
    // The user's request may be above the computed limit; validation ensures that it is not below.
    let memory_limit = limits.memory.or_else(|| requests.memory.clone()).unwrap_or(computed);
    let memory_request = requests.memory.unwrap_or_else(|| memory_limit.clone());
    let cpu_limit = limits.cpu.or_else(|| {
        let limit = settings.cpu_limit.clone()?;
        // Validation has compared the user's request with the user's limit only.
        Some(requests.cpu.clone().filter(|request| is_less(&limit, request)).unwrap_or(limit))
    });
    let cpu_request = requests.cpu.unwrap_or_else(|| {
        let request = settings.cpu_request.clone().unwrap_or_else(|| CPU_REQUEST.to_owned());
        cpu_limit.clone().filter(|limit| is_less(limit, &request)).unwrap_or(request)
    });
    let amount = |name: &str, amount: String| (name.to_owned(), Quantity(amount));
    let cpu_limit = cpu_limit.map(|limit| amount("cpu", limit));
    ResourceRequirements {
        requests: Some([amount("cpu", cpu_request), amount("memory", memory_request)].into()),
        limits: Some(cpu_limit.into_iter().chain([amount("memory", memory_limit)]).collect()),
        ..ResourceRequirements::default()
    }
}

/// Of two amounts of CPU.
fn is_less(left: &str, right: &str) -> bool {
    parse_milli_cpu(left) < parse_milli_cpu(right)
}

/// Meets the restricted Pod Security Standard, with a read-only root file system. The image's own user, which
/// Kubernetes takes if nobody chooses another, is not root either.
fn security_context(settings: &Settings) -> SecurityContext {
    let user = (!settings.platform_user).then_some(USER);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_group: user,
        run_as_non_root: Some(true),
        run_as_user: user,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

fn volume(spec: &ValidSpec) -> Volume {
    let memory =
        EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: Some(Quantity(spec.memory.volume())) };
    Volume { name: VOLUME.to_owned(), empty_dir: Some(memory), ..Volume::default() }
}

fn volume_mount(spec: &ValidSpec) -> VolumeMount {
    VolumeMount { name: VOLUME.to_owned(), mount_path: spec.mount_path.clone(), ..VolumeMount::default() }
}

fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}
