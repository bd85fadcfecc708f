//! The cluster's programs, built from the modules in `cluster/versions` and kept in a cache folder.
//!
//! Each set of programs has a folder of its own, named by a hash of everything that decides the result of the build: a
//! new version is built beside the old one. The `go.mod` files name the versions; `go.sum` makes the build the same
//! everywhere.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::command::output;
use crate::progress::Progress;

/// The sources of the cluster's programs, and the folder that keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The root folder of the repository, which has the modules in `cluster/versions`.
    pub repository: PathBuf,
    /// The program `go`, at least as new as the modules demand.
    pub go: PathBuf,
    /// The folder in which programs and images are kept after they are built; created if needed.
    pub cache: PathBuf,
}

/// A `go.mod` and the programs that are built from it.
struct Module {
    /// The folder in `cluster/versions`.
    folder: &'static str,
    /// The package to build; `tool`: those that `go.mod` names.
    package: &'static str,
    /// The programs that come out.
    programs: &'static [&'static str],
}

const MODULES: &[Module] = &[
    Module { folder: "etcd", package: "go.etcd.io/etcd/server/v3", programs: &["etcd"] },
    Module { folder: "helm", package: "tool", programs: &["helm"] },
    Module {
        folder: "kubernetes",
        package: "tool",
        programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"],
    },
];
/// Without symbols: a third of the size.
const LDFLAGS: &str = "-s -w";

/// The folder with the cluster's programs (`helm`, `kubectl` and the components), built if they are not there yet.
///
/// Builds of several processes wait for each other.
///
/// # Errors
///
/// If the programs can't be built; Go keeps the packages that are built already.
pub fn provide_programs(sources: &Sources) -> Result<PathBuf> {
    let Sources { repository, go, cache } = sources;
    let modules = repository.join("cluster/versions");
    let version = kubernetes_version(&modules)?;
    let folder = cache.join(format!("kubernetes-{version}-{:016x}", hash(&modules)?));
    if is_complete(&folder) {
        return Ok(folder);
    }
    fs::create_dir_all(cache).with_context(|| format!("failed to create {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("failed to create a lock in the cache folder")?;
    lock.lock().context("failed to lock the cache folder")?;
    if !is_complete(&folder) {
        build(go, &modules, &version, &folder)?;
    }
    Ok(folder)
}

/// Builds into a folder beside `folder` and renames it, so that a killed build is not taken for a complete one.
fn build(go: &Path, modules: &Path, version: &str, folder: &Path) -> Result<()> {
    println!("building Kubernetes {version}, etcd and Helm, once; they are kept in {}", folder.display());
    println!("reading their modules; the first time, about 300 MB are downloaded");
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    fs::create_dir_all(&partial).with_context(|| format!("failed to create {}", partial.display()))?;
    let packages = MODULES.iter().map(|module| count_packages(go, &modules.join(module.folder), module.package));
    let mut progress = Progress::new(packages.sum::<Result<u32>>()?);
    for module in MODULES {
        build_module(go, modules, module, version, &partial, &mut progress)
            .with_context(|| format!("failed to build {}", module.folder))?;
    }
    fs::rename(&partial, folder).with_context(|| format!("failed to rename {}", partial.display()))?;
    ensure!(is_complete(folder), "a program is missing in {} after the build", folder.display());
    println!("built in {}", progress.elapsed());
    Ok(())
}

fn build_module(
    go: &Path,
    modules: &Path,
    module: &Module,
    version: &str,
    output: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let mut command = go_in(go, &modules.join(module.folder));
    command.args(["build", "-v", "-ldflags", &ldflags(module, version), "-o"]);
    // One package gives one file, several go into a folder under their own names.
    match module.programs {
        [program] => command.arg(output.join(program)),
        _ => command.arg(format!("{}/", output.display())),
    };
    let mut build = command.arg(module.package).stderr(Stdio::piped()).spawn().context("failed to start go")?;
    let said = build.stderr.take().expect("stderr was asked for as a pipe");
    let mut messages = Vec::new();
    // -v names each package when it is compiled.
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if line.contains(' ') && !line.starts_with("go: downloading") {
            messages.push(line);
        } else {
            progress.step(module.folder);
        }
    }
    let status = build.wait().context("failed to wait for go")?;
    if !status.success() {
        bail!("go build ended with {status} and said:\n{}", messages.join("\n"));
    }
    Ok(())
}

/// Kubernetes gets its version from the linker's flags.
fn ldflags(module: &Module, version: &str) -> String {
    if module.folder != "kubernetes" {
        return LDFLAGS.into();
    }
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let variable = "-X k8s.io/component-base/version.git";
    format!("{LDFLAGS} {variable}Version={version} {variable}Major={major} {variable}Minor={minor}")
}

/// How many packages a build compiles at most.
fn count_packages(go: &Path, folder: &Path, package: &str) -> Result<u32> {
    let mut command = go_in(go, folder);
    let packages = output(command.args(["list", "-deps", package]));
    Ok(packages.with_context(|| format!("failed to list packages in {}", folder.display()))?.lines().count() as u32)
}

fn go_in(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    // Exactly what go.mod and go.sum say.
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false");
    command.stdin(Stdio::null());
    command
}

/// The version of Kubernetes in its `go.mod`.
fn kubernetes_version(modules: &Path) -> Result<String> {
    let file = modules.join("kubernetes/go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")?.split(' ').next());
    version.map(str::to_owned).with_context(|| format!("no version of k8s.io/kubernetes in {}", file.display()))
}

/// A hash of everything that decides the result of the build, and of nothing else.
fn hash(modules: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for module in MODULES {
        for name in ["go.mod", "go.sum"] {
            let file = modules.join(module.folder).join(name);
            hasher.write(&fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
        }
        hasher.write(ldflags(module, "").as_bytes());
    }
    Ok(hasher.finish())
}

fn is_complete(folder: &Path) -> bool {
    MODULES.iter().flat_map(|module| module.programs).all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_gets_its_version() {
        assert_eq!(ldflags(&MODULES[0], "v1.36.3"), "-s -w");
        let flags = ldflags(&MODULES[2], "v1.36.3");
        assert!(flags.contains("gitVersion=v1.36.3") && flags.contains("gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }

    #[test]
    fn another_version_is_built_into_another_folder() {
        let modules = tempfile::tempdir().unwrap();
        for module in MODULES {
            fs::create_dir(modules.path().join(module.folder)).unwrap();
            fs::write(modules.path().join(module.folder).join("go.sum"), "").unwrap();
            fs::write(modules.path().join(module.folder).join("go.mod"), "\tk8s.io/kubernetes v1.36.3 // indirect\n")
                .unwrap();
        }
        let before = hash(modules.path()).unwrap();
        assert_eq!(kubernetes_version(modules.path()).unwrap(), "v1.36.3");
        fs::write(modules.path().join("helm/go.mod"), "changed").unwrap();
        assert_ne!(hash(modules.path()).unwrap(), before);
    }

    #[test]
    fn a_folder_that_lacks_a_program_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path()));
        for program in MODULES.iter().flat_map(|module| module.programs) {
            fs::write(folder.path().join(program), "").unwrap();
        }
        assert!(is_complete(folder.path()));
        fs::remove_file(folder.path().join("helm")).unwrap();
        assert!(!is_complete(folder.path()));
    }
}
