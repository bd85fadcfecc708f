//! [`warning`]: the pod asks for nodes that cannot run the sidecar's image. Which nodes there are is not known here:
//! the operator may not look at them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pod::{Pod, text};

/// The labels with a node's architecture. The second is the old one.
const LABELS: [&str; 2] = ["kubernetes.io/arch", "beta.kubernetes.io/arch"];

/// A warning, unless the pod can run wherever it asks to, or does not say where, or `ours` is empty.
pub(super) fn warning(pod: &Pod<'_>, ours: &[String]) -> Option<String> {
    let asked: Vec<&str> = selected(pod).or_else(|| required(pod))?.into_iter().collect();
    let others: Vec<&str> = asked.into_iter().filter(|name| !ours.iter().any(|our| our == name)).collect();
    (!ours.is_empty() && !others.is_empty()).then(|| {
        format!(
            "framebuffer: the pod asks for nodes of {} (kubernetes.io/arch), and the sidecar's image is for {}: it \
             does not start there. Use an image for all of them, and name what it is for in sidecar.architectures of \
             the chart (--sidecar-architectures)",
            others.join(" and "),
            ours.join(" and ")
        )
    })
}

/// The architecture in the node selector.
fn selected<'a>(pod: &Pod<'a>) -> Option<BTreeSet<&'a str>> {
    let selector = pod.field("nodeSelector")?;
    let found = LABELS.iter().find_map(|label| selector.get(label)?.as_str());
    found.map(|found| [found].into())
}

/// The architectures that the required node affinity allows, if every alternative names some.
fn required<'a>(pod: &Pod<'a>) -> Option<BTreeSet<&'a str>> {
    let affinity = pod.field("affinity")?.get("nodeAffinity")?;
    let terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")?.get("nodeSelectorTerms")?.as_array()?;
    let allowed: Option<Vec<Vec<&str>>> = terms.iter().map(in_term).collect();
    allowed.map(|allowed| allowed.into_iter().flatten().collect())
}

fn in_term(term: &Value) -> Option<Vec<&str>> {
    let expressions = term.get("matchExpressions")?.as_array()?;
    let names = |expression: &&Value| LABELS.contains(&text(expression, "key")) && text(expression, "operator") == "In";
    let values = expressions.iter().find(names)?.get("values")?.as_array()?;
    Some(values.iter().filter_map(Value::as_str).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The warning for a pod with this spec, beside an image for `ours`.
    fn warned(spec: &Value, ours: &[&str]) -> Option<String> {
        let mut pod = json!({"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let ours: Vec<String> = ours.iter().map(|name| (*name).to_owned()).collect();
        warning(&Pod::read(&pod).unwrap(), &ours)
    }

    #[test]
    fn only_a_pod_that_asks_for_nodes_that_cannot_run_the_image_gets_a_warning() {
        let arch = |values: Value| json!([{"key": "kubernetes.io/arch", "operator": "In", "values": values}]);
        let affinity = |terms: Value| {
            let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            json!({"affinity": {"nodeAffinity": required}})
        };
        let either =
            json!([{"matchExpressions": arch(json!(["amd64"]))}, {"matchExpressions": arch(json!(["arm64"]))}]);
        let open = json!([{"matchExpressions": arch(json!(["arm64"]))}, {"matchExpressions": []}]);
        let not = json!([{"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["arm64"]}]);
        for (spec, other) in [
            (json!({}), None),
            (json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}}), None),
            (json!({"nodeSelector": {"kubernetes.io/arch": "arm64"}}), Some("arm64")),
            (json!({"nodeSelector": {"kubernetes.io/arch": "arm64", "disk": "ssd"}}), Some("arm64")),
            (json!({"nodeSelector": {"beta.kubernetes.io/arch": "s390x"}}), Some("s390x")),
            (affinity(json!([{"matchExpressions": arch(json!(["arm64", "ppc64le"]))}])), Some("arm64 and ppc64le")),
            (affinity(either), Some("arm64")),
            (affinity(open), None),
            (affinity(json!([{"matchExpressions": not}])), None),
            (json!({"nodeSelector": 5, "affinity": {"nodeAffinity": []}}), None),
        ] {
            let expected = other.map(|other| {
                format!(
                    "framebuffer: the pod asks for nodes of {other} (kubernetes.io/arch), and the sidecar's image is \
                     for amd64: it does not start there. Use an image for all of them, and name what it is for in \
                     sidecar.architectures of the chart (--sidecar-architectures)"
                )
            });
            assert_eq!(warned(&spec, &["amd64"]), expected, "{spec}");
            assert_eq!(warned(&spec, &["amd64", "arm64", "s390x", "ppc64le"]), None, "{spec}");
            assert_eq!(warned(&spec, &[]), None, "it is not known: {spec}");
        }
    }
}
