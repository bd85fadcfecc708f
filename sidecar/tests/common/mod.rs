//! A sidecar as its own process, and a plain HTTP client for it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "test helpers, and no test file uses all of them")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_framebuffer-sidecar");

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The tests may run in the background of a script, with signals ignored.
static HEED_SIGNALS: Once = Once::new();

/// The command with a clean environment: no `FRAMEBUFFER_*` of whoever runs the tests.
pub fn command(args: &[&str]) -> Command {
    HEED_SIGNALS.call_once(|| framebuffer_signals::heed_all().unwrap());
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end, which has to come by itself.
pub fn run(args: &[&str]) -> Output {
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("{args:?} does not end: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// What a sidecar logs in front of the addresses of its API and its admin port.
const ANNOUNCEMENTS: [&str; 2] = ["api listening addr=", "admin listening addr="];

/// A running sidecar; killed when dropped.
pub struct Sidecar {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

impl Sidecar {
    /// Starts `serve` with a ring in `dir` and waits until it serves.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_command(command(&[]), dir, args, ANNOUNCEMENTS)
    }

    /// The same for a sidecar that logs JSON.
    pub fn start_json(dir: &Path, args: &[&str]) -> Self {
        let announcements = [r#""message":"api listening","addr":""#, r#""message":"admin listening","addr":""#];
        Self::start_command(command(&[]), dir, args, announcements)
    }

    /// The same after a command of a shell, as `ulimit -n 64`.
    pub fn start_after(preparation: &str, dir: &Path, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{preparation}; exec \"$@\""), "sh", BINARY]).env_clear();
        Self::start_command(shell, dir, args, ANNOUNCEMENTS)
    }

    /// The same on these addresses, of the API and the admin port.
    pub fn start_on(addresses: [&str; 2], dir: &Path, args: &[&str]) -> Self {
        Self::start_listening(command(&[]), addresses, dir, args, ANNOUNCEMENTS)
    }

    fn start_command(command: Command, dir: &Path, args: &[&str], announcements: [&str; 2]) -> Self {
        Self::start_listening(command, ["127.0.0.1:0"; 2], dir, args, announcements)
    }

    fn start_listening(
        mut command: Command,
        [listen, admin_listen]: [&str; 2],
        dir: &Path,
        args: &[&str],
        [api, admin]: [&str; 2],
    ) -> Self {
        let dir = dir.to_str().unwrap();
        command.args(["serve", "--dir", dir, "--listen", listen, "--admin", admin_listen]).args(args);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = collect(BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut sidecar = Self { child, log, reader: Some(reader), api: unknown, admin: unknown };
        sidecar.api = sidecar.wait_for_addr(api);
        sidecar.admin = sidecar.wait_for_addr(admin);
        sidecar
    }

    fn wait_for_addr(&mut self, announcement: &str) -> SocketAddr {
        wait_for(announcement, || {
            let log = self.log();
            if let Some((_, rest)) = log.split_once(announcement)
                && rest.contains('\n')
            {
                return Some(rest.split(['"', ' ', '\n']).next().unwrap().parse().unwrap());
            }
            assert!(self.child.try_wait().unwrap().is_none(), "ended: {}", self.log());
            None
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits for its end. Afterwards the log is complete.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the sidecar's end", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        request(TcpStream::connect(self.api).unwrap(), "GET", path, "")
    }

    pub fn get_admin(&self, path: &str) -> (u16, String) {
        request(TcpStream::connect(self.admin).unwrap(), "GET", path, "")
    }

    pub fn allocate(&self, body: &str) -> (u16, String) {
        request(TcpStream::connect(self.api).unwrap(), "POST", "/allocate", body)
    }

    pub fn key(&self) -> String {
        let (status, body) = self.get("/get_key");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["key"].as_str().unwrap().to_owned()
    }

    /// A metric's value, by its name with labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = self.get_admin("/metrics");
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut lines: impl BufRead + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|len| len > 0) {
            log.lock().unwrap().push_str(&line);
            line.clear();
        }
    })
}

/// One request on a connection of its own: status and body.
pub fn request(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    (status, if is_chunked { unchunked(body) } else { body.to_owned() })
}

/// The body that was sent in these chunks.
fn unchunked(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let (chunk, rest) = rest.split_at(length);
        body.push_str(chunk);
        chunks = rest.strip_prefix("\r\n").unwrap();
        if length == 0 {
            return body;
        }
    }
}

/// Names of the files in `dir`.
pub fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
