//! What the operating system and the rest of the program do to this library: [`fork`] copies it into a child process,
//! and descriptors are closed under it ([`own_file`]).

pub(crate) mod fork;
pub(crate) mod own_file;
