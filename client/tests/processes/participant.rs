//! The processes that take part in the ring, and what they do there.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use framebuffer::{Error, Frame, FrameBufferClient, TimeoutReason, View};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use serde_json::{Value, json};

use crate::common::{Random, chain, fill, is_payload, payload, this_test_binary, timeout};
use crate::{LARGEST_FRAME, READERS};

/// A process that takes part in the ring until it is killed.
pub(crate) struct Participant {
    pub(crate) child: Child,
    pub(crate) role: &'static str,
    pub(crate) number: usize,
}

impl Participant {
    pub(crate) fn start(dir: &Path, role: &'static str, number: usize, seed: u64) -> Self {
        let mut command = this_test_binary("helper_that_takes_part");
        command.env("FRAMEBUFFER_TEST_ROLE", role).env("FRAMEBUFFER_TEST_NUMBER", number.to_string());
        command.env("FRAMEBUFFER_TEST_DIR", dir).env("FRAMEBUFFER_TEST_SEED", seed.to_string());
        // A pipe that ends when this process does, so that no helper outlives it.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the test binary runs");
        Self { child, role, number }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it is our child");
    }

    /// Kills it. Panics if it has ended by itself: a helper that finds something wrong does so.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.child.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(9), "{} {} has ended by itself: {status}", self.role, self.number);
    }
}

/// Ends its process when the standard input does: whoever started it is gone.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
}

fn socket_of(dir: &Path, reader: usize) -> std::path::PathBuf {
    dir.join(format!("reader-{reader}"))
}

pub(crate) fn write_for_ever(client: &FrameBufferClient, dir: &Path, seed: u64) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("our socket");
    let mut random = Random::new(seed);
    loop {
        let number = random.next();
        let size = random.below(LARGEST_FRAME + 1);
        let data = payload(number, size as usize);
        let written = match random.below(3) {
            0 => client.publish(&data),
            1 => client.loan(size).and_then(|mut loan| {
                fill(number, &mut loan);
                loan.commit()
            }),
            _ => client.allocate(size).and_then(|offset| {
                let checksum = client.write(offset, &data)?;
                Ok(Frame::new(offset, size, checksum))
            }),
        };
        match written {
            Ok(frame) => {
                let text = serde_json::to_vec(&json!({"number": number, "frame": frame})).expect("plain data");
                // A reader that is dead or slow misses the frame.
                let reader = random.below(READERS as u64) as usize;
                let _ = socket.send_to(&text, socket_of(dir, reader));
            }
            Err(Error::Timeout(_)) => {}
            Err(error) => panic!("a writer: {}", chain(&error)),
        }
        if random.below(20_000) == 0 {
            fork_for_a_while(client, number, Duration::from_micros(random.below(50_000)));
        }
    }
}

/// Forks a child that takes part for a while, whether its parent lives or not.
fn fork_for_a_while(client: &FrameBufferClient, number: u64, time: Duration) {
    // SAFETY: the other thread of this process waits for its standard input, and holds no lock meanwhile.
    if let ForkResult::Child = unsafe { fork() }.expect("a child") {
        let frame = client.publish(&payload(number, 1000)).expect("there is room");
        let view = client.view(&frame);
        std::thread::sleep(time);
        let intact = view.as_ref().map_or(true, |view| is_payload(number, view));
        drop(view);
        // SAFETY: ends the process.
        unsafe { nix::libc::_exit(i32::from(!intact)) }
    }
    // Whichever has ended.
    while let Ok(WaitStatus::Exited(child, code)) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        assert_eq!(code, 0, "the view of child {child} has changed");
    }
}

pub(crate) fn read_for_ever(client: &FrameBufferClient, dir: &Path, number: usize, seed: u64) {
    let path = socket_of(dir, number);
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut random = Random::new(seed);
    let mut text = [0; 1000];
    let mut held: Option<(u64, View<'_>)> = None;
    loop {
        let len = socket.recv(&mut text).expect("our socket");
        let Ok(message) = serde_json::from_slice::<Value>(&text[..len]) else { panic!("a reader: half a message") };
        let number = message["number"].as_u64().expect("a number");
        let frame: Frame = serde_json::from_value(message["frame"].clone()).expect("a frame");
        let intact = match random.below(2) {
            0 => client.read_frame(&frame).map(|data| is_payload(number, &data)),
            _ => client.view(&frame).map(|view| {
                let intact = is_payload(number, &view) && view.verify().is_ok();
                // Held until the next one: many a reader is killed while it holds something.
                if let Some((number, last)) = held.replace((number, view)) {
                    assert!(is_payload(number, &last), "a view has changed: {last:?}");
                }
                intact
            }),
        };
        match intact {
            Ok(intact) => assert!(intact, "corrupt, and returned as good: {frame:?}"),
            Err(Error::Timeout(timeout)) => {
                assert!(matches!(timeout.reason, TimeoutReason::Overwritten { .. }), "{timeout}");
            }
            Err(error) => panic!("a reader: {}", chain(&error)),
        }
    }
}

/// Does one thing after the other, as told over a socket.
pub(crate) fn follow_orders(client: &FrameBufferClient, dir: &Path) {
    let orders = UnixDatagram::bind(dir.join("orders")).expect("a socket");
    let answer = |answer: Value| {
        orders.send_to(answer.to_string().as_bytes(), dir.join("answers")).expect("the test listens");
    };
    let mut text = [0; 1000];
    let (mut view, mut loan) = (None, None);
    answer(json!("ready"));
    loop {
        let len = orders.recv(&mut text).expect("our socket");
        let order: Value = serde_json::from_slice(&text[..len]).expect("an order");
        let frame: Option<Frame> = serde_json::from_value(order["frame"].clone()).ok();
        let number = order["number"].as_u64().unwrap_or_default();
        match order["do"].as_str().expect("an order") {
            "view" => view = Some(client.view(&frame.expect("a frame")).expect("it is there")),
            "check view" => {
                let view = view.take().expect("a view");
                assert!(is_payload(number, &view) && view.verify().is_ok(), "the view has changed");
            }
            "loan" => {
                let mut lent = client.loan(1000).expect("there is room");
                fill(number, &mut lent);
                loan = Some(lent);
            }
            "commit" => {
                let lent = loan.take().expect("a loan");
                assert!(is_payload(number, &lent), "the loan has changed");
                answer(json!(lent.commit().expect("it is ours")));
                continue;
            }
            "write" => {
                let late = client.write(frame.expect("a frame").offset, &payload(number, 1000));
                timeout(late, &frame.expect("a frame"));
            }
            "publish" => {
                answer(json!(client.publish(&payload(number, 1000)).expect("there is room")));
                continue;
            }
            other => panic!("no such order: {other}"),
        }
        answer(json!("done"));
    }
}
