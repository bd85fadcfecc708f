//! `cargo xtask image`: container images with one static program each, as OCI archives.
//!
//! Build the programs -> put each into an image with the `Containerfile` (its targets `*-prebuilt`) -> write an
//! archive of each, and print a table of sizes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use framebuffer_cluster::Buildah;

use crate::setup::{Need, Setup};
use crate::workspace::{Workspace, shown};

/// An image, which is also a target of the `Containerfile`, and its program.
struct Image {
    name: &'static str,
    package: &'static str,
    binary: &'static str,
}

const ALL: &[Image] = &[
    Image { name: "framebuffer-operator", package: "framebuffer-operator", binary: "framebuffer-operator" },
    Image { name: "framebuffer-sidecar", package: "framebuffer-sidecar", binary: "framebuffer-sidecar" },
    Image { name: "framebuffer-frame-writer", package: "framebuffer-video", binary: "frame-writer" },
    Image { name: "framebuffer-frame-reader", package: "framebuffer-video", binary: "frame-reader" },
];
/// The images' platform.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const BUILDAH: Need = Need::Package { name: "buildah", gives: "buildah" };

/// Build container images, with one static program each, as OCI archives.
///
/// Load them into the test cluster with `cargo xtask cluster load`. The Containerfile tells how to build an image with
/// podman, docker or buildah instead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images to build; all if none is named
    #[arg(value_name = "IMAGE", value_parser = PossibleValuesParser::new(ALL.iter().map(|image| image.name)))]
    images: Vec<String>,
    /// The folder for the archives, one NAME.tar each [default: `images` in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    push_archive: Option<PathBuf>,
    /// The images' tag: localhost/NAME:TAG
    #[arg(long, default_value = "test")]
    tag: String,
    /// The profile: `fast` builds in a fraction of the time and gives larger programs
    #[arg(long, default_value = "release", value_parser = ["release", "fast"])]
    profile: String,
}

impl Args {
    /// All images, for tests.
    pub(crate) fn for_tests() -> Self {
        Self { images: Vec::new(), push_archive: None, tag: "test".into(), profile: "fast".into() }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    Setup::new()?.provide(BUILDAH)?;
    let archives = build(&workspace, args)?;
    println!("\nload them: cargo xtask cluster load {}", shown_paths(&archives));
    Ok(ExitCode::SUCCESS)
}

/// Builds the images that `args` name, if their crates exist, and returns their archives.
pub(crate) fn build(workspace: &Workspace, args: &Args) -> Result<Vec<PathBuf>> {
    let chosen = |image: &&Image| args.images.is_empty() || args.images.iter().any(|name| name == image.name);
    let is_here = |image: &&Image| {
        workspace.select("bin", |package| package == image.package).contains(&format!("--bin={}", image.binary))
    };
    let (there, missing): (Vec<_>, Vec<_>) = ALL.iter().filter(chosen).partition(is_here);
    for image in &missing {
        println!("skipped {}: no crate {} with a program {} here", image.name, image.package, image.binary);
    }
    ensure!(!there.is_empty(), "there is nothing to build");
    let programs = build_programs(workspace, &args.profile, &there)?;
    let folder = match &args.push_archive {
        Some(folder) => std::path::absolute(folder).context("--push-archive is not a path")?,
        None => workspace.target.join("images"),
    };
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let buildah = Buildah::new(&folder)?;
    let mut table = format!("{:<28}{:>12}{:>12}\n", "image", "program", "archive");
    let mut archives = Vec::new();
    for image in there {
        let name = format!("localhost/{}:{}", image.name, args.tag);
        let target = format!("{}-prebuilt", image.name);
        buildah.build(&workspace.root.join("Containerfile"), &programs, &name, &["--target", &target])?;
        let archive = folder.join(format!("{}.tar", image.name));
        buildah.push(&name, &archive)?;
        let sizes = [programs.join(image.binary), archive.clone()].map(|file| mebibytes(&file));
        let [program, packed] = sizes;
        let _ = writeln!(table, "{:<28}{:>12}{:>12}", image.name, program?, packed?);
        archives.push(archive);
    }
    print!("\n{table}");
    Ok(archives)
}

/// Builds static programs and returns their folder.
fn build_programs(workspace: &Workspace, profile: &str, images: &[&Image]) -> Result<PathBuf> {
    let programs = images.iter().flat_map(|image| ["--package", image.package, "--bin", image.binary]);
    build_static(workspace, profile, programs)
}

/// Builds the client's examples of a channel as static programs, for tests in containers, and returns their folder.
pub(crate) fn build_examples(workspace: &Workspace) -> Result<PathBuf> {
    const PROGRAMS: [&str; 3] = ["--package=framebuffer-video", "--bin=channel-publisher", "--bin=channel-subscriber"];
    build_static(workspace, "fast", PROGRAMS)
}

fn build_static<'a>(workspace: &Workspace, profile: &str, what: impl IntoIterator<Item = &'a str>) -> Result<PathBuf> {
    let mut cargo = workspace.cargo(["build", "--locked", "--target", TARGET, "--profile", profile]);
    cargo.args(what).env("RUSTFLAGS", "-C target-feature=+crt-static");
    println!("$ {}", shown(&cargo));
    ensure!(cargo.status().context("failed to start cargo")?.success(), "failed to build the programs");
    Ok(workspace.target.join(TARGET).join(profile))
}

fn mebibytes(file: &Path) -> Result<String> {
    let size = file.metadata().with_context(|| format!("failed to look at {}", file.display()))?.len();
    let tenths = (size * 10).div_ceil(1 << 20);
    Ok(format!("{}.{} MiB", tenths / 10, tenths % 10))
}

fn shown_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_its_two_targets_in_the_containerfile() {
        let file = fs::read_to_string(Workspace::find().unwrap().root.join("Containerfile")).unwrap();
        for image in ALL {
            for target in [image.name.to_owned(), format!("{}-prebuilt", image.name)] {
                assert!(file.lines().any(|line| line.ends_with(&format!(" AS {target}"))), "{target}");
            }
            assert!(file.contains(&format!("ENTRYPOINT [\"/{}\"]", image.binary)), "{}", image.binary);
        }
        assert_eq!(file.matches("USER 65532:65532").count(), ALL.len());
    }
}
