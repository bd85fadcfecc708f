//! The installed library, as its users meet it: compiled against by the commands of the README, linked both ways, run
//! in several processes and languages, under sanitizers and valgrind.
//!
//! `cargo xtask test c` installs it, and says where by `FRAMEBUFFER_C_PREFIX`.

mod checks;
mod compiler;
mod examples;
mod library;
mod readme;
mod ring;
