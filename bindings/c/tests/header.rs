//! `include/framebuffer.h` is what cbindgen makes of the sources. `UPDATE_GOLDEN=1` writes it anew.

use std::path::Path;

#[test]
fn the_header_is_what_the_sources_say() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = header(crate_folder);
    let path = crate_folder.join("include/framebuffer.h");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the header is there");
    assert_eq!(committed, made, "{} is stale; UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn header(crate_folder: &Path) -> String {
    let mut config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).expect("a configuration");
    config.after_includes = Some(versions() + &config.after_includes.unwrap_or_default());
    let mut made = Vec::new();
    cbindgen::generate_with_config(crate_folder, config).expect("cbindgen understands the sources").write(&mut made);
    String::from_utf8(made).expect("text")
}

/// The version that a program is compiled with, whole and as numbers.
fn versions() -> String {
    let number = |name: &str, value: &str| format!("#define FRAMEBUFFER_VERSION{name} {value}\n");
    [
        "\n/** The version of this header. */\n".to_owned(),
        number("", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")),
        number("_MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        number("_MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        number("_PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ]
    .concat()
}
