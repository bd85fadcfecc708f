//! The webhook's `MutatingWebhookConfiguration`: its actual content, its intended content, and its CA bundles. Pure.
//!
//! The intended content is in an annotation of the configuration itself, which the chart writes together with it: an
//! upgrade changes both at once, so that an old leader never reverts what a new version of the chart has written.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Annotation of the configuration: its `webhooks` as the chart writes them, in JSON, without any `caBundle`.
pub const WEBHOOKS_ANNOTATION: &str = "framebuffer.dev/webhooks";

/// How a configuration differs from its intended content.
#[derive(Debug, Clone, PartialEq)]
pub enum Edited {
    /// Its webhooks differ.
    Webhooks {
        /// The intended webhooks, without any `caBundle`.
        wanted: Vec<MutatingWebhook>,
        /// A description of the differences.
        differences: String,
    },
    /// The annotation is missing or unreadable: the intended content is unknown.
    Annotation,
}

/// Compares a configuration with its intended content, `caBundle` and added exclusions aside; `None` if they agree.
pub fn edited(configuration: &MutatingWebhookConfiguration) -> Option<Edited> {
    let wanted = configuration.annotations().get(WEBHOOKS_ANNOTATION);
    let wanted: Option<Vec<MutatingWebhook>> = wanted.and_then(|json| serde_json::from_str(json).ok());
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Some(Edited::Annotation) };
    let mut found = configuration.webhooks.clone().unwrap_or_default();
    for webhook in &mut found {
        webhook.client_config.ca_bundle = None;
        if let Some(wanted) = wanted.iter().find(|wanted| wanted.name == webhook.name) {
            leave_out_exclusions(&mut webhook.namespace_selector, wanted.namespace_selector.as_ref());
            leave_out_exclusions(&mut webhook.object_selector, wanted.object_selector.as_ref());
        }
    }
    (found != wanted).then(|| Edited::Webhooks { differences: differences(&found, &wanted), wanted })
}

/// Leaves out what a platform may have added to a selector: expressions that exclude. They only narrow it, and whoever
/// adds them to all webhooks would add them again.
fn leave_out_exclusions(found: &mut Option<LabelSelector>, wanted: Option<&LabelSelector>) {
    let Some(expressions) = found.as_mut().and_then(|found| found.match_expressions.as_mut()) else { return };
    let wanted = wanted.and_then(|wanted| wanted.match_expressions.as_ref());
    let is_wanted = |expression: &LabelSelectorRequirement| wanted.is_some_and(|wanted| wanted.contains(expression));
    let excludes = |expression: &LabelSelectorRequirement| matches!(&*expression.operator, "DoesNotExist" | "NotIn");
    expressions.retain(|expression| is_wanted(expression) || !excludes(expression));
    if expressions.is_empty() && wanted.is_none() {
        *found = found.take().map(|selector| LabelSelector { match_expressions: None, ..selector });
    }
}

fn differences(found: &[MutatingWebhook], wanted: &[MutatingWebhook]) -> String {
    let extra = found.iter().filter(|webhook| wanted.iter().all(|other| other.name != webhook.name));
    let mut differences: Vec<String> = extra.map(|webhook| format!("webhook {} was added", webhook.name)).collect();
    for webhook in wanted {
        let Some(other) = found.iter().find(|other| other.name == webhook.name) else {
            differences.push(format!("webhook {} was removed", webhook.name));
            continue;
        };
        let [other, webhook] = [other, webhook].map(|webhook| json!(webhook));
        let fields = [&other, &webhook].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
        let mut fields: Vec<&str> = fields.map(String::as_str).filter(|field| other[field] != webhook[field]).collect();
        fields.sort_unstable();
        fields.dedup();
        differences.extend(fields.iter().map(|field| format!("{field} was edited")));
    }
    if differences.is_empty() { "the order of its webhooks was edited".to_owned() } else { differences.join(", ") }
}

/// The intended webhooks, each with the CA bundle of the webhook with the same name in the configuration.
pub fn with_bundles(wanted: &[MutatingWebhook], configuration: &MutatingWebhookConfiguration) -> Vec<MutatingWebhook> {
    let found = configuration.webhooks.as_deref().unwrap_or_default();
    let bundle = |webhook: &MutatingWebhook| webhook.client_config.ca_bundle.clone();
    let mut webhooks = wanted.to_vec();
    for webhook in &mut webhooks {
        let same = found.iter().find(|other| other.name == webhook.name);
        webhook.client_config.ca_bundle = same.and_then(bundle);
    }
    webhooks
}

/// The CA bundle of each webhook in the configuration.
pub fn bundles(configuration: &MutatingWebhookConfiguration) -> impl Iterator<Item = String> {
    let configs = configuration.webhooks.iter().flatten().map(|webhook| &webhook.client_config);
    configs.map(|config| {
        let bytes = config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    })
}

/// Whether there is a webhook, and `good` holds for the CA bundle of each.
pub fn all_bundles(configuration: &MutatingWebhookConfiguration, good: impl Fn(&str) -> bool) -> bool {
    let mut bundles = bundles(configuration).peekable();
    bundles.peek().is_some() && bundles.all(|bundle| good(&bundle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks() -> Value {
        json!([{
            "name": "inject.framebuffer.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "operator", "namespace": "ns", "path": "/mutate", "port": 443}},
            "failurePolicy": "Fail",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "sideEffects": "None",
        }])
    }

    fn configuration(edit: impl Fn(&mut Value)) -> MutatingWebhookConfiguration {
        let mut found = webhooks();
        found[0]["clientConfig"]["caBundle"] = json!("Q0E=");
        edit(&mut found);
        let annotations = json!({WEBHOOKS_ANNOTATION: webhooks().to_string()});
        serde_json::from_value(json!({"metadata": {"name": "c", "annotations": annotations}, "webhooks": found}))
            .unwrap()
    }

    fn found_differences(edit: impl Fn(&mut Value)) -> String {
        match edited(&configuration(edit)) {
            Some(Edited::Webhooks { differences, wanted }) => {
                assert_eq!(json!(wanted), webhooks());
                differences
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_ca_is_no_edit() {
        assert_eq!(edited(&configuration(|_| {})), None);
        assert_eq!(edited(&configuration(|found| drop(found[0]["clientConfig"]["caBundle"].take()))), None);
    }

    #[test]
    fn every_other_edit_is_found_and_named() {
        assert_eq!(found_differences(|found| found[0]["failurePolicy"] = json!("Ignore")), "failurePolicy was edited");
        assert_eq!(
            found_differences(|found| found[0]["rules"][0]["operations"] = json!(["DELETE"])),
            "rules was edited"
        );
        assert_eq!(
            found_differences(|found| found[0]["clientConfig"]["service"]["path"] = json!("/")),
            "clientConfig was edited"
        );
        assert_eq!(found_differences(|found| found[0]["timeoutSeconds"] = json!(1)), "timeoutSeconds was edited");
        let selector = json!({"matchLabels": {"a": "b"}});
        assert_eq!(
            found_differences(|found| {
                found[0]["objectSelector"] = selector.clone();
                found[0]["namespaceSelector"] = selector.clone();
            }),
            "namespaceSelector was edited, objectSelector was edited"
        );
        assert_eq!(
            found_differences(|found| found[0]["name"] = json!("a.b.c")),
            "webhook a.b.c was added, webhook inject.framebuffer.dev was removed"
        );
    }

    #[test]
    fn an_exclusion_that_a_platform_has_added_is_no_edit_and_anything_else_in_a_selector_is() {
        let excluding = json!({"key": "control-plane", "operator": "DoesNotExist"});
        let label = json!({"key": "framebuffer.dev/inject", "operator": "Exists"});
        let with_selectors = |namespaces: Value, objects: Value| {
            let mut wanted = webhooks();
            wanted[0]["namespaceSelector"] = json!({});
            wanted[0]["objectSelector"] = json!({"matchExpressions": [label.clone()]});
            let mut found = wanted.clone();
            found[0]["namespaceSelector"] = namespaces;
            found[0]["objectSelector"] = objects;
            let annotations = json!({WEBHOOKS_ANNOTATION: wanted.to_string()});
            let metadata = json!({"name": "c", "annotations": annotations});
            edited(&serde_json::from_value(json!({"metadata": metadata, "webhooks": found})).unwrap())
        };
        let ours = json!({"matchExpressions": [label.clone()]});
        assert_eq!(with_selectors(json!({}), ours.clone()), None);
        assert_eq!(with_selectors(json!({"matchExpressions": [excluding.clone()]}), ours.clone()), None);
        assert_eq!(with_selectors(json!({}), json!({"matchExpressions": [label, excluding.clone()]})), None);
        // It does not hide what is missing, and nothing that selects is left.
        assert!(with_selectors(json!({}), json!({"matchExpressions": [excluding.clone()]})).is_some());
        assert!(with_selectors(json!({"matchLabels": {"a": "b"}}), ours.clone()).is_some());
        let exists = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert!(with_selectors(exists, ours).is_some());
    }

    #[test]
    fn without_a_readable_annotation_the_intended_content_is_unknown() {
        let mut configuration = configuration(|_| {});
        for bad in ["", "[]", "{}"] {
            configuration.annotations_mut().insert(WEBHOOKS_ANNOTATION.to_owned(), bad.to_owned());
            assert_eq!(edited(&configuration), Some(Edited::Annotation), "{bad}");
        }
        configuration.annotations_mut().clear();
        assert_eq!(edited(&configuration), Some(Edited::Annotation));
    }

    #[test]
    fn a_restored_configuration_keeps_the_ca() {
        let edited = configuration(|found| found[0]["failurePolicy"] = json!("Ignore"));
        let wanted: Vec<MutatingWebhook> = serde_json::from_value(webhooks()).unwrap();
        let back = MutatingWebhookConfiguration { webhooks: Some(with_bundles(&wanted, &edited)), ..edited };
        assert_eq!(bundles(&back).collect::<Vec<_>>(), ["CA"]);
        assert_eq!(super::edited(&back), None);
        assert!(all_bundles(&back, |bundle| bundle == "CA") && !all_bundles(&back, str::is_empty));
    }
}
