//! Programs in C and C++, compiled against the installed library, each once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};

/// How to link a program, or which sanitizers to add.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flavour {
    Shared,
    Static,
    /// `AddressSanitizer`, with its search for leaks, and `UndefinedBehaviorSanitizer`.
    Sanitized,
}

/// The folder that the library is installed in.
pub(crate) fn prefix() -> PathBuf {
    std::env::var_os("FRAMEBUFFER_C_PREFIX").expect("FRAMEBUFFER_C_PREFIX: use cargo xtask test c").into()
}

/// A file of this crate.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A lasting folder for build results.
pub(crate) fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The program compiled from a file of this crate, without a warning.
pub(crate) fn program(path: &str, flavour: Flavour) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, &'static OnceLock<PathBuf>>> = Mutex::new(BTreeMap::new());
    let name = format!("{}-{flavour:?}", path.replace(['/', '.'], "-"));
    let once =
        *BUILT.lock().expect("no test panics in here").entry(name.clone()).or_insert_with(|| Box::leak(Box::default()));
    once.get_or_init(|| compile(&source(path), flavour, place(&name))).clone()
}

fn compile(source: &Path, flavour: Flavour, to: PathBuf) -> PathBuf {
    let mut command = compiler(source);
    command.args(["-g", "-O1", "-pthread", "-o"]).arg(&to).arg(source);
    match flavour {
        Flavour::Shared => command.args(flags(&["--cflags", "--libs"])),
        Flavour::Static => {
            // The linker prefers the shared library, when both are there.
            let flags = flags(&["--static", "--cflags", "--libs"]).into_iter();
            command.args(flags.map(|flag| flag.replace("-lframebuffer", "-l:libframebuffer.a")))
        }
        Flavour::Sanitized => {
            command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
            command.args(flags(&["--cflags", "--libs"]))
        }
    };
    succeed(&mut command);
    to
}

/// The compiler for a file, in the oldest language that the headers are for, with warnings as errors.
pub(crate) fn compiler(source: &Path) -> Command {
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut command = Command::new(if is_cpp { "c++" } else { "cc" });
    command.arg(if is_cpp { "-std=c++17" } else { "-std=c99" });
    command.args(["-Wall", "-Wextra", "-pedantic", "-Werror"]);
    command
}

/// The output of pkg-config about the library.
pub(crate) fn flags(what: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(what).arg("framebuffer");
    succeed(with_pkg_config(&mut command)).split_whitespace().map(str::to_owned).collect()
}

pub(crate) fn with_pkg_config(command: &mut Command) -> &mut Command {
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
}

/// A program that finds the shared library, and no ring but the test's own.
pub(crate) fn run(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib")).env("FRAMEBUFFER_DIR", dir);
    command.env_remove("FRAMEBUFFER_URL").env_remove("FRAMEBUFFER_KEY");
    command
}

/// Runs a command, which must succeed, and returns its output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}
