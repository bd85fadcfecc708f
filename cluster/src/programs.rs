//! The cluster's programs, built from the modules in `cluster/versions` and kept in a cache folder.
//!
//! Each set of programs has a folder of its own, named by a hash of everything that decides the result of the build: a
//! new version is built beside the old one. The `go.mod` files name the versions; `go.sum` makes the build the same
//! everywhere. `cluster/versions/kubernetes` is the version that is used by default, `kubernetes-1.33` and the like are
//! others that a user can ask for.

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
    /// The minor version of Kubernetes, as in `1.33`; `None` for the one that the repository's tests use by default.
    pub kubernetes: Option<String>,
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
        folder: KUBERNETES,
        package: "tool",
        programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"],
    },
];
/// The folder of the default version of Kubernetes.
const KUBERNETES: &str = "kubernetes";
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
    let Sources { repository, go, cache, kubernetes } = sources;
    let modules = Modules::find(&repository.join("cluster/versions"), kubernetes.as_deref())?;
    let version = modules.kubernetes_version()?;
    let folder = cache.join(format!("kubernetes-{version}-{:016x}", modules.hash()?));
    if is_complete(&folder) {
        return Ok(folder);
    }
    fs::create_dir_all(cache).with_context(|| format!("failed to create {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("failed to create a lock in the cache folder")?;
    if lock.try_lock().is_err() {
        println!("waiting for another build of the cluster's programs in {} to finish", cache.display());
        lock.lock().context("failed to lock the cache folder")?;
    }
    if !is_complete(&folder) {
        build(go, &modules, &version, &folder)?;
    }
    Ok(folder)
}

/// Builds into a folder beside `folder` and renames it, so that a killed build is not taken for a complete one.
fn build(go: &Path, modules: &Modules, version: &str, folder: &Path) -> Result<()> {
    println!("building Kubernetes {version}, etcd and Helm, once; they are kept in {}", folder.display());
    println!("reading their modules; the first time, about 300 MB are downloaded");
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    fs::create_dir_all(&partial).with_context(|| format!("failed to create {}", partial.display()))?;
    let packages = MODULES.iter().map(|module| count_packages(go, &modules.folder(module), module.package));
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
    modules: &Modules,
    module: &Module,
    version: &str,
    output: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let mut command = go_in(go, &modules.folder(module));
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
    if module.folder != KUBERNETES {
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

/// The folders of the modules, for one version of Kubernetes.
#[derive(Debug)]
struct Modules {
    root: PathBuf,
    /// The one of Kubernetes, in `root`.
    kubernetes: String,
}

impl Modules {
    /// Those in `root` for this minor version.
    fn find(root: &Path, kubernetes: Option<&str>) -> Result<Self> {
        let found = Self {
            root: root.to_owned(),
            kubernetes: kubernetes.map_or_else(|| KUBERNETES.to_owned(), |minor| format!("{KUBERNETES}-{minor}")),
        };
        if root.join(&found.kubernetes).join("go.mod").is_file() {
            return Ok(found);
        }
        let default = Self { kubernetes: KUBERNETES.to_owned(), ..found };
        let version = default.kubernetes_version()?;
        let Some(asked) = kubernetes else { bail!("there is no module of Kubernetes in {}", root.display()) };
        if is_of_minor(&version, asked) {
            return Ok(default);
        }
        let others = others(root)?;
        bail!("there is no module for Kubernetes {asked}; there are {} and {version}, the default", others.join(", "))
    }

    fn folder(&self, module: &Module) -> PathBuf {
        self.root.join(if module.folder == KUBERNETES { &self.kubernetes } else { module.folder })
    }

    /// The version of Kubernetes in its `go.mod`.
    fn kubernetes_version(&self) -> Result<String> {
        let file = self.root.join(&self.kubernetes).join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let mut lines = text.lines().map(|line| line.trim().trim_start_matches("require "));
        let version = lines.find_map(|line| line.strip_prefix("k8s.io/kubernetes ")?.split(' ').next());
        version.map(str::to_owned).with_context(|| format!("no version of k8s.io/kubernetes in {}", file.display()))
    }

    /// A hash of everything that decides the result of the build, and of nothing else.
    fn hash(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        for module in MODULES {
            for name in ["go.mod", "go.sum"] {
                let file = self.folder(module).join(name);
                hasher.write(&fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
            }
            hasher.write(ldflags(module, "").as_bytes());
        }
        Ok(hasher.finish())
    }
}

/// Whether `version`, as in `v1.36.3` and what follows, is of the minor version `asked`, as in `1.36`.
pub(crate) fn is_of_minor(version: &str, asked: &str) -> bool {
    version.strip_prefix('v').and_then(|version| version.strip_prefix(asked)).is_some_and(|rest| rest.starts_with('.'))
}

/// The minor versions besides the default one, in order.
fn others(root: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(root).with_context(|| format!("failed to read {}", root.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let prefix = format!("{KUBERNETES}-");
    let mut minors: Vec<String> = names.filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned())).collect();
    minors.sort_unstable();
    Ok(minors)
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

    /// The modules' folder, with a module of Kubernetes for each of these folders and versions.
    fn modules(kubernetes: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, text: &str| {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("go.sum"), "").unwrap();
            fs::write(root.path().join(folder).join("go.mod"), text).unwrap();
        };
        for (folder, text) in [("etcd", ""), ("helm", "")].iter().chain(kubernetes) {
            write(folder, text);
        }
        root
    }

    const DEFAULT: (&str, &str) = ("kubernetes", "\tk8s.io/kubernetes v1.36.3 // indirect\n");
    const OLDER: (&str, &str) = ("kubernetes-1.33", "require k8s.io/kubernetes v1.33.13\n");

    #[test]
    fn another_version_is_built_into_another_folder() {
        let root = modules(&[DEFAULT, OLDER]);
        let [default, older] = [None, Some("1.33")].map(|asked| Modules::find(root.path(), asked).unwrap());
        assert_eq!(default.kubernetes_version().unwrap(), "v1.36.3");
        assert_eq!(older.kubernetes_version().unwrap(), "v1.33.13");
        let before = default.hash().unwrap();
        assert_ne!(older.hash().unwrap(), before);
        fs::write(root.path().join("helm/go.mod"), "changed").unwrap();
        assert_ne!(default.hash().unwrap(), before);
    }

    #[test]
    fn a_version_that_is_not_there_is_an_error_that_names_those_that_are() {
        let root = modules(&[DEFAULT, OLDER]);
        assert_eq!(Modules::find(root.path(), Some("1.36")).unwrap().kubernetes, KUBERNETES);
        let error = Modules::find(root.path(), Some("1.3")).unwrap_err();
        assert_eq!(error.to_string(), "there is no module for Kubernetes 1.3; there are 1.33 and v1.36.3, the default");
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
