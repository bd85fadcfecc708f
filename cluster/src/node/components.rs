//! The components of Kubernetes as processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::pki::file;
use super::settings::{POD_ADDRESSES, SERVICE_ADDRESSES};
use super::{NODE, NODE_ADDRESS};
use crate::command::output;
use crate::images::import;
use crate::state::State;

/// How long a component may take to get ready.
const TIMEOUT: Duration = Duration::from_mins(3);
/// How often that is checked.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many of a log's last lines an error shows.
const SHOWN_LINES: usize = 10;
const ETCD: &str = "http://127.0.0.1:2379";

/// The running components.
#[derive(Debug)]
pub(super) struct Components {
    state: State,
    running: Vec<(Pid, &'static str)>,
}

impl Components {
    /// Starts none.
    pub(super) fn new(state: &State) -> Result<Self> {
        fs::create_dir_all(state.path("log")).context("failed to create a folder for logs")?;
        Ok(Self { state: state.clone(), running: Vec::new() })
    }

    /// Starts etcd, the API server and containerd.
    pub(super) fn start_store_and_runtime(&mut self) -> Result<()> {
        let path = |name: &str| self.state.path(name).display().to_string();
        let pki = |name: &str| file(&self.state, name);
        let etcd = [
            format!("--data-dir={}", path("etcd")),
            // The data need not survive the machine's end.
            "--unsafe-no-fsync".into(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
        ];
        let api_server = [
            format!("--etcd-servers={ETCD}"),
            format!("--advertise-address={NODE_ADDRESS}"),
            "--bind-address=0.0.0.0".into(),
            format!("--service-cluster-ip-range={SERVICE_ADDRESSES}"),
            format!("--tls-cert-file={}", pki("apiserver.crt")),
            format!("--tls-private-key-file={}", pki("apiserver.key")),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
            format!("--service-account-key-file={}", pki("sa.key")),
            format!("--service-account-signing-key-file={}", pki("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--allow-privileged=true".into(),
            // No DNS knows the node's name.
            "--kubelet-preferred-address-types=InternalIP".into(),
        ];
        let containerd = [format!("--config={}", path("containerd.toml"))];
        self.start("etcd", &etcd)?;
        self.start("kube-apiserver", &api_server)?;
        self.start("containerd", &containerd)
    }

    /// Starts the controllers, the scheduler, kubelet and kube-proxy.
    pub(super) fn start_node(&mut self) -> Result<()> {
        let path = |name: &str| self.state.path(name).display().to_string();
        let pki = |name: &str| file(&self.state, name);
        let admin = format!("--kubeconfig={}", path("admin.kubeconfig"));
        let controllers = [
            admin.clone(),
            format!("--service-account-private-key-file={}", pki("sa.key")),
            format!("--root-ca-file={}", pki("ca.crt")),
            format!("--cluster-signing-cert-file={}", pki("ca.crt")),
            format!("--cluster-signing-key-file={}", pki("ca.key")),
            "--use-service-account-credentials".into(),
            "--leader-elect=false".into(),
            "--allocate-node-cidrs".into(),
            format!("--cluster-cidr={POD_ADDRESSES}"),
            "--node-cidr-mask-size=24".into(),
        ];
        let scheduler = [admin, "--leader-elect=false".into()];
        let kubelet = [
            format!("--config={}", path("kubelet.yaml")),
            format!("--kubeconfig={}", path("kubelet.kubeconfig")),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_ADDRESS}"),
            format!("--root-dir={}", path("kubelet")),
            format!("--cert-dir={}", path("pki")),
            "--v=2".into(),
        ];
        let proxy = [format!("--config={}", path("proxy.yaml"))];
        self.start("kube-controller-manager", &controllers)?;
        self.start("kube-scheduler", &scheduler)?;
        self.start("kubelet", &kubelet)?;
        self.start("kube-proxy", &proxy)
    }

    /// Imports images as soon as containerd answers.
    pub(super) fn import(&self, archives: &[PathBuf]) -> Result<()> {
        let socket = self.state.containerd_socket();
        self.wait("containerd", || output(Command::new("ctr").arg("--address").arg(&socket).arg("version")).is_ok())?;
        for archive in archives {
            import(archive, Command::new("ctr"), &self.state)?;
        }
        Ok(())
    }

    /// Waits until the output of kubectl is as expected.
    pub(super) fn wait_for(&self, what: &str, arguments: &[&str], expected: impl Fn(&str) -> bool) -> Result<()> {
        self.wait(what, || {
            let mut kubectl = Command::new(self.state.path("bin/kubectl"));
            let said = output(kubectl.arg("--kubeconfig").arg(self.state.kubeconfig()).args(arguments));
            said.is_ok_and(|said| expected(said.trim()))
        })
    }

    /// The component that `process` is.
    pub(super) fn name_of(&self, process: Pid) -> Option<&'static str> {
        self.running.iter().find(|(running, _)| *running == process).map(|(_, name)| *name)
    }

    /// The log of a component.
    pub(super) fn log_of(&self, name: &str) -> PathBuf {
        self.state.path("log").join(format!("{name}.log"))
    }

    /// Starts a component: one of the cluster's programs, or else one of the machine's.
    fn start(&mut self, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = self.log_of(name);
        let log = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let built = self.state.path("bin").join(name);
        let mut command = Command::new(if built.exists() { built.as_path() } else { Path::new(name) });
        command.args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().context("failed to share a log")?).stderr(log);
        let process = command.spawn().with_context(|| format!("failed to start {name}"))?;
        let id = process.id().try_into().context("a process id out of range")?;
        self.running.push((Pid::from_raw(id), name));
        Ok(())
    }

    fn wait(&self, what: &str, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !is_ready() {
            for (process, name) in &self.running {
                if waitpid(*process, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {
                    bail!("{name} ended; its last lines:\n{}", self.last_lines(name));
                }
            }
            if Instant::now() > deadline {
                let logs: Vec<_> =
                    self.running.iter().map(|(_, name)| format!("{name}:\n{}", self.last_lines(name))).collect();
                bail!("{what} is not ready after {} s; last lines of\n{}", TIMEOUT.as_secs(), logs.join("\n"));
            }
            thread::sleep(INTERVAL);
        }
        Ok(())
    }

    fn last_lines(&self, name: &str) -> String {
        let log = fs::read_to_string(self.log_of(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}
