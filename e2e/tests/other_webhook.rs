//! Another mutating webhook in the chain. The one here is called after ours, and adds a container, as service meshes
//! do; [`crate::late_labels`] has others.
//!
//! It runs in this process. The API server of `cargo xtask cluster` finds it on the loopback address; that of a cluster
//! elsewhere does not.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router};
use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::manifests::{framebuffer, idle, pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::settings::busybox;
use framebuffer_operator::certificates::issue;
use framebuffer_operator::certificates::plan::Lifetimes;
use framebuffer_operator::certificates::serving::Serving;
use framebuffer_operator::metrics::Metrics;
use framebuffer_operator::serve::bounds::WEBHOOK;
use framebuffer_operator::serve::{serve, tls};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::alone;

/// What a webhook does to a pod: a JSON patch, or nothing.
pub(crate) type Mutation = fn(&Value) -> Option<Value>;

/// Adds the container `mesh`, unless it is there.
fn add_mesh(pod: &Value) -> Option<Value> {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let mesh = json!({"name": "mesh", "image": busybox(), "command": ["/bin/sleep", "1000"]});
    let added = json!([{"op": "add", "path": "/spec/containers/-", "value": mesh}]);
    containers.iter().all(|container| container["name"] != "mesh").then_some(added)
}

fn review(review: &Value, mutation: Mutation) -> Value {
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if let Some(patch) = mutation(&request["object"]) {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
    }
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
}

/// Serves a webhook and gives its configuration, for this namespace alone. Webhooks are called in the order of their
/// configurations' names, which for this one begins with `prefix`.
pub(crate) async fn start(
    namespace: &TestNamespace,
    prefix: &str,
    mutation: Mutation,
    shutdown: CancellationToken,
) -> Value {
    let lifetimes = Lifetimes::new(SignedDuration::from_hours(2), SignedDuration::from_hours(1));
    let material = issue::create("", &["localhost".to_owned()], &lifetimes, Timestamp::now()).unwrap();
    let serving = Arc::new(Serving::default());
    serving.load(&material.certificate, &material.key, &Metrics::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mutate = async move |Json(asked): Json<Value>| Json(review(&asked, mutation));
    let router = Router::new().route("/mutate", post(mutate));
    tokio::spawn(serve(listener, Some(tls(serving).unwrap()), router, WEBHOOK, shutdown));
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": format!("{prefix}-{}", namespace.name)},
        "webhooks": [{
            "name": "other.framebuffer.example",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "failurePolicy": "Ignore",
            "clientConfig": {
                "url": format!("https://localhost:{port}/mutate"),
                "caBundle": ByteString(material.cas.into_bytes()),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
        }],
    })
}

#[test]
fn a_container_that_a_later_webhook_adds_gets_the_ring_too() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let shutdown = CancellationToken::new();
        let configuration = start(namespace, "zz", add_mesh, shutdown.clone()).await;
        namespace.accept_in_cluster(&configuration).await;
        let meshed = pod("meshed", &[idle("app")]);
        let mut last = Err("not asked".to_owned());
        // The API server takes a moment to know a new webhook.
        for _ in 0..50 {
            last = namespace.try_dry(&meshed).await.map_err(|error| error.to_string());
            if last.as_ref().is_ok_and(|pod| pod["spec"]["containers"].as_array().unwrap().len() == 2) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        namespace.delete_in_cluster(&configuration).await;
        shutdown.cancel();
        let created = last.unwrap();
        let containers = created["spec"]["containers"].as_array().unwrap();
        if containers.len() < 2 && !framebuffer_e2e::settings::is_here() {
            measured("not tested: another webhook; the API server of this cluster can't reach this process");
            return;
        }
        assert_eq!(containers.len(), 2, "{created:#}");
        for container in containers {
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().any(|mount| mount["mountPath"] == "/dev/shm"), "{container:#}");
            assert_eq!(container["env"][0]["name"], "FRAMEBUFFER_URL", "{container:#}");
        }
        assert_eq!(created["spec"]["initContainers"].as_array().unwrap().len(), 1);
    });
}
