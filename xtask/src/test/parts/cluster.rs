//! The Helm chart, and everything on a real cluster.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::{self, Cluster};
use crate::image;
use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{Workspace, without_package_variables};

pub(super) const CHART: Part = Part {
    name: "chart",
    about: "the Helm chart: lint, and what it renders from every set of values",
    needs: &[Need::Go],
    run: chart,
};

pub(super) const CLUSTER: Part = Part {
    name: "cluster",
    about: "operator, sidecar and chart on a real Kubernetes, started for it (or the one that KUBECONFIG names)",
    needs: &[Need::Ffmpeg, Need::Clip],
    run: on_cluster,
};

const E2E: &str = "--package=framebuffer-e2e";
/// Tests wait more than they work.
const AT_ONCE: &str = "4";

fn chart(workspace: &Workspace, setup: &Setup) -> Result<Counts> {
    let mut command = workspace.cargo(["test", "--package=framebuffer-chart-tests", "--no-fail-fast"]);
    command.args(["--", "--include-ignored"]).env("HELM", cluster::helm(workspace, setup)?);
    run(&mut command)
}

fn on_cluster(workspace: &Workspace, setup: &Setup) -> Result<Counts> {
    if env::var_os("KUBECONFIG").is_some() {
        // Somebody's own cluster: the images are there already, as e2e/README.md says.
        return run(tests(setup, &mut workspace.cargo(["test", E2E])));
    }
    // Inside, the network is the cluster's: nothing can be downloaded.
    let built = workspace.cargo(["test", E2E, "--no-run"]).status().context("failed to start cargo")?;
    ensure!(built.success(), "failed to build the tests");
    let archives = image::build(workspace, &image::Args::for_tests())?;
    let was_up = Cluster::running().is_ok();
    if !was_up {
        cluster::end_on_signal()?;
    }
    let cluster = Cluster::up(workspace, &mut Setup::new()?)?;
    let counts = cluster.load(&archives).and_then(|()| {
        let mut command = cluster.command("cargo")?;
        without_package_variables(&mut command);
        command.args(["test", "--offline", E2E, "--manifest-path"]).arg(workspace.root.join("Cargo.toml"));
        run(tests(setup, &mut command))
    });
    if was_up {
        println!("the cluster stays: it was up before");
    } else {
        cluster::end()?;
    }
    counts
}

/// What all calls of the tests have in common.
fn tests<'a>(setup: &Setup, command: &'a mut Command) -> &'a mut Command {
    command.env("FRAMEBUFFER_CLIP", setup.clip()).env("RUST_TEST_THREADS", AT_ONCE)
}
