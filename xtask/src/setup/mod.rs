//! [`Setup`]: finds and installs the [`Need`]s of tests, or tells how to install them.
//!
//! Things that belong into the cache folder (`FRAMEBUFFER_CACHE`, by default `~/.cache/framebuffer`) are installed
//! everywhere. Changes of the system are made only on Debian as root, where that is expected (CI, containers);
//! elsewhere the error names the command. Things that are there already cost no network.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::shown;
pub(crate) use need::Need;

mod need;

/// The machine, as far as things can be installed on it.
#[derive(Debug)]
pub(crate) struct Setup {
    cache: PathBuf,
    /// Debian, and we are root: packages may be installed.
    may_install: bool,
    /// `apt-get update` has run.
    lists_are_new: bool,
    /// How long all set-up has taken so far.
    spent: Duration,
}

impl Setup {
    /// Looks at the machine; installs nothing yet.
    pub(crate) fn new() -> Result<Self> {
        let cache = match (env::var_os("FRAMEBUFFER_CACHE"), env::var_os("HOME")) {
            (Some(cache), _) => std::path::absolute(cache).context("FRAMEBUFFER_CACHE is not a path")?,
            (None, Some(home)) => Path::new(&home).join(".cache/framebuffer"),
            (None, None) => bail!("no cache folder: neither FRAMEBUFFER_CACHE nor HOME is set"),
        };
        let debian = Path::new("/etc/debian_version").exists() && which::which("apt-get").is_ok();
        let may_install = debian && nix::unistd::geteuid().is_root();
        Ok(Self { cache, may_install, lists_are_new: false, spent: Duration::ZERO })
    }

    /// Makes sure that `need` is there.
    pub(crate) fn provide(&mut self, need: Need) -> Result<()> {
        self.timed(|setup| {
            if need.is_met(setup) {
                return Ok(());
            }
            println!("{} is missing", need.name());
            need.get(setup).with_context(|| format!("{} is missing", need.name()))?;
            if !need.is_met(setup) {
                bail!("{} is still missing after it was installed", need.name());
            }
            Ok(())
        })
    }

    /// Counts the time that `work` takes as set-up: its result is kept for later runs.
    pub(crate) fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (before, start) = (self.spent, Instant::now());
        let done = work(self);
        // Not added to what was counted meanwhile: set-up within set-up counts once.
        self.spent = before + start.elapsed();
        done
    }

    /// How long all set-up has taken so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// The real clip that the tests of whole processes stream.
    pub(crate) fn clip(&self) -> PathBuf {
        match env::var_os("FRAMEBUFFER_CLIP") {
            Some(clip) => clip.into(),
            None => self.cache.join(need::CLIP),
        }
    }

    /// Whether `name` is in `PATH` or among the tools in the cache folder.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        which::which_in_global(name, Some(self.path())).is_ok_and(|mut found| found.next().is_some())
    }

    /// `PATH` with the tools in the cache folder first.
    pub(crate) fn path(&self) -> OsString {
        let mut path = self.tools().join("bin").into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        path
    }

    /// The Go that [`Need::Go`] is about.
    pub(crate) fn go(&self) -> Result<PathBuf> {
        need::go(self).with_context(|| format!("{} is missing", Need::Go.name()))
    }

    /// The folder for everything that took long to download or to build.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder into which `cargo install` puts tools.
    fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// Installs a Debian package, or tells how to.
    fn install_package(&mut self, package: &str) -> Result<()> {
        if !self.may_install {
            let sudo = if which::which("sudo").is_ok() { "sudo " } else { "" };
            bail!("install it; on Debian: {sudo}apt-get install {package}");
        }
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        if !self.lists_are_new {
            run(&mut apt(&["update", "-qq"]))?;
            self.lists_are_new = true;
        }
        run(&mut apt(&["install", "-y", "-qq", "--no-install-recommends", package]))
    }

    /// Runs a command that changes the user's system, or tells the user to.
    fn run_or_tell(&self, command: &mut Command) -> Result<()> {
        if !self.may_install {
            bail!("get it with: {}", shown(command));
        }
        run(command)
    }
}

/// Runs a command and shows it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = shown(command);
    println!("$ {name}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("failed to start {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(may_install: bool) -> Setup {
        Setup { cache: "/nowhere".into(), may_install, lists_are_new: true, spent: Duration::ZERO }
    }

    #[test]
    fn where_nothing_may_be_installed_the_error_names_the_command() {
        let error = setup(false).install_package("ffmpeg").unwrap_err().to_string();
        assert!(error.ends_with("apt-get install ffmpeg"), "{error}");
        let error = setup(false).run_or_tell(Command::new("rustup").arg("toolchain")).unwrap_err();
        assert_eq!(error.to_string(), "get it with: rustup toolchain");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_name() {
        let error = setup(true).run_or_tell(&mut Command::new("false")).unwrap_err();
        assert_eq!(error.to_string(), "false failed: exit status: 1");
    }

    #[test]
    fn tools_in_the_cache_folder_come_first_in_the_path() {
        assert!(setup(true).path().to_string_lossy().starts_with("/nowhere/tools/bin:"));
    }

    #[test]
    fn a_program_is_found_in_the_path_or_among_the_tools_and_a_missing_one_is_not() {
        let cache = tempfile::tempdir().unwrap();
        let setup = Setup { cache: cache.path().into(), ..setup(false) };
        assert!(setup.has_program("sh") && !setup.has_program("cargo-nothing"));
        std::fs::create_dir_all(cache.path().join("tools/bin")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", cache.path().join("tools/bin/cargo-nothing")).unwrap();
        assert!(setup.has_program("cargo-nothing"));
    }

    #[test]
    fn set_up_within_set_up_is_counted_once() {
        let mut setup = setup(false);
        let start = Instant::now();
        let inner = setup.timed(|setup| {
            setup.timed(|_| std::thread::sleep(Duration::from_millis(20)));
            setup.spent()
        });
        assert!(inner >= Duration::from_millis(20) && setup.spent() >= inner);
        assert!(setup.spent() <= start.elapsed());
    }
}
