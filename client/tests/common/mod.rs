//! Shared by the tests: rings in temporary folders, verifiable payloads, seeded randomness, helper processes.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::error::Error as StdError;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use framebuffer::layout::{FRAME_ALIGN, HEADER_SIZE};
use framebuffer::{
    Error, Frame, FrameBufferClient, FrameBufferServer, FrameBufferTimeout, Key, Prefault, ServerOptions, TimeoutReason,
};
use tempfile::TempDir;

pub(crate) const KEY: &str = "the-secret-key";
/// Bytes that rings of [`options`] keep.
pub(crate) const SIZE: u64 = 64 << 10;

pub(crate) fn options(dir: &TempDir) -> ServerOptions {
    FrameBufferServer::options(SIZE).key(key()).dir(dir.path()).prefault(Prefault::Off)
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn is_empty(dir: &TempDir) -> bool {
    fs::read_dir(dir.path()).expect("the folder").next().is_none()
}

/// A segment that its server kept, with one frame in it.
pub(crate) fn kept_segment() -> (TempDir, Frame) {
    let dir = folder();
    let server = options(&dir).keep(true).start().expect("a ring");
    let frame = client_in(&dir).publish(&payload(1, 1000)).expect("there is room");
    drop(server);
    (dir, frame)
}

/// A ring in a folder of its own.
pub(crate) struct TestRing {
    pub(crate) server: FrameBufferServer,
    pub(crate) dir: TempDir,
}

impl TestRing {
    pub(crate) fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let server = FrameBufferServer::options(size).key(key()).dir(dir.path()).prefault(Prefault::Off).start();
        Self { server: server.expect("a ring"), dir }
    }

    pub(crate) fn client(&self) -> FrameBufferClient {
        client_in(&self.dir)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.server.stats().expect("stats").capacity
    }

    pub(crate) fn head(&self) -> u64 {
        self.server.stats().expect("stats").head
    }
}

pub(crate) fn key() -> Key {
    Key::new(KEY).expect("a key")
}

/// The segment's file.
pub(crate) fn segment_path(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join(format!("framebuffer-{KEY}"))
}

pub(crate) fn client_in(dir: &TempDir) -> FrameBufferClient {
    FrameBufferClient::options(key()).dir(dir.path()).prefault(Prefault::Off).open().expect("the ring")
}

/// Bytes of the ring that a frame of `size` bytes takes.
pub(crate) fn length(size: u64) -> u64 {
    (HEADER_SIZE + size).next_multiple_of(FRAME_ALIGN)
}

/// Publishes frames of `size` bytes until the ring has moved on by at least `bytes`.
pub(crate) fn move_on(client: &FrameBufferClient, bytes: u64, size: usize) {
    let data = vec![0xEE; size];
    let until = client.stats().expect("stats").head + bytes;
    while client.stats().expect("stats").head < until {
        client.publish(&data).expect("there is room");
    }
}

/// Contents that follow from `seed`, and differ from those of every other seed.
pub(crate) fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    fill(seed, &mut data);
    data
}

pub(crate) fn fill(seed: u64, data: &mut [u8]) {
    for (number, chunk) in data.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(seed, number).to_le_bytes()[..chunk.len()]);
    }
}

/// Whether these are, to the last byte, the contents that [`payload`] makes of `seed`.
pub(crate) fn is_payload(seed: u64, data: &[u8]) -> bool {
    data.chunks(8).enumerate().all(|(number, chunk)| chunk == &word(seed, number).to_le_bytes()[..chunk.len()])
}

fn word(seed: u64, number: usize) -> u64 {
    mix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Repeatable randomness.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s for this: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Why the frame timed out. Panics if it did not.
pub(crate) fn timeout<T>(result: Result<T, Error>, frame: &Frame) -> TimeoutReason {
    match result {
        Err(Error::Timeout(FrameBufferTimeout { offset, reason })) => {
            assert_eq!(offset, frame.offset, "the timeout names the frame");
            reason
        }
        Err(error) => panic!("expected a timeout of {frame:?}, got: {}", chain(&error)),
        Ok(_) => panic!("expected a timeout of {frame:?}, got the frame"),
    }
}

/// The error and its causes, as a program would print them. Panics if the key is in there.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let debug = format!("{error:?}");
    assert!(!debug.contains(KEY), "the key is in the debug output of an error");
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(!text.contains(KEY), "the key is in the text of an error");
    text
}

/// Runs `test`, the body of the test `name`, in a process where no other test runs: for what changes the whole process.
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "FRAMEBUFFER_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|alone| alone == name) {
        return test();
    }
    let output = this_test_binary(name).env(ALONE, name).output().expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "in a process of its own: {}\n{text}", output.status);
}

/// A command that runs one test of this binary, in the main thread.
pub(crate) fn this_test_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command.args([test, "--exact", "--include-ignored", "--nocapture", "--quiet", "--test-threads=1"]);
    command
}
