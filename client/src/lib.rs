//! FrameBuffer stub.
#![allow(missing_docs, unused, dead_code, clippy::all, clippy::pedantic)]
mod checksum;
mod error;
mod frame;
mod key;
mod segment { pub mod error; }
mod stats;
pub use checksum::{Checksum, InvalidChecksum};
pub use error::{Error, FrameBufferTimeout, TimeoutReason};
pub use frame::Frame;
pub use key::{InvalidKey, Key};
pub use segment::error::SegmentError;
pub use stats::{Counters, Stats};
use std::{path::{Path, PathBuf}, time::Duration};
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefault { Off, Background, Wait }
#[derive(Debug)] pub struct FrameBufferServer;
#[derive(Debug, Clone)] pub struct ServerOptions;
impl ServerOptions {
    pub fn key(self, _: Key) -> Self { todo!() }
    pub fn dir(self, _: impl Into<PathBuf>) -> Self { todo!() }
    pub fn mode(self, _: u32) -> Self { todo!() }
    pub fn keep(self, _: bool) -> Self { todo!() }
    pub fn prefault(self, _: Prefault) -> Self { todo!() }
    pub fn start(self) -> Result<FrameBufferServer, SegmentError> { todo!() }
}
impl FrameBufferServer {
    pub fn new(_: &str, _: u64) -> Result<Self, SegmentError> { todo!() }
    pub fn options(_: u64) -> ServerOptions { todo!() }
    pub fn start(&mut self) -> Result<(), SegmentError> { todo!() }
    pub fn stop(&mut self) -> Result<(), SegmentError> { todo!() }
    pub fn get_key(&self) -> &str { todo!() }
    pub fn size(&self) -> u64 { todo!() }
    pub fn adopted(&self) -> bool { todo!() }
    pub fn allocate(&self, _: u64) -> Result<u64, Error> { todo!() }
    pub fn stats(&self) -> Result<Stats, Error> { todo!() }
    pub fn reap(&self) -> Result<usize, Error> { todo!() }
}
pub fn default_dir() -> PathBuf { todo!() }
pub fn stat(_: &Path, _: &Key) -> Result<Stats, SegmentError> { todo!() }
#[derive(Debug)] pub struct FrameBufferClient;
#[derive(Debug)] pub struct ClientOptions;
impl ClientOptions {
    pub fn dir(self, _: impl Into<PathBuf>) -> Self { todo!() }
    pub fn prefault(self, _: Prefault) -> Self { todo!() }
    pub fn open(self) -> Result<FrameBufferClient, SegmentError> { todo!() }
}
impl FrameBufferClient {
    pub fn open(_: &str) -> Result<Self, SegmentError> { todo!() }
    pub fn options(_: Key) -> ClientOptions { todo!() }
    pub fn size(&self) -> Result<u64, Error> { todo!() }
    pub fn allocate(&self, _: u64) -> Result<u64, Error> { todo!() }
    pub fn write(&self, _: u64, _: &[u8]) -> Result<Checksum, Error> { todo!() }
    pub fn read(&self, _: u64, _: u64, _: Checksum) -> Result<Vec<u8>, Error> { todo!() }
    pub fn publish(&self, _: &[u8]) -> Result<Frame, Error> { todo!() }
    pub fn read_frame(&self, _: &Frame) -> Result<Vec<u8>, Error> { todo!() }
    pub fn read_into(&self, _: &Frame, _: &mut [u8]) -> Result<(), Error> { todo!() }
    pub fn loan(&self, _: u64) -> Result<Loan<'_>, Error> { todo!() }
    pub fn view(&self, _: &Frame) -> Result<View<'_>, Error> { todo!() }
}
#[derive(Debug)] pub struct Loan<'a>(&'a mut [u8]);
impl std::ops::Deref for Loan<'_> { type Target = [u8]; fn deref(&self) -> &[u8] { todo!() } }
impl std::ops::DerefMut for Loan<'_> { fn deref_mut(&mut self) -> &mut [u8] { todo!() } }
impl Loan<'_> { pub fn truncate(&mut self, _: u64) { todo!() } pub fn commit(self) -> Result<Frame, Error> { todo!() } }
#[derive(Debug)] pub struct View<'a>(&'a [u8]);
impl std::ops::Deref for View<'_> { type Target = [u8]; fn deref(&self) -> &[u8] { todo!() } }
impl View<'_> { pub fn verify(&self) -> Result<(), FrameBufferTimeout> { todo!() } }
#[derive(Debug, thiserror::Error)] #[error("stub")] pub struct ConnectError;
pub struct Connect;
impl Connect {
    pub fn new(_: &str) -> Self { todo!() }
    pub fn deadline(self, _: Duration) -> Self { todo!() }
    pub fn dir(self, _: impl Into<PathBuf>) -> Self { todo!() }
    pub fn connect(self) -> Result<FrameBufferClient, ConnectError> { todo!() }
}
pub fn connect(_: &str) -> Result<FrameBufferClient, ConnectError> { todo!() }
pub fn connect_env() -> Result<FrameBufferClient, ConnectError> { todo!() }
