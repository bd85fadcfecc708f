//! A ring for a test, that of a real sidecar.

use std::path::{Path, PathBuf};
use std::process::Command;

use framebuffer::{Connect, FrameBufferClient};
use tempfile::TempDir;

use crate::support::Process;

/// A ring, and a folder for everything that belongs to the test; both go with it.
pub(crate) struct Ring {
    // In this order: first whoever uses the folder, then the folder.
    _sidecar: Process,
    folder: TempDir,
}

impl Ring {
    /// A ring of `size` bytes.
    pub(crate) fn start(size: u64) -> Self {
        // The segment's folder too: nothing can stay behind in /dev/shm itself.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut command = Command::new(sidecar());
        command.args(["serve", "--size", &size.to_string(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--dir").arg(folder.path()).arg("--socket").arg(folder.path().join("api.sock"));
        // The writer and the reader try again while it starts.
        Self { _sidecar: Process::start(&mut command), folder }
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `frame-writer` or `frame-reader`, finding this ring as in a pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("FRAMEBUFFER_URL", format!("unix:{}", self.path("api.sock").display()));
        command.env("FRAMEBUFFER_DIR", self.folder.path());
        command
    }

    /// A running `frame-reader`, which has subscribed.
    pub(crate) fn reader(&self, args: &[&str]) -> Process {
        let reader = Process::start(self.command(env!("CARGO_BIN_EXE_frame-reader")).args(args));
        reader.wait_for("subscribed to channel");
        reader
    }

    /// A running `frame-writer`.
    pub(crate) fn writer(&self, args: &[&str]) -> Process {
        Process::start(self.command(env!("CARGO_BIN_EXE_frame-writer")).args(args))
    }

    /// A client within the test.
    pub(crate) fn client(&self) -> FrameBufferClient {
        let url = format!("unix:{}", self.path("api.sock").display());
        Connect::new(&url).dir(self.folder.path()).connect().unwrap()
    }
}

/// `FRAMEBUFFER_SIDECAR`, or the sidecar beside these programs.
fn sidecar() -> PathBuf {
    let named = std::env::var_os("FRAMEBUFFER_SIDECAR").map(PathBuf::from);
    let sidecar =
        named.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_frame-writer")).with_file_name("framebuffer-sidecar"));
    assert!(sidecar.exists(), "no sidecar at {}: cargo build -p framebuffer-sidecar", sidecar.display());
    sidecar
}
