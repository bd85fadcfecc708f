//! Defences against the operating system and the rest of the program: [`fork`] copies this library into a child
//! process, and other code closes its descriptors ([`own_file`]).

pub(crate) mod fork;
mod gate;
mod handover;
pub(crate) mod own_file;
