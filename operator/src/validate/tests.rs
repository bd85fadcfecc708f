//! Tests of the rules.

use serde_json::{Value, json};

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "tests write their JSON in place")]
fn framebuffer(spec: Value) -> FrameBuffer {
    serde_json::from_value(json!({
        "apiVersion": "framebuffer.dev/v1alpha1", "kind": "FrameBuffer", "metadata": {"name": "ring"}, "spec": spec,
    }))
    .unwrap()
}

fn refused(spec: Value) -> String {
    validate(&framebuffer(spec)).unwrap_err().to_string()
}

#[test]
fn a_size_is_enough() {
    let spec = validate(&framebuffer(json!({"size": "500Mi"}))).unwrap();
    assert_eq!((spec.port, spec.admin_port, spec.mount_path.as_str()), (7570, 7571, "/dev/shm"));
    assert_eq!((spec.containers, spec.update), (None, UpdateKind::OnDelete));
}

#[test]
fn sizes_outside_the_bounds_are_refused_with_value_and_limit() {
    let expected = "spec.size `1Ki` is 1024 bytes; it must be from 64Ki (65536) to 1Ti (1099511627776)";
    assert_eq!(refused(json!({"size": "1Ki"})), expected);
    assert!(refused(json!({"size": "1025Gi"})).contains("is 1100585369600 bytes"));
    assert!(refused(json!({"size": "lots"})).contains("spec.size `lots` is not an amount of memory"));
    for size in ["64Ki", "1Ti", "65536", "1.5Gi"] {
        validate(&framebuffer(json!({"size": size}))).unwrap();
    }
}

#[test]
fn a_window_is_whole_auto_or_an_amount() {
    let window = |window: Value| validate(&framebuffer(json!({"size": "1Mi", "window": window})));
    for good in ["whole", "auto", "64Ki", "1.5Gi", "65536"] {
        assert_eq!(window(json!(good)).unwrap().window.as_deref(), Some(good));
    }
    assert_eq!(window(Value::Null).unwrap().window, None);
    for bad in ["", "Auto", "half", "-1"] {
        let error = window(json!(bad)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("spec.window `{bad}` is neither whole nor auto")), "{error}");
    }
}

#[test]
fn names_that_no_label_holds_are_refused() {
    let mut long = framebuffer(json!({"size": "1Mi"}));
    long.metadata.name = Some("x".repeat(64));
    assert!(validate(&long).unwrap_err().to_string().contains("has 64 characters"));
    long.metadata.name = Some("x".repeat(63));
    validate(&long).unwrap();
}

#[test]
fn mount_paths_that_would_harm_are_refused() {
    for path in
        ["dev/shm", "/", "", "/a//b", "/a/", "/a/../b", "/.", "/a b", "/a:b", "/proc", "/proc/x", "/sys", "/dev"]
    {
        assert!(refused(json!({"size": "1Mi", "mountPath": path})).contains(&format!("spec.mountPath `{path}`")));
    }
    assert!(refused(json!({"size": "1Mi", "mountPath": format!("/{}", "x".repeat(256))})).contains("longer than 256"));
    for path in ["/dev/shm", "/run/framebuffer", "/system", "/a/.b/..c"] {
        validate(&framebuffer(json!({"size": "1Mi", "mountPath": path}))).unwrap();
    }
}

#[test]
fn ports_must_differ_and_need_no_privileges() {
    let sidecar = |sidecar: Value| refused(json!({"size": "1Mi", "sidecar": sidecar}));
    assert_eq!(sidecar(json!({"port": 80})), "spec.sidecar.port is 80; it must be from 1024 to 65535");
    assert_eq!(sidecar(json!({"adminPort": 0})), "spec.sidecar.adminPort is 0; it must be from 1024 to 65535");
    let same = "spec.sidecar.port and spec.sidecar.adminPort are both 7571; they must differ";
    assert_eq!(sidecar(json!({"port": 7571})), same);
}

#[test]
fn containers_are_named_once() {
    assert!(refused(json!({"size": "1Mi", "containers": []})).contains("spec.containers is empty"));
    assert!(refused(json!({"size": "1Mi", "containers": ["a", "b", "a"]})).contains("names `a` twice"));
}

#[test]
fn memory_that_does_not_hold_the_ring_is_refused() {
    let resources = |resources: Value| refused(json!({"size": "500Mi", "sidecar": {"resources": resources}}));
    let expected = "spec.sidecar.resources.limits.memory `500Mi` is 524288000 bytes; the ring and its sidecar need \
                    547356672, or leave it out";
    assert_eq!(resources(json!({"limits": {"memory": "500Mi"}})), expected);
    assert!(resources(json!({"requests": {"memory": "1Mi"}})).contains("requests.memory `1Mi`"));
    assert!(resources(json!({"limits": {"memory": "x"}})).contains("limits.memory `x` is not an amount of memory"));
    assert!(resources(json!({"limits": {"cpu": "x"}})).contains("limits.cpu `x` is not an amount of CPU"));
    let above = resources(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}));
    assert_eq!(above, "spec.sidecar.resources.requests.cpu `2` is above its limit `500m`");
    let above = resources(json!({"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}));
    assert_eq!(above, "spec.sidecar.resources.requests.memory `2Gi` is above its limit `1Gi`");
}
