//! [`validate`]: the one place that decides whether a `FrameBuffer` is valid. Webhook, controller and command line
//! share it, so that they cannot disagree.

use kube::ResourceExt as _;
use thiserror::Error;

use crate::api::{
    FrameBuffer, FrameBufferSpec, LogLevel, MAX_NAME, MAX_SECRET, MAX_SIZE, MIN_PORT, MIN_SIZE, PullSecret,
    ResourceAmounts, SidecarResources, SidecarSpec, UpdateKind, UpdateStrategy,
};
use crate::memory::Memory;
use crate::quantity::{parse_bytes, parse_milli_cpu};

/// A `FrameBuffer` whose every value has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidSpec {
    /// Name of the `FrameBuffer`.
    pub name: String,
    /// The size as the user wrote it.
    pub size: String,
    /// How much of the ring is in use while nobody holds frames, as the user wrote it.
    pub window: Option<String>,
    /// Memory that the ring needs.
    pub memory: Memory,
    /// The containers that get the ring; `None` for all.
    pub containers: Option<Vec<String>>,
    /// The path of the mount; absolute, without a trailing slash.
    pub mount_path: String,
    /// Port of the API.
    pub port: u16,
    /// Port of health and metrics.
    pub admin_port: u16,
    /// The sidecar's log level.
    pub log_level: LogLevel,
    /// Requests and limits that the user set.
    pub resources: SidecarResources,
    /// Names of Secrets for pulling the sidecar's image.
    pub pull_secrets: Vec<String>,
    /// What happens to outdated pods.
    pub update: UpdateKind,
}

/// Why a `FrameBuffer` is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The name does not fit into a label.
    #[error(
        "metadata.name `{name}` has {} characters; pods name it in a label, which holds at most {MAX_NAME}",
        name.len()
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Not an amount of bytes.
    #[error("{field} `{value}` is not an amount of memory, as in 500Mi or 1.5Gi")]
    NotBytes {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// Not an amount of CPU.
    #[error("{field} `{value}` is not an amount of CPU, as in 100m or 0.5")]
    NotCpu {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// Outside the bounds.
    #[error("spec.size `{size}` is {bytes} bytes; it must be from 64Ki ({MIN_SIZE}) to 1Ti ({MAX_SIZE})")]
    Size {
        /// As written.
        size: String,
        /// In bytes.
        bytes: u64,
    },
    /// No container is chosen, or one is named twice.
    #[error("spec.containers {0}; name each container once, or leave the list out to choose all")]
    Containers(String),
    /// The path cannot be mounted.
    #[error("spec.mountPath `{path}` {reason}")]
    MountPath {
        /// The path.
        path: String,
        /// The reason.
        reason: &'static str,
    },
    /// Not the name of a Secret.
    #[error(
        "spec.imagePullSecrets names `{name}`, which is no name of a Secret: up to {MAX_SECRET} lowercase letters, \
         digits, `-` and `.`"
    )]
    PullSecret {
        /// The name.
        name: String,
    },
    /// A port that the sidecar cannot use.
    #[error("{field} is {port}; it must be from {MIN_PORT} to {}", u16::MAX)]
    Port {
        /// The field.
        field: &'static str,
        /// The port.
        port: u16,
    },
    /// Two listeners on one port.
    #[error("spec.sidecar.port and spec.sidecar.adminPort are both {0}; they must differ")]
    SamePort(u16),
    /// The memory cannot hold the ring.
    #[error("{field} `{value}` is {bytes} bytes; the ring and its sidecar need {needed}, or leave it out")]
    TooLittleMemory {
        /// The field.
        field: &'static str,
        /// As written.
        value: String,
        /// In bytes.
        bytes: u64,
        /// In bytes.
        needed: u64,
    },
    /// Not a window.
    #[error("spec.window `{value}` is neither whole nor auto nor an amount of memory, as in 64Mi")]
    Window {
        /// The value.
        value: String,
    },
    /// More is requested than allowed.
    #[error("spec.sidecar.resources.requests.{resource} `{request}` is above its limit `{limit}`")]
    RequestAboveLimit {
        /// `cpu` or `memory`.
        resource: &'static str,
        /// The request.
        request: String,
        /// The limit.
        limit: String,
    },
}

/// Checks all rules that the operator relies on.
///
/// # Errors
///
/// The first rule that is violated, with value and limit.
pub fn validate(framebuffer: &FrameBuffer) -> Result<ValidSpec, Invalid> {
    let FrameBufferSpec {
        size,
        window,
        containers,
        mount_path,
        sidecar,
        image_pull_secrets,
        update_strategy: UpdateStrategy { kind },
    } = &framebuffer.spec;
    let SidecarSpec { port, admin_port, resources, log_level } = sidecar;
    let name = framebuffer.name_any();
    if name.len() > MAX_NAME {
        return Err(Invalid::Name { name });
    }
    let memory = memory_of_ring(size)?;
    check_window(window.as_deref())?;
    if let Some(names) = containers {
        check_containers(names)?;
    }
    check_mount_path(mount_path)?;
    check_ports(*port, *admin_port)?;
    let pull_secrets = pull_secrets(image_pull_secrets)?;
    let resources = resources.clone().unwrap_or_default();
    check_resources(&resources, memory.sidecar_bytes())?;
    Ok(ValidSpec {
        name,
        size: size.clone(),
        window: window.clone(),
        memory,
        containers: containers.clone(),
        mount_path: mount_path.clone(),
        port: *port,
        admin_port: *admin_port,
        log_level: *log_level,
        resources,
        pull_secrets,
        update: *kind,
    })
}

fn memory_of_ring(size: &str) -> Result<Memory, Invalid> {
    let bytes = bytes("spec.size", size)?;
    let out_of_bounds = || Invalid::Size { size: size.to_owned(), bytes };
    if !(MIN_SIZE..=MAX_SIZE).contains(&bytes) {
        return Err(out_of_bounds());
    }
    Memory::of_ring(bytes).map_err(|_| out_of_bounds())
}

fn check_window(window: Option<&str>) -> Result<(), Invalid> {
    match window {
        None | Some("whole" | "auto") => Ok(()),
        Some(bytes) if parse_bytes(bytes).is_some() => Ok(()),
        Some(other) => Err(Invalid::Window { value: other.to_owned() }),
    }
}

fn check_containers(names: &[String]) -> Result<(), Invalid> {
    if names.is_empty() {
        return Err(Invalid::Containers("is empty".to_owned()));
    }
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    twice.map_or(Ok(()), |(_, name)| Err(Invalid::Containers(format!("names `{name}` twice"))))
}

fn check_mount_path(path: &str) -> Result<(), Invalid> {
    let invalid = |reason| Err(Invalid::MountPath { path: path.to_owned(), reason });
    let Some(parts) = path.strip_prefix('/') else {
        return invalid("is not absolute; write it as in /run/framebuffer");
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if parts.len() > 255 {
        return invalid("is longer than 256 characters");
    }
    if parts.split('/').any(|part| part.is_empty() || part == "." || part == ".." || !part.bytes().all(plain)) {
        return invalid("must consist of parts of letters, digits, `.`, `_` and `-`, none of them `.` or `..`");
    }
    let hides = matches!(path, "/dev" | "/proc" | "/sys") || path.starts_with("/proc/") || path.starts_with("/sys/");
    if hides { invalid("would hide /dev, /proc or /sys from the container") } else { Ok(()) }
}

/// The names of Secrets, each once.
fn pull_secrets(secrets: &[PullSecret]) -> Result<Vec<String>, Invalid> {
    let mut names = Vec::new();
    for PullSecret { name } in secrets {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if name.is_empty() || name.len() > MAX_SECRET || !name.bytes().all(plain) {
            return Err(Invalid::PullSecret { name: name.clone() });
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

fn check_ports(port: u16, admin_port: u16) -> Result<(), Invalid> {
    for (field, port) in [("spec.sidecar.port", port), ("spec.sidecar.adminPort", admin_port)] {
        if port < MIN_PORT {
            return Err(Invalid::Port { field, port });
        }
    }
    if port == admin_port { Err(Invalid::SamePort(port)) } else { Ok(()) }
}

fn check_resources(resources: &SidecarResources, needed: u64) -> Result<(), Invalid> {
    let SidecarResources { requests, limits } = resources;
    let requests = requests.clone().unwrap_or_default();
    let limits = limits.clone().unwrap_or_default();
    let request = check_amounts(&requests, ["spec.sidecar.resources.requests.cpu", REQUESTED_MEMORY], needed)?;
    let limit = check_amounts(&limits, ["spec.sidecar.resources.limits.cpu", MEMORY_LIMIT], needed)?;
    let memory_request = requests.memory.clone().zip(limits.memory.clone());
    for (resource, values, texts) in [
        ("cpu", request.0.zip(limit.0), requests.cpu.zip(limits.cpu)),
        ("memory", request.1.zip(limit.1), memory_request),
    ] {
        if let (Some((request, limit)), Some(texts)) = (values, texts)
            && request > limit
        {
            return Err(Invalid::RequestAboveLimit { resource, request: texts.0, limit: texts.1 });
        }
    }
    Ok(())
}

const REQUESTED_MEMORY: &str = "spec.sidecar.resources.requests.memory";
const MEMORY_LIMIT: &str = "spec.sidecar.resources.limits.memory";

/// CPU and memory as numbers. A memory request below the ring would let the scheduler overcommit the node with memory
/// that will certainly be used, so it is refused, like a limit below the ring.
fn check_amounts(
    amounts: &ResourceAmounts,
    [cpu_field, memory_field]: [&'static str; 2],
    needed: u64,
) -> Result<(Option<u64>, Option<u64>), Invalid> {
    let ResourceAmounts { cpu, memory } = amounts;
    let not_cpu = |value: &String| Invalid::NotCpu { field: cpu_field, value: value.clone() };
    let cpu = cpu.as_ref().map(|value| parse_milli_cpu(value).ok_or_else(|| not_cpu(value))).transpose()?;
    let Some(value) = memory else { return Ok((cpu, None)) };
    let bytes = bytes(memory_field, value)?;
    if bytes < needed {
        return Err(Invalid::TooLittleMemory { field: memory_field, value: value.clone(), bytes, needed });
    }
    Ok((cpu, Some(bytes)))
}

fn bytes(field: &'static str, value: &str) -> Result<u64, Invalid> {
    parse_bytes(value).ok_or_else(|| Invalid::NotBytes { field, value: value.to_owned() })
}

#[cfg(test)]
mod tests;
