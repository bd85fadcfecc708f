//! [`Pod`]: a read-only view of a raw pod, of the fields that matter for injection.

use serde_json::{Map, Value};

use super::denial::Denial;

/// A view of a raw pod whose lists have been checked to be lists.
pub(super) struct Pod<'a> {
    root: &'a Value,
    spec: &'a Map<String, Value>,
    containers: &'a [Value],
    init_containers: &'a [Value],
    volumes: &'a [Value],
    pull_secrets: &'a [Value],
}

/// A container, and its path.
#[derive(Clone)]
pub(super) struct Container<'a> {
    /// JSON pointer.
    pub(super) path: String,
    value: &'a Value,
}

/// A volume or device mounted in a container.
pub(super) struct Mount<'a> {
    pub(super) volume: &'a str,
    /// As the container sees it: see [`clean`].
    pub(super) path: String,
}

/// A port of a container.
pub(super) struct Port<'a> {
    pub(super) name: &'a str,
    pub(super) container: u64,
    pub(super) host: u64,
}

impl<'a> Pod<'a> {
    pub(super) fn read(root: &'a Value) -> Result<Self, Denial> {
        let malformed = |path: &str, expected| Denial::Malformed { path: path.to_owned(), expected };
        let spec = root.get("spec").and_then(Value::as_object).ok_or_else(|| malformed("/spec", "an object"))?;
        let list = |name: &str| match spec.get(name) {
            None | Some(Value::Null) => Ok(&[][..]),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(_) => Err(malformed(&format!("/spec/{name}"), "a list")),
        };
        let pod = Self {
            root,
            spec,
            containers: list("containers")?,
            init_containers: list("initContainers")?,
            volumes: list("volumes")?,
            pull_secrets: list("imagePullSecrets")?,
        };
        pod.check_containers()?;
        Ok(pod)
    }

    /// Values to which the patch adds items or fields must be lists or objects.
    fn check_containers(&self) -> Result<(), Denial> {
        let malformed = |path: String, expected| Err(Denial::Malformed { path, expected });
        for container in self.containers().chain(self.init_containers()) {
            if !container.value.is_object() {
                return malformed(container.path, "an object");
            }
            for list in ["env", "volumeMounts", "ports", "volumeDevices"] {
                if container.field(list).is_some_and(|list| !list.is_array()) {
                    return malformed(format!("{}/{list}", container.path), "a list");
                }
            }
        }
        for (pointer, value) in
            [("/metadata", self.root.get("metadata")), ("/metadata/annotations", self.annotations())]
        {
            if value.is_some_and(|value| !value.is_object() && !value.is_null()) {
                return malformed(pointer.to_owned(), "an object");
            }
        }
        Ok(())
    }

    pub(super) fn field(&self, name: &str) -> Option<&'a Value> {
        self.spec.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.field(name).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn metadata(&self) -> Option<&'a Value> {
        self.root.get("metadata").filter(|value| !value.is_null())
    }

    pub(super) fn annotations(&self) -> Option<&'a Value> {
        self.metadata()?.get("annotations").filter(|value| !value.is_null())
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        self.annotations()?.get(name)?.as_str()
    }

    /// Whether it is the mirror of a static pod, which a kubelet runs from a file: changing the mirror has no effect.
    pub(super) fn is_mirror(&self) -> bool {
        self.annotation("kubernetes.io/config.mirror").is_some()
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        containers("/spec/containers", self.containers)
    }

    pub(super) fn init_containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        containers("/spec/initContainers", self.init_containers)
    }

    pub(super) fn pull_secrets(&self) -> &'a [Value] {
        self.pull_secrets
    }

    pub(super) fn volumes(&self) -> &'a [Value] {
        self.volumes
    }
}

fn containers<'a>(list: &'static str, items: &'a [Value]) -> impl Iterator<Item = Container<'a>> + use<'a> {
    items.iter().enumerate().map(move |(index, value)| Container { path: format!("{list}/{index}"), value })
}

impl<'a> Container<'a> {
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn field(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// Empty if it has none: the API server refuses that.
    pub(super) fn name(&self) -> &'a str {
        text(self.value, "name")
    }

    pub(super) fn env(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.list("env")
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = Mount<'a>> + use<'a> {
        let files = self.list("volumeMounts").map(|mount| (mount, "mountPath"));
        let devices = self.list("volumeDevices").map(|device| (device, "devicePath"));
        files.chain(devices).map(|(mount, path)| {
            let path = text(mount, path);
            Mount { volume: text(mount, "name"), path: clean(path) }
        })
    }

    /// Its TCP ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port<'a>> + use<'a> {
        let number = |port: &Value, name: &str| port.get(name).and_then(Value::as_u64).unwrap_or(0);
        let tcp = |port: &&Value| matches!(text(port, "protocol"), "" | "TCP");
        self.list("ports").filter(tcp).map(move |port| Port {
            name: text(port, "name"),
            container: number(port, "containerPort"),
            host: number(port, "hostPort"),
        })
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.field(name).and_then(Value::as_array).into_iter().flatten()
    }
}

/// The path at which a container finds what is mounted at `path`: absolute, without empty parts, `.` and `..`, and
/// without a slash at its end. Container runtimes do the same.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A string, or the empty one.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
