//! The installed files: the names in the library, the headers, the pkg-config file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::compiler::{compiler, flags, prefix, source, succeed};

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_shared_library_exports_the_functions_of_the_header_and_nothing_else() {
    let exported = names(&["-D", "--defined-only"], "libframebuffer.so");
    assert_eq!(exported, functions_of_the_header());
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_static_library_has_the_functions_of_the_header() {
    // Its other names are the Rust compiler's: a static library can't hide them.
    let defined = names(&["-g", "--defined-only"], "libframebuffer.a");
    let ours: BTreeSet<_> = defined.into_iter().filter(|name| name.starts_with("framebuffer_")).collect();
    assert_eq!(ours, functions_of_the_header());
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn programs_ask_for_the_library_by_a_name_with_the_version_of_its_abi() {
    let library = prefix().join("lib/libframebuffer.so");
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(&library));
    let name = concat!("libframebuffer.so.", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    assert!(dynamic.contains(&format!("Library soname: [{name}]")), "{dynamic}");
    assert!(library.with_file_name(name).exists(), "{name} is installed");
    assert!(dynamic.contains("NODELETE"), "dlclose leaves it loaded: {dynamic}");
    let needed: BTreeSet<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).map(last_word).collect();
    assert!(
        needed.iter().all(|name| ["[libc.", "[libgcc_s.", "[ld-"].iter().any(|known| name.starts_with(known))),
        "{needed:?}"
    );
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn what_is_installed_may_be_moved() {
    let moved = tempfile::tempdir().expect("a temporary folder");
    let to = moved.path().join("lib/pkgconfig");
    fs::create_dir_all(&to).expect("a folder");
    fs::copy(prefix().join("lib/pkgconfig/framebuffer.pc"), to.join("framebuffer.pc")).expect("a copy");
    let mut command = Command::new("pkg-config");
    command.args(["--cflags", "--libs", "framebuffer"]).env("PKG_CONFIG_PATH", &to);
    let flags = succeed(&mut command);
    for folder in ["include", "lib"] {
        let moved = moved.path().join("lib/pkgconfig/../..").join(folder);
        assert!(flags.contains(&*moved.to_string_lossy()), "{flags} has {}", moved.display());
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn pkg_config_knows_the_version_and_what_the_static_library_needs() {
    assert_eq!(flags(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let shared = flags(&["--libs"]);
    let more = flags(&["--libs", "--static"]);
    assert!(more.len() > shared.len() && more.contains(&"-lc".to_owned()), "{more:?}");
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_headers_compile_alone_in_every_language_that_they_are_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let languages = [
        ("framebuffer.h", "c", ["c99", "c11", "c17", "c2x"]),
        ("framebuffer.h", "cpp", ["c++11", "c++14", "c++17", "c++20"]),
        ("framebuffer.hpp", "cpp", ["c++17", "c++20", "c++23", "gnu++17"]),
        ("framebuffer_channel.hpp", "cpp", ["c++17", "c++20", "c++23", "gnu++17"]),
        ("framebuffer_descriptor.hpp", "cpp", ["c++17", "c++20", "c++23", "gnu++17"]),
    ];
    for (header, extension, standards) in languages {
        let file = folder.path().join(format!("alone.{extension}"));
        fs::write(&file, format!("#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n"))
            .unwrap();
        for standard in standards {
            let mut command = compiler(&file);
            command.arg(format!("-std={standard}")).args(["-Wundef", "-Wshadow", "-Wconversion", "-fsyntax-only"]);
            succeed(command.arg(&file).args(flags(&["--cflags"])));
        }
    }
}

/// The third word of each line of nm.
fn names(arguments: &[&str], library: &str) -> BTreeSet<String> {
    // It complains of members of the static library that are no object files: ignore them.
    let output = Command::new("nm").args(arguments).arg(prefix().join("lib").join(library)).output().expect("nm");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

/// Everything that looks like a call, in declarations and in their documentation.
fn functions_of_the_header() -> BTreeSet<String> {
    let header = fs::read_to_string(source("include/framebuffer.h")).expect("the header");
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || "_(".contains(c)));
    let calls = words.filter_map(|word| word.split_once('(')).map(|(name, _)| name);
    calls.filter(|name| name.starts_with("framebuffer_")).map(str::to_owned).collect()
}

fn last_word(line: &str) -> &str {
    line.split_whitespace().last().unwrap_or_default()
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_installed_headers_are_those_of_the_sources() {
    let list = |folder: &Path| -> BTreeSet<_> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect()
    };
    let headers = list(&source("include"));
    assert_eq!(list(&prefix().join("include")), headers);
    for name in headers {
        let read = |path: &Path| fs::read(path).expect("a header");
        assert!(
            read(&prefix().join("include").join(&name)) == read(&source("include").join(&name)),
            "{name:?} differs"
        );
    }
}
