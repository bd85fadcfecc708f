//! The operator as a process of its own, against an API server of a few lines on loopback: what it takes of memory and
//! of time, whatever others do.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod api_server;
mod deadlines;
mod memory;
mod operator;
mod proxy;
