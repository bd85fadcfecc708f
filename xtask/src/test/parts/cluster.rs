//! The Helm chart, and everything on a real cluster.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use framebuffer_cluster::{Cluster, down, end_on_signal, provide_programs};

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{Workspace, without_package_variables};
use crate::{cluster, image};

pub(super) const CHART: Part = Part {
    name: "chart",
    about: "the Helm chart: lint, and what it renders from every set of values",
    needs: || vec![Need::Go],
    run: chart,
};

pub(super) const CLUSTER: Part = Part {
    name: "cluster",
    about: "operator, sidecar and chart on a real Kubernetes, started for it (or the one that KUBECONFIG names)",
    needs: on_cluster_needs,
    run: on_cluster,
};

fn chart(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let programs = provide_kubernetes(workspace, setup)?;
    let mut command = workspace.cargo(["test", "--workspace", "--no-fail-fast"]);
    command.args(workspace.select("test", |package| package == "framebuffer-chart-tests"));
    command.args(["--", "--include-ignored"]).env("HELM", programs.join("helm"));
    run(&mut command)
}

/// The folder with Kubernetes, etcd and Helm, built if they are not there yet.
fn provide_kubernetes(workspace: &Workspace, setup: &mut Setup) -> Result<PathBuf> {
    setup.timed(|setup| provide_programs(&cluster::sources(workspace, setup)?))
}

/// Whether the user names a cluster. Its nodes have the images, as e2e/README.md demands.
fn is_named() -> bool {
    env::var_os("KUBECONFIG").is_some()
}

fn on_cluster_needs() -> Vec<Need> {
    let programs = ["kubectl", "helm"].map(Need::Program).to_vec();
    let cluster = if is_named() { programs } else { cluster::needs() };
    [cluster, vec![Need::Ffmpeg, Need::Clip]].concat()
}

fn on_cluster(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let examples = image::build_examples(workspace)?;
    if is_named() {
        return run(e2e(workspace, setup, &examples, &mut workspace.cargo(["test"])));
    }
    // Before: inside, nothing can be downloaded, since the network is the cluster's.
    let built = e2e(workspace, setup, &examples, &mut workspace.cargo(["test", "--no-run"])).status();
    ensure!(built.context("failed to start cargo")?.success(), "failed to build the tests");
    let archives = image::build(workspace, &image::Args::for_tests())?;
    let was_up = Cluster::running().is_ok();
    if !was_up {
        provide_kubernetes(workspace, setup)?;
        end_on_signal()?;
    }
    let cluster = cluster::up(workspace, setup, None)?;
    let counts = cluster.load(&archives).and_then(|()| {
        let mut command = cluster.command("cargo")?;
        without_package_variables(&mut command);
        command.args(["test", "--offline", "--manifest-path"]).arg(workspace.root.join("Cargo.toml"));
        run(e2e(workspace, setup, &examples, &mut command))
    });
    if was_up {
        println!("the cluster stays: it was up before");
    } else {
        down()?;
    }
    counts
}

/// Selects the tests in a call of `cargo test`, and sets their variables.
fn e2e<'a>(workspace: &Workspace, setup: &Setup, examples: &Path, command: &'a mut Command) -> &'a mut Command {
    command.args(["--workspace", "--no-fail-fast"]);
    command.args(workspace.select("test", |package| package == "framebuffer-e2e"));
    // Many tests at once: they wait more than they compute.
    command.env("FRAMEBUFFER_CLIP", setup.clip()).env("FRAMEBUFFER_E2E_EXAMPLES", examples);
    command.env("RUST_TEST_THREADS", "4")
}
