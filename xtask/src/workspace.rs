//! The repository: its root folder, its target folder, and calls of cargo in it.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// This machine's target, for builds whose flags must not apply to build scripts.
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

    /// A target folder for builds with other `RUSTFLAGS`, which may not share build scripts and procedural macros with the
    /// usual one.
    pub(crate) fn target_for(&self, flavour: &str) -> PathBuf {
        self.target.join(flavour)
    }

    /// Where the binary of a `--profile fast` build is.
    pub(crate) fn fast_binary(&self, name: &str) -> PathBuf {
        self.target.join("fast").join(name)
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
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command.args(["test", "--test", "*", "it's"]).env("RUSTFLAGS", "--cfg loom").env("PATH", "/bin");
        assert_eq!(shown(&command), r"RUSTFLAGS='--cfg loom' cargo test --test '*' 'it'\''s'");
    }
}
