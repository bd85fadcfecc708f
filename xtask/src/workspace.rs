//! Where the repository is, where its builds go, and how cargo is called in it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The target of this machine, for builds that must not share their flags with build scripts.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The folder where cargo builds, usually `target`.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this program belongs to.
    pub(crate) fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            target_directory: PathBuf,
        }
        // cargo sets the variable when it runs this program; it differs from the compiled-in path in a moved checkout.
        let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let mut metadata = Command::new("cargo");
        metadata.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(&xtask);
        let output = metadata.output().context("failed to start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let Metadata { workspace_root, target_directory } =
            serde_json::from_slice(&output.stdout).context("failed to parse the output of cargo metadata")?;
        Ok(Self { root: workspace_root, target: target_directory })
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

    /// A folder for builds with flags of their own. Cargo would rebuild everything whenever two builds with
    /// different `RUSTFLAGS` take turns in one folder.
    pub(crate) fn target_for(&self, flavour: &str) -> PathBuf {
        self.target.join(flavour)
    }

    /// Where the binary of a `--profile fast` build is.
    pub(crate) fn fast_binary(&self, name: &str) -> PathBuf {
        self.target.join("fast").join(name)
    }
}

/// Removes what cargo told this program about its own package: build scripts of other packages may look at it.
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

/// The program called `name` in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// Whether `file` is a program.
pub(crate) fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
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
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command.args(["test", "--test", "*", "it's"]).env("RUSTFLAGS", "--cfg loom").env("PATH", "/bin");
        assert_eq!(shown(&command), r"RUSTFLAGS='--cfg loom' cargo test --test '*' 'it'\''s'");
    }

    #[test]
    fn a_program_is_found_in_the_path_and_a_missing_one_is_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no such program").is_none());
    }
}
