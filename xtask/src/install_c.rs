//! `cargo xtask install-c`: the C library, its headers and its pkg-config file, into a folder.
//!
//! Own code, since it only copies a few files: cargo-c, the usual tool for this, contains cargo and is as large.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace::{Workspace, shown};

/// Build the C library and install it: libframebuffer, framebuffer.h, framebuffer.hpp, framebuffer.pc.
///
/// The installed files may be moved together: the pkg-config file finds the others relative to itself. After an
/// installation into a folder that the system's linker searches, such as /usr/local, run ldconfig.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the folders lib and include
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// A folder to put in front of the prefix, to assemble a package
    #[arg(long, value_name = "DIR", env = "DESTDIR")]
    destdir: Option<PathBuf>,
}

/// For programs: the first one in C, the second in C++, which includes the others.
const HEADERS: [&str; 4] =
    ["framebuffer.h", "framebuffer.hpp", "framebuffer_channel.hpp", "framebuffer_descriptor.hpp"];

/// The version of everything in this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let prefix = in_destdir(&args.prefix, args.destdir.as_deref());
    for file in install(&Workspace::find()?, &prefix)? {
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The prefix as a folder on this machine.
fn in_destdir(prefix: &Path, destdir: Option<&Path>) -> PathBuf {
    match destdir {
        // Joining an absolute path would replace the folder.
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_owned(),
    }
}

/// Builds the library and installs it into `prefix` with everything that belongs to it. Returns the installed files.
pub(crate) fn install(workspace: &Workspace, prefix: &Path) -> Result<Vec<PathBuf>> {
    let built = build(workspace)?;
    let sources = workspace.root.join("bindings/c");
    let template = sources.join("framebuffer.pc.in");
    let template = fs::read_to_string(&template).with_context(|| format!("failed to read {}", template.display()))?;
    let (library, include) = (prefix.join("lib"), prefix.join("include"));
    for folder in [&include, &library.join("pkgconfig")] {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let names = [format!("libframebuffer.so.{VERSION}"), soname(VERSION), "libframebuffer.so".to_owned()];
    let [shared, soname, development] = names.map(|name| library.join(name));
    let archive = library.join("libframebuffer.a");
    copy(&built.shared, &shared)?;
    copy(&built.archive, &archive)?;
    link(&shared, &soname)?;
    link(&soname, &development)?;
    let headers = HEADERS.map(|name| include.join(name));
    for header in &headers {
        copy(&sources.join("include").join(header.file_name().context("a header has a name")?), header)?;
    }
    let package = library.join("pkgconfig/framebuffer.pc");
    fs::write(&package, template.replace("@VERSION@", VERSION).replace("@LIBS_PRIVATE@", &built.native_libraries))
        .with_context(|| format!("failed to write {}", package.display()))?;
    Ok([shared, soname, development, archive, package].into_iter().chain(headers).collect())
}

/// The name by which programs ask for the library: `bindings/c/build.rs` puts it into the library itself.
fn soname(version: &str) -> String {
    let mut numbers = version.split('.');
    format!("libframebuffer.so.{}.{}", numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // Not into an existing file: a program may be running with it, or it may be a link to another file.
    remove(to)?;
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    remove(at)?;
    let name = to.file_name().context("a library has a name")?;
    symlink(name, at).with_context(|| format!("failed to make the link {}", at.display()))
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to replace {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// The files that cargo has built.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    shared: PathBuf,
    archive: PathBuf,
    /// The libraries that a program needs besides the archive, as options of the linker.
    native_libraries: String,
}

fn build(workspace: &Workspace) -> Result<Built> {
    let mut command = workspace.cargo(["rustc", "--profile=capi", "--package=framebuffer-c", "--lib"]);
    command.args(["--message-format=json-render-diagnostics", "--", "--print=native-static-libs"]);
    println!("$ {}", shown(&command));
    let output = command.stderr(Stdio::piped()).output().context("failed to start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed to build the C library:\n{said}");
    built(&output.stdout, &said).with_context(|| format!("cargo does not name the files that it has built:\n{said}"))
}

/// Finds the files in cargo's messages, a JSON object in each line, and the libraries in the compiler's output.
fn built(messages: &[u8], said: &str) -> Option<Built> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        filenames: Vec<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let mut artifacts =
        messages.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Artifact>(line).ok());
    let files = artifacts.find(|artifact| artifact.target.name == "framebuffer_c")?.filenames;
    let with =
        |extension: &str| files.iter().find(|file| file.extension().is_some_and(|found| found == extension)).cloned();
    let (_, native_libraries) = said.lines().find_map(|line| line.split_once("native-static-libs: "))?;
    Some(Built { shared: with("so")?, archive: with("a")?, native_libraries: native_libraries.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_assembled_below_destdir() {
        let prefix = Path::new("/usr/local");
        assert_eq!(in_destdir(prefix, None), Path::new("/usr/local"));
        assert_eq!(in_destdir(prefix, Some(Path::new("/tmp/package"))), Path::new("/tmp/package/usr/local"));
    }

    #[test]
    fn before_1_0_the_minor_version_is_part_of_the_name() {
        assert_eq!(soname("0.1.0"), "libframebuffer.so.0.1");
    }

    #[test]
    fn files_and_libraries_are_found_in_the_output_of_cargo() {
        let messages = [
            r#"{"reason":"compiler-artifact","target":{"name":"framebuffer"},"filenames":["/t/libframebuffer.rlib"]}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"framebuffer_c"},"filenames":["/t/c.a","/t/c.so"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let said = "   Compiling x\nnote: link against\n\nnote: native-static-libs: -lgcc_s -lc\n";
        let found = built(messages.join("\n").as_bytes(), said).unwrap();
        assert_eq!(
            found,
            Built { shared: "/t/c.so".into(), archive: "/t/c.a".into(), native_libraries: "-lgcc_s -lc".into() }
        );
        assert_eq!(built(messages.join("\n").as_bytes(), "nothing"), None);
    }
}
