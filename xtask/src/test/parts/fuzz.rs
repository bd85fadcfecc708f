//! The fuzz targets, each for a bounded time.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::Workspace;

pub(super) const FUZZ: Part = Part {
    name: "fuzz",
    about: "every target in fuzz/fuzz_targets survives 20 s of fuzzing",
    needs: || vec![Need::Nightly, Need::Cxx, Need::CARGO_FUZZ],
    run: fuzz,
};

const SECONDS: u32 = 20;

fn fuzz(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let targets = targets(workspace)?;
    ensure!(!targets.is_empty(), "no fuzz targets in fuzz/fuzz_targets");
    targets.iter().map(|target| fuzz_one(workspace, setup, target)).sum()
}

fn fuzz_one(workspace: &Workspace, setup: &Setup, target: &str) -> Result<Counts> {
    let mut command = workspace.cargo_nightly(["fuzz", "run", "--target-dir"]);
    command.arg(workspace.target.join("fuzz")).arg(target).arg("--");
    command.args([format!("-max_total_time={SECONDS}"), "-print_final_stats=1".into(), "-verbosity=0".into()]);
    run(command.env("PATH", setup.path()))
}

/// The names of the fuzz targets, in alphabetical order.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("failed to list {}", folder.display()))?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|extension| extension.to_str()))
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn workspace(root: &Path) -> Workspace {
        Workspace { root: root.into(), target: root.join("target"), packages: Vec::new() }
    }

    #[test]
    fn every_rust_file_in_the_folder_is_a_target() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("fuzz/fuzz_targets");
        fs::create_dir_all(&folder).unwrap();
        for file in ["ring.rs", "bodies.rs", "README.md"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let workspace = workspace(root.path());
        assert_eq!(targets(&workspace).unwrap(), ["bodies", "ring"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_it() {
        let workspace = workspace(Path::new("/nowhere"));
        let error = targets(&workspace).unwrap_err();
        assert_eq!(error.to_string(), "failed to list /nowhere/fuzz/fuzz_targets");
    }
}
