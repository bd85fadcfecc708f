//! Processes under test, and the expected stream of the test picture.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framebuffer_video::pattern::Pattern;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No test takes longer than a fraction of this, unless something hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// A process whose output is collected. It is killed when it goes out of scope.
pub(crate) struct Process {
    child: Child,
    stderr: Arc<Mutex<String>>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    log: Option<JoinHandle<()>>,
}

/// Output of a process.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&stderr);
        let log = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Self { child, stderr, stdout: Some(stdout), log: Some(log) }
    }

    /// Waits until the process has said `text` on standard error.
    pub(crate) fn wait_for(&self, text: &str) {
        let started = Instant::now();
        while !self.stderr.lock().unwrap().contains(text) {
            assert!(started.elapsed() < DEADLINE, "no {text:?} in:\n{}", self.stderr.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Writes to its standard input and leaves that open.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        self.join()
    }

    /// As [`finish`](Self::finish), with standard input left open.
    pub(crate) fn join(&mut self) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < DEADLINE, "still running, and said:\n{}", self.stderr.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.log.take().unwrap().join().unwrap();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Finished { status, stdout, stderr: self.stderr.lock().unwrap().clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // Gently first: a sidecar then removes its ring.
        self.signal(Signal::SIGTERM);
        for _ in 0..400 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Its statistics, after a good end.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.good();
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// A number out of its statistics.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.json().pointer(pointer).and_then(serde_json::Value::as_u64).unwrap()
    }

    pub(crate) fn good(&self) -> &Self {
        assert!(self.status.success(), "{}:\n{}", self.status, self.stderr);
        self
    }

    /// Asserts an error that says `text`.
    pub(crate) fn failed(&self, text: &str) {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(text) && !self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Frames `0..count` of the test picture.
pub(crate) fn pictures(format: &str, count: u64) -> Vec<Vec<u8>> {
    let pattern = Pattern::new(format.parse().unwrap());
    let size = pattern.format().frame_size() as usize;
    (0..count)
        .map(|sequence| {
            let mut frame = vec![0; size];
            pattern.draw(sequence, &mut frame);
            frame
        })
        .collect()
}

/// The lines of a framemd5 file without the one that names the software.
pub(crate) fn framemd5_lines(text: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(text).unwrap().lines();
    lines.filter(|line| !line.starts_with("#software")).map(str::to_owned).collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
