//! [`render`]: the one place that decides what is injected. Whoever carries it into pods (the webhook, the command line,
//! the API server from `status.injection`) adds nothing of its own.

use framebuffer_contract::variables;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, Lifecycle,
    LifecycleHandler, ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use framebuffer_contract::kubernetes::{ADMIN_PORT, PORT, SIDECAR, VOLUME};

use crate::api::SidecarResources;
use crate::quantity::parse_milli_cpu;
use crate::validate::ValidSpec;

/// The sidecar's program in its image. Probes name it in full: the image has no shell and no `PATH`.
const PROGRAM: &str = "/framebuffer-sidecar";

/// How long a sidecar may take until its ring is there: a ring of 1 TiB takes minutes.
const START_SECONDS: u16 = 600;

/// Any user but root: the pod's programs join the ring by its file mode, not by their user.
const USER: i64 = 65532;

const CPU_REQUEST: &str = "10m";

/// What the operator itself is set to, as far as it shows in pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the sidecar.
    pub sidecar_image: String,
    /// When the kubelet pulls it; `None` leaves it to Kubernetes.
    pub pull_policy: Option<String>,
}

/// What is injected into a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// Identifies the rest.
    pub hash: String,
    /// Content.
    pub content: Content,
}

/// Everything that is injected into a pod but its hash.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Content {
    /// Who gets the mount and the environment; `None` for all containers.
    pub containers: Option<Vec<String>>,
    /// The first init container.
    pub sidecar: Container,
    /// The ring's memory.
    pub volume: Volume,
    /// Its mount in the chosen containers.
    pub volume_mount: VolumeMount,
    /// Environment of the chosen containers.
    pub env: Vec<EnvVar>,
}

impl Rendering {
    /// The sidecar's ports.
    pub fn ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.content.sidecar.ports.iter().flatten()
    }
}

/// Renders what is injected. The same arguments give the same hash.
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
    };
    Rendering { hash: hash(&content), content }
}

/// 64 bits of SHA-256: it tells versions of one `FrameBuffer` apart, and keeps no secret.
fn hash(content: &Content) -> String {
    let json = serde_json::to_vec(content).expect("containers, volumes and variables have string keys only");
    let digest = Sha256::digest(json);
    digest.iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

fn sidecar(spec: &ValidSpec, settings: &Settings) -> Container {
    Container {
        name: SIDECAR.to_owned(),
        image: Some(settings.sidecar_image.clone()),
        image_pull_policy: settings.pull_policy.clone(),
        args: Some(vec!["serve".to_owned()]),
        env: Some(environment(spec)),
        ports: Some(vec![port(PORT, spec.port), port(ADMIN_PORT, spec.admin_port)]),
        // A native sidecar: it starts before the pod's containers, and a Job does not wait for its end.
        restart_policy: Some("Always".to_owned()),
        lifecycle: Some(Lifecycle { post_start: Some(until_ready()), ..Lifecycle::default() }),
        readiness_probe: Some(probe(10, 3)),
        liveness_probe: Some(probe(30, 4)),
        resources: Some(resources(spec)),
        security_context: Some(security_context()),
        // A ring that is too large ends the sidecar with one line that says so: that line belongs into the pod's status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![volume_mount(spec)]),
        ..Container::default()
    }
}

/// All of it in the environment rather than among the arguments, so that the image's tools (`stat`, `doctor`,
/// `healthcheck`) know the ring when somebody runs them with `kubectl exec`.
fn environment(spec: &ValidSpec) -> Vec<EnvVar> {
    let uid = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.uid".to_owned() };
    let key = EnvVarSource { field_ref: Some(uid), ..EnvVarSource::default() };
    vec![
        // The pod's UID: the ring outlives a sidecar that is restarted, and no other pod has its name.
        EnvVar { name: variables::KEY.to_owned(), value: None, value_from: Some(key) },
        variable(variables::SIZE, spec.size.clone()),
        variable(variables::KEEP, "true"),
        // The pod's containers may run as any user.
        variable(variables::MODE, "0666"),
        variable(variables::DIR, spec.mount_path.clone()),
        variable(variables::LISTEN, format!("127.0.0.1:{}", spec.port)),
        variable(variables::ADMIN, format!("0.0.0.0:{}", spec.admin_port)),
        variable(variables::LOG_LEVEL, spec.log_level.as_str()),
    ]
}

/// Both ports are declared, also the one on loopback: in a pod on the host's network the scheduler then keeps two such
/// pods apart.
fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// The kubelet starts no other container before this has ended. A startup probe would do the same, and cost each pod a
/// second and more: the kubelet probes in whole seconds, and not before the first of them is over.
fn until_ready() -> LifecycleHandler {
    let command = vec![PROGRAM.to_owned(), "healthcheck".to_owned(), format!("--wait={START_SECONDS}")];
    LifecycleHandler { exec: Some(ExecAction { command: Some(command) }), ..LifecycleHandler::default() }
}

/// A process in the container instead of a request to the pod's address: service meshes and network policies may keep
/// the kubelet's requests from a container that starts before them.
fn probe(period: i32, failures: i32) -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(vec![PROGRAM.to_owned(), "healthcheck".to_owned()]) }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// What the user set, and else: memory for the ring as request and limit, a small request of CPU.
fn resources(spec: &ValidSpec) -> ResourceRequirements {
    let SidecarResources { requests, limits } = spec.resources.clone();
    let (requests, limits) = (requests.unwrap_or_default(), limits.unwrap_or_default());
    let computed = spec.memory.sidecar();
    // The user's request may be above the computed limit; validation has seen to it that it is not below.
    let memory_limit = limits.memory.or_else(|| requests.memory.clone()).unwrap_or(computed);
    let memory_request = requests.memory.unwrap_or_else(|| memory_limit.clone());
    let small = limits.cpu.as_deref().and_then(parse_milli_cpu).is_some_and(|limit| limit < 10);
    let cpu_default = if small { limits.cpu.clone() } else { None }.unwrap_or_else(|| CPU_REQUEST.to_owned());
    let cpu_request = requests.cpu.unwrap_or(cpu_default);
    let amount = |name: &str, amount: String| (name.to_owned(), Quantity(amount));
    let cpu_limit = limits.cpu.map(|limit| amount("cpu", limit));
    ResourceRequirements {
        requests: Some([amount("cpu", cpu_request), amount("memory", memory_request)].into()),
        limits: Some(cpu_limit.into_iter().chain([amount("memory", memory_limit)]).collect()),
        ..ResourceRequirements::default()
    }
}

/// What the restricted Pod Security Standard asks for, and a root file system that cannot be written.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
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
