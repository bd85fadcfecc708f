//! Runs one operation of the hot path for `cargo xtask test instructions`, which counts its instructions in valgrind.
//!
//! Only the calls of [`measured`] are counted: the ring is created, and everything done once, before that.

use std::hint::black_box;

use framebuffer::{FrameBufferClient, FrameBufferServer, Key, Prefault};

/// Runs of the operation, so that differences from one run to the next, such as at the ring's end, average out.
const TIMES: usize = 50;
const RING: u64 = 16 << 20;
const PARTICIPANTS: usize = 8;
const SMALL: usize = 4 << 10;
const LARGE: usize = 1 << 20;

fn main() {
    // Cargo passes options of its own.
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let ring = FrameBufferServer::options(RING).prefault(Prefault::Off).start().expect("16 MiB of shared memory");
    let clients: Vec<_> = (1..PARTICIPANTS).map(|_| client(&ring)).collect();
    let client = &clients[0];
    match name.as_deref() {
        None => println!("cargo xtask test instructions runs this"),
        Some("publish-4k") => publish(client, SMALL),
        Some("publish-1m") => publish(client, LARGE),
        Some("view") => {
            let frame = client.publish(&[7; SMALL]).expect("there is room");
            run(|| drop(black_box(client.view(&frame).expect("it is there"))));
        }
        Some("read-into-4k") => {
            let frame = client.publish(&[7; SMALL]).expect("there is room");
            let mut buffer = [0; SMALL];
            run(|| client.read_into(&frame, black_box(&mut buffer)).expect("it is there"));
        }
        Some("allocate") => run(|| {
            black_box(client.allocate(black_box(64 << 10)).expect("there is room"));
        }),
        Some("loan-commit-4k") => run(|| {
            let loan = client.loan(black_box(SMALL as u64)).expect("there is room");
            black_box(loan.commit().expect("it is ours"));
        }),
        Some("loan-commit-unhashed-1m") => run(|| {
            let loan = client.loan(black_box(LARGE as u64)).expect("there is room");
            black_box(loan.commit_unhashed().expect("it is ours"));
        }),
        Some(other) => panic!("no operation is called {other:?}"),
    }
}

fn client(ring: &FrameBufferServer) -> FrameBufferClient {
    let key = Key::new(ring.get_key()).expect("a server's key is one");
    FrameBufferClient::options(key).prefault(Prefault::Off).open().expect("the ring is there")
}

fn publish(client: &FrameBufferClient, size: usize) {
    let data = vec![7; size];
    run(|| {
        black_box(client.publish(black_box(&data)).expect("there is room"));
    });
}

/// Warms `operation` up, and has it measured.
fn run(mut operation: impl FnMut()) {
    operation();
    measured(&mut operation);
    println!("{TIMES}");
}

/// The function that valgrind counts, found by its name.
#[inline(never)]
// SAFETY: nothing else is called that.
#[unsafe(no_mangle)]
extern "Rust" fn measured(operation: &mut dyn FnMut()) {
    for _ in 0..TIMES {
        operation();
    }
}
