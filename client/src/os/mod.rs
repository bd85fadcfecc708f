//! Defences against the operating system and the rest of the program: [`fork`] copies this library into a child
//! process, and other code closes its descriptors ([`own_file`]). And what is asked of it without the standard library:
//! [`futex`].

pub(crate) mod fork;
pub(crate) mod futex;
mod gate;
mod handover;
pub(crate) mod own_file;
