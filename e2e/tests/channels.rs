//! A channel between the containers of a pod, with the examples `publisher` and `subscriber` of the client.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use framebuffer_e2e::in_restricted_namespace;
use framebuffer_e2e::manifests::{framebuffer, pod, script};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::{TestNamespace, phase};
use framebuffer_e2e::program::kubectl;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

/// The folder with the examples as static programs.
const EXAMPLES: &str = "FRAMEBUFFER_E2E_EXAMPLES";
const NAME: &str = "channel";
const CONTAINERS: [(&str, u32); 2] = [("channel-publisher", 10001), ("channel-subscriber", 10002)];
const FRAMES: usize = 150;

/// Puts a program into the containers, which wait for it.
fn copy(namespace: &TestNamespace, program: &Path) {
    let name = program.file_name().unwrap().to_str().unwrap();
    let script =
        format!("cat > /programs/{name}.new && chmod 755 /programs/{name}.new && cd /programs && mv {name}.new {name}");
    let mut exec = Command::new("kubectl");
    exec.args(["-n", &namespace.name, "exec", "-i", NAME, "-c", CONTAINERS[0].0, "--", "/bin/sh", "-c", &script]);
    let copied = exec.stdin(fs::File::open(program).unwrap()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let copied = copied.unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

/// The subscriber's lines about a picture: when they were written, in milliseconds, and the picture's number.
fn received(namespace: &TestNamespace) -> Vec<(i64, u64)> {
    let log = kubectl(&["-n", &namespace.name, "logs", NAME, "-c", CONTAINERS[1].0, "--timestamps"]);
    let line = |line: &str| {
        let (time, line) = line.split_once(' ')?;
        let number = line.strip_prefix("picture ")?.split(',').next()?.parse().ok()?;
        Some((time.parse::<Timestamp>().ok()?.as_millisecond(), number))
    };
    log.lines().filter_map(line).collect()
}

/// Without wake-ups the subscriber looks every 250 ms, and then finds some seven pictures at once.
#[test]
fn a_channel_wakes_a_subscriber_in_another_container_under_another_user() {
    in_restricted_namespace(async |namespace| {
        let examples = env::var_os(EXAMPLES).expect("FRAMEBUFFER_E2E_EXAMPLES names the folder of the programs");
        namespace.declare(&framebuffer(&json!({"size": "16Mi"}))).await;
        let containers = CONTAINERS.map(|(name, user)| {
            let mut container =
                script(name, &format!("until [ -x /programs/{name} ]; do sleep 1; done; exec /programs/{name}"));
            container["volumeMounts"] = json!([{"name": "programs", "mountPath": "/programs"}]);
            container["securityContext"] = json!({
                "runAsUser": user,
                "runAsGroup": user,
                "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            container
        });
        let mut channel = pod(NAME, &containers);
        channel["spec"]["volumes"] = json!([{"name": "programs", "emptyDir": {}}]);
        namespace.accept(&channel).await;
        namespace.wait(NAME, "to run", |pod: &Pod| phase(pod) == "Running").await;
        // Whoever comes late finds the last picture: the subscriber waits for the first.
        for (name, _) in CONTAINERS.iter().rev() {
            copy(namespace, &Path::new(&examples).join(name));
        }
        namespace.until("pictures arrive", async || received(namespace).len() > FRAMES).await;
        let pictures = received(namespace);
        assert!(pictures.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1), "lost pictures: {pictures:?}");
        let mut gaps: Vec<i64> = pictures.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        gaps.sort_unstable();
        let median = gaps[gaps.len() / 2];
        measured(&format!(
            "a subscriber in another container got pictures sent every 33 ms every {median} ms (median)"
        ));
        assert!((15..100).contains(&median), "{pictures:?}");
    });
}
