//! The configuration files of the components.

use std::fs;

use anyhow::{Context, Result};

use super::pki::file;
use super::{NODE, NODE_ADDRESS};
use crate::cgroups;
use crate::images::PAUSE;
use crate::state::State;

/// The addresses of all pods; the node's pods have the first 256.
pub(super) const POD_ADDRESSES: &str = "10.97.0.0/16";
/// The addresses of services.
pub(super) const SERVICE_ADDRESSES: &str = "10.98.0.0/24";

/// The DNS server of pods. There is none, but a node without its address warns in the events of every pod.
const DNS: &str = "10.98.0.10";

/// Writes all files.
pub(super) fn write(state: &State) -> Result<()> {
    fs::create_dir_all(state.path("cni")).context("failed to create a folder for CNI")?;
    for (name, text) in [
        ("admin.kubeconfig", kubeconfig(state, "admin")),
        ("kubelet.kubeconfig", kubeconfig(state, "kubelet")),
        ("cni/10-bridge.conflist", network(state)),
        ("containerd.toml", containerd(state)),
        ("kubelet.yaml", kubelet(state)),
        ("proxy.yaml", proxy(state)),
    ] {
        fs::write(state.path(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

fn kubeconfig(state: &State, user: &str) -> String {
    let (authority, certificate, key) =
        (file(state, "ca.crt"), file(state, &format!("{user}.crt")), file(state, &format!("{user}.key")));
    format!(
        "\
apiVersion: v1
kind: Config
clusters: [{{name: e2e, cluster: {{server: 'https://127.0.0.1:6443', certificate-authority: {authority}}}}}]
users: [{{name: {user}, user: {{client-certificate: {certificate}, client-key: {key}}}}}]
contexts: [{{name: e2e, context: {{cluster: e2e, user: {user}}}}}]
current-context: e2e
"
    )
}

/// Pods reach each other, the node and services; nothing leaves the namespace.
fn network(state: &State) -> String {
    let addresses = state.path("cni/addresses").display().to_string();
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                // A pod reaches itself through a service.
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "10.97.0.0/24"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": addresses,
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

/// `restrict_oom_score_adj`: this process may lack `CAP_SYS_RESOURCE`.
fn containerd(state: &State) -> String {
    let path = |name: &str| state.path(name).display().to_string();
    let (root, run, socket, cni) =
        (path("containerd"), path("containerd-state"), state.containerd_socket(), path("cni"));
    format!(
        r#"
version = 2
root = "{root}"
state = "{run}"
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#,
        socket.display()
    )
}

/// Images are never garbage-collected: no registry has them.
fn kubelet(state: &State) -> String {
    let (authority, certificate, key) = (file(state, "ca.crt"), file(state, "kubelet.crt"), file(state, "kubelet.key"));
    let (socket, logs, cgroup) = (state.containerd_socket(), state.path("pod-logs"), cgroups::NAME);
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {authority}}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {certificate}
tlsPrivateKeyFile: {key}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://{}
podLogsDir: {}
resolvConf: ''
clusterDomain: cluster.local
clusterDNS: ['{DNS}']
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
syncFrequency: 5s
",
        socket.display(),
        logs.display()
    )
}

/// The limits of connection tracking stay as they are: they hold for the whole machine.
fn proxy(state: &State) -> String {
    let kubeconfig = state.kubeconfig();
    format!(
        "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {POD_ADDRESSES}
hostnameOverride: {NODE}
nodePortAddresses: [{NODE_ADDRESS}/32]
clientConnection: {{kubeconfig: {}}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
oomScoreAdj: 0
",
        kubeconfig.display()
    )
}
