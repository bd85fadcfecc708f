//! The Python package: its wheel is built, installed into a virtual environment in the target folder, and tested there.
//!
//! The environment is kept until Python or `bindings/python/requirements.txt` changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::rust::build_programs;
use crate::setup::{self, Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::{Workspace, without_package_variables};

pub(super) const PYTHON: Part = Part {
    name: "python",
    about: "the Python package: its wheel, types, style and tests, with threads, forks and programs in Rust",
    needs: || vec![Need::Python],
    run: python,
};

/// The package's folder, and the packages that its tests need.
const PACKAGE: &str = "bindings/python";
const REQUIREMENTS: &str = "bindings/python/requirements.txt";
/// Python programs outside of the package.
const EXAMPLE: &str = "../../examples/python";

fn python(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let environment = setup.timed(|_| Environment::provide(workspace))?;
    let built = build_programs(workspace)?;
    if built.failed > 0 {
        return Ok(built);
    }
    environment.install_wheel(workspace)?;
    let package = workspace.root.join(PACKAGE);
    let tool = |name: &str, arguments: &[&str]| {
        let mut command = environment.program(name);
        command.args(arguments).current_dir(&package);
        command
    };
    let mut tests = tool("pytest", &["--quiet", "--numprocesses=2"]);
    tests.env("FRAMEBUFFER_BIN", workspace.target.join("fast"));
    let checks = [
        tool("ruff", &["format", "--check", ".", EXAMPLE]),
        tool("ruff", &["check", ".", EXAMPLE]),
        tool("mypy", &["python", "benches", "tests/programs/typed.py", EXAMPLE]),
        tool("stubtest", &["framebuffer", "--allowlist=tests/stubtest-allowlist.txt", "--ignore-unused-allowlist"]),
        tests,
    ];
    checks.into_iter().map(|mut command| run(&mut command)).sum()
}

/// A virtual environment with everything in `requirements.txt`.
struct Environment {
    folder: PathBuf,
}

impl Environment {
    fn provide(workspace: &Workspace) -> Result<Self> {
        let environment = Self { folder: workspace.target.join("python").join("venv") };
        let requirements = workspace.root.join(REQUIREMENTS);
        let wanted = fs::read_to_string(&requirements).with_context(|| format!("failed to read {REQUIREMENTS}"))?;
        let wanted = format!("{}\n{wanted}", version()?);
        let stamp = environment.folder.join("made-from");
        if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
            return Ok(environment);
        }
        setup::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment.folder))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        setup::run(environment.program("python").args(install).arg(&requirements))?;
        fs::write(&stamp, wanted).with_context(|| format!("failed to write {}", stamp.display()))?;
        Ok(environment)
    }

    /// A program in it, as if it were activated.
    fn program(&self, name: &str) -> Command {
        let bin = self.folder.join("bin");
        let mut command = Command::new(bin.join(name));
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path).env("VIRTUAL_ENV", &self.folder).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        without_package_variables(&mut command);
        command
    }

    /// Builds the wheel and installs it.
    fn install_wheel(&self, workspace: &Workspace) -> Result<()> {
        let wheels = workspace.target.join("python").join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).with_context(|| format!("failed to empty {}", wheels.display()))?;
        }
        let mut build = self.program("maturin");
        build.args(["build", "--quiet", "--profile=fast", "--compatibility=linux", "--out"]).arg(&wheels);
        setup::run(build.current_dir(workspace.root.join(PACKAGE)).env("CARGO_TARGET_DIR", &workspace.target))?;
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall"];
        setup::run(self.program("python").args(install).arg(only_wheel(&wheels)?))
    }
}

/// The version and the path of Python: an environment belongs to one Python.
fn version() -> Result<String> {
    let mut command = Command::new("python3");
    command.args(["-c", "import sys; print(sys.version, sys.base_prefix)"]).stdin(Stdio::null());
    let said = command.output().context("failed to start python3")?;
    ensure!(said.status.success(), "python3 says no version: {}", String::from_utf8_lossy(&said.stderr));
    Ok(String::from_utf8_lossy(&said.stdout).trim().replace('\n', " "))
}

fn only_wheel(folder: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder).context("failed to list the wheels")?;
    Ok(files.next().context("maturin built no wheel")?.context("failed to list the wheels")?.path())
}
