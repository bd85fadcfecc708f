//! The library's version.

use std::ffi::c_char;

/// The version of the library that the program runs with, such as "0.1.0". FRAMEBUFFER_VERSION is the one that it was
/// compiled with. The text is always valid.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
