//! Gives the shared library its name in programs that are linked with it, and keeps it loaded.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Before 1.0 a minor version may change the ABI, so it is part of the name: programs get what they were built for.
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libframebuffer.so.{major}.{minor}");
    // A plugin's host may call dlclose while a thread still touches a ring's pages, or has a message of an error.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
