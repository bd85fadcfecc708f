//! Rings for the examples: of a sidecar, and of this process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use framebuffer::{FrameBufferClient, FrameBufferServer, Key};
use tempfile::TempDir;

/// The size of the examples' images.
pub(crate) const STEP: usize = 3 * 640;
pub(crate) const FRAME_SIZE: usize = 480 * STEP;
/// The number of frames that the examples pass, and a ring that keeps them all.
pub(crate) const FRAMES: usize = 12;
const KEEPS_ALL: u64 = 16 << 20;

/// The bytes that the examples draw into frame `number`.
pub(crate) fn drawn(number: usize) -> Vec<u8> {
    (0..FRAME_SIZE).map(|at| (number + at / STEP + at % STEP) as u8).collect()
}

/// A sidecar that serves at a Unix socket. Killed when dropped.
pub(crate) struct Sidecar {
    child: Child,
    dir: TempDir,
}

impl Sidecar {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { child: serve(dir.path()), dir }
    }

    /// Stops it as Kubernetes does, and starts another one in its place, with a ring of its own.
    pub(crate) fn restart(&mut self) {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(stopped.success() && self.child.wait().expect("an end").success(), "it stops");
        self.child = serve(self.dir());
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("unix:{}", socket(self.dir()).display())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(dir: &Path) -> Child {
    let program = std::env::var_os("FRAMEBUFFER_SIDECAR").expect("FRAMEBUFFER_SIDECAR: use cargo xtask test c");
    let mut command = Command::new(program);
    command.args(["serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--socket"]).arg(socket(dir));
    command.arg("--dir").arg(dir).arg(format!("--size={KEEPS_ALL}"));
    command.env_clear().stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the sidecar starts")
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("sidecar.sock")
}

/// A ring that this process owns.
pub(crate) struct OwnRing {
    server: FrameBufferServer,
    pub(crate) client: FrameBufferClient,
    dir: TempDir,
}

impl OwnRing {
    pub(crate) fn new() -> Self {
        Self::of(KEEPS_ALL)
    }

    pub(crate) fn of(size: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let server = FrameBufferServer::options(size).dir(dir.path()).start().expect("a ring");
        let key = Key::new(server.get_key()).expect("a key");
        let client = FrameBufferClient::options(key).dir(dir.path()).open().expect("the ring");
        Self { server, client, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn key(&self) -> &str {
        self.server.get_key()
    }
}
