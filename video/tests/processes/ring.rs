//! A ring for a test: that of a real sidecar if there is one, otherwise one that the test serves itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use framebuffer::FrameBufferServer;
use tempfile::TempDir;

use crate::support::Process;

/// A ring, and a folder for everything that belongs to the test; both go with it.
pub(crate) struct Ring {
    // In this order: first whoever uses the folder, then the folder.
    _owner: Owner,
    folder: TempDir,
}

#[expect(dead_code, reason = "held for their Drop")]
enum Owner {
    Sidecar(Process),
    Own(KeyServer),
}

impl Ring {
    /// A ring of `size` bytes.
    pub(crate) fn start(size: u64) -> Self {
        // The segment's folder too: nothing can stay behind in /dev/shm itself.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let socket = folder.path().join("api.sock");
        let owner = match sidecar() {
            Some(binary) => Owner::Sidecar(start_sidecar(&binary, size, folder.path(), &socket)),
            None => Owner::Own(KeyServer::start(size, folder.path(), &socket)),
        };
        Self { _owner: owner, folder }
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A Unix socket's address in the test's folder.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path("frames.sock").display())
    }

    /// `frame-writer` or `frame-reader`, finding this ring as in a pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("FRAMEBUFFER_URL", format!("unix:{}", self.path("api.sock").display()));
        command.env("FRAMEBUFFER_DIR", self.folder.path());
        command
    }

    /// A running `frame-reader` that listens at [`Ring::address`].
    pub(crate) fn reader(&self, args: &[&str]) -> Process {
        let mut command = self.command(env!("CARGO_BIN_EXE_frame-reader"));
        let reader = Process::start(command.args(["--listen", &self.address()]).args(args));
        reader.wait_for("listening on");
        reader
    }

    /// A running `frame-writer` that sends to [`Ring::address`].
    pub(crate) fn writer(&self, args: &[&str]) -> Process {
        let mut command = self.command(env!("CARGO_BIN_EXE_frame-writer"));
        Process::start(command.args(["--to", &self.address()]).args(args))
    }
}

/// `FRAMEBUFFER_SIDECAR`, or the sidecar that was built with these tests.
fn sidecar() -> Option<PathBuf> {
    let named = std::env::var_os("FRAMEBUFFER_SIDECAR").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_BIN_EXE_frame-writer")).with_file_name("framebuffer-sidecar");
    let found = named.unwrap_or_else(built);
    if found.exists() {
        return Some(found);
    }
    eprintln!("no sidecar at {}: the test serves the ring's key itself", found.display());
    None
}

fn start_sidecar(binary: &Path, size: u64, folder: &Path, socket: &Path) -> Process {
    let mut command = Command::new(binary);
    command.args(["serve", "--size", &size.to_string(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    // The writer and the reader try again while it starts.
    Process::start(command.arg("--dir").arg(folder).arg("--socket").arg(socket))
}

/// The ring's owner within the test, and a thread that answers `GET /get_key` as the sidecar does.
struct KeyServer {
    _server: Arc<FrameBufferServer>,
    stop: Arc<AtomicBool>,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl KeyServer {
    fn start(size: u64, folder: &Path, socket: &Path) -> Self {
        let server = Arc::new(FrameBufferServer::options(size).dir(folder).start().unwrap());
        let (stop, listener) = (Arc::new(AtomicBool::new(false)), UnixListener::bind(socket).unwrap());
        let (stopping, serving) = (Arc::clone(&stop), Arc::clone(&server));
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let mut connection = connection.unwrap();
                let _ = connection.read(&mut [0; 4096]);
                let body = format!(r#"{{"key":"{}","size":{}}}"#, serving.get_key(), serving.size());
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                let _ = write!(connection, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { _server: server, stop, socket: socket.to_owned(), thread: Some(thread) }
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = std::os::unix::net::UnixStream::connect(&self.socket);
        self.thread.take().map(JoinHandle::join);
    }
}
