//! The repository: its root folder, its target folder, and calls of cargo in it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The target of a build whose `RUSTFLAGS` must not apply to build scripts and procedural macros: with a target named,
/// cargo builds these for the machine, once for all flags. It keeps the builds with several flags beside each other.
pub(crate) const THIS_MACHINE: &str = "--target=host-tuple";

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The folder where cargo builds, usually `target`.
    pub(crate) target: PathBuf,
    /// The crates.
    pub(crate) packages: Vec<Package>,
}

/// A crate of the repository.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Everything that cargo can build of it.
    pub(crate) targets: Vec<Target>,
}

/// A library, program, test, example or benchmark of a crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test` and so on.
    pub(crate) kind: Vec<String>,
}

impl Workspace {
    /// The workspace that this program belongs to.
    pub(crate) fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            target_directory: PathBuf,
            packages: Vec<Package>,
        }
        // cargo sets the variable when it runs this program; it differs from the compiled-in path in a moved checkout.
        let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let mut metadata = Command::new("cargo");
        metadata.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(&xtask);
        let output = metadata.output().context("failed to start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let Metadata { workspace_root, target_directory, packages } =
            serde_json::from_slice(&output.stdout).context("failed to parse the output of cargo metadata")?;
        Ok(Self { root: workspace_root, target: target_directory, packages })
    }

    /// `cargo` in the root folder, with the toolchain that built this program.
    pub(crate) fn cargo<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::new("cargo");
        command.args(args).current_dir(&self.root);
        without_package_variables(&mut command);
        command
    }

    /// `cargo +nightly` in the root folder.
    pub(crate) fn cargo_nightly<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = self.cargo(["+nightly"]);
        command.args(args);
        command
    }

    /// Options that select the targets of a kind (`bin` or `test`) of some crates, for `cargo test --workspace`.
    ///
    /// With `--package` instead, cargo would choose the features of dependencies by these crates alone, and build the
    /// dependencies again for each choice. With all crates selected, every build has the same features.
    pub(crate) fn select(&self, kind: &str, of_package: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let packages = self.packages.iter().filter(|package| of_package(&package.name));
        let targets = packages.flat_map(|package| &package.targets);
        targets.filter(|target| target.is(kind)).map(|target| format!("--{kind}={}", target.name)).collect()
    }

    /// Where the binary of a `--profile fast` build is.
    pub(crate) fn fast_binary(&self, name: &str) -> PathBuf {
        self.target.join("fast").join(name)
    }
}

impl Target {
    /// Whether it is of a kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

/// Removes the variables that describe this program's package: the build scripts of other packages may read them.
pub(crate) fn without_package_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let of_a_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        if of_a_package || name == "CARGO" {
            command.env_remove(name);
        }
    }
}

/// The command as one would type it, with the variables that it sets.
pub(crate) fn shown(command: &Command) -> String {
    let quoted = |text: &OsStr| {
        let text = text.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    let variables = command
        .get_envs()
        .filter(|(name, _)| *name != "PATH")
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_selected_by_kind_and_crate() {
        let target = |name: &str, kind: &str| Target { name: name.into(), kind: vec![kind.into()] };
        let package = |name: &str, targets| Package { name: name.into(), targets };
        let packages = vec![
            package("one", vec![target("one", "lib"), target("first", "bin"), target("whole", "test")]),
            package("two", vec![target("second", "bin"), target("whole", "test")]),
            package("three", vec![target("third", "bin")]),
        ];
        let workspace = Workspace { root: "/r".into(), target: "/t".into(), packages };
        assert!(workspace.select("bin", |name| name != "three").iter().eq(["--bin=first", "--bin=second"]));
        assert!(workspace.select("test", |_| true).iter().eq(["--test=whole"]));
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command.args(["test", "--test", "*", "it's"]).env("RUSTFLAGS", "--cfg loom").env("PATH", "/bin");
        assert_eq!(shown(&command), r"RUSTFLAGS='--cfg loom' cargo test --test '*' 'it'\''s'");
    }
}
