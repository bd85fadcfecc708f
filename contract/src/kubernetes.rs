//! Names in pods and manifests.

/// API group of the custom resource `FrameBuffer`, and the domain of all labels and annotations.
pub const GROUP: &str = "framebuffer.dev";

/// Label of a pod: the name of the `FrameBuffer`, of the pod's own namespace, that it wants.
pub const INJECT_LABEL: &str = "framebuffer.dev/inject";

/// Annotation of a pod: the hash of what was injected into it.
pub const INJECTED_ANNOTATION: &str = "framebuffer.dev/injected";

/// Annotation of a pod template: the hash for which the operator has restarted its pods.
pub const RESTARTED_ANNOTATION: &str = "framebuffer.dev/restarted-for";

/// Annotation of a pod in admission: why the policy refuses it. Whatever a user writes there means nothing.
pub const REFUSED_ANNOTATION: &str = "framebuffer.dev/refused";

/// Name of the mutating webhook.
pub const WEBHOOK: &str = "inject.framebuffer.dev";

/// Name of the sidecar: its program, its image, the injected container.
pub const SIDECAR: &str = "framebuffer-sidecar";

/// Name of the injected volume, which is the ring's memory.
pub const VOLUME: &str = "framebuffer";

/// Name of the injected port of the API.
pub const PORT: &str = "framebuffer";

/// Name of the injected port of health and metrics.
pub const ADMIN_PORT: &str = "fb-admin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_the_domain_of_the_group() {
        for name in [INJECT_LABEL, INJECTED_ANNOTATION, RESTARTED_ANNOTATION, REFUSED_ANNOTATION] {
            assert!(name.starts_with(&format!("{GROUP}/")), "{name}");
        }
        assert!(WEBHOOK.ends_with(&format!(".{GROUP}")));
    }

    #[test]
    fn port_names_have_at_most_the_15_characters_that_kubernetes_allows() {
        assert!(PORT.len() <= 15 && ADMIN_PORT.len() <= 15);
    }
}
