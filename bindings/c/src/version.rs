//! The library's version.

use std::ffi::c_char;

/// The version of the library that the program runs with, "0.1.0". FRAMEBUFFER_VERSION is the one that it was compiled with.
/// The text is valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
