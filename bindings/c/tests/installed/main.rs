//! The installed library as its users see it: programs compiled by the README's commands, linked both ways, run
//! in several processes and languages, under sanitizers and valgrind.
//!
//! `cargo xtask test c` installs it, and says where by `FRAMEBUFFER_C_PREFIX`.

mod checks;
mod compiler;
mod examples;
mod library;
mod readme;
mod ring;
