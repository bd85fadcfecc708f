//! What a window saves: a frame from one thread to another, copied in and out with checksums, one under way at a time,
//! through a ring of 512 MiB that is used as a whole, and through one with the window `auto`, in turns.
//!
//! `cargo bench -p framebuffer --bench window`

use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use framebuffer::{Frame, FrameBufferClient, FrameBufferServer, Prefault, Window};

const RING: u64 = 512 << 20;
const SIZES: [usize; 5] = [4 << 10, 64 << 10, 256 << 10, 1 << 20, 6_220_800];
const ROUNDS: usize = 7;
/// Bytes that are moved in a round, at least.
const BYTES: usize = 256 << 20;
/// The most frames of a round.
const FRAMES: u64 = 16 << 10;

fn main() {
    let servers = [Window::Whole, Window::Auto].map(|window| {
        FrameBufferServer::options(RING).prefault(Prefault::Wait).window(window).start().expect("a ring")
    });
    println!("median time of a frame, in microseconds, {ROUNDS} rounds in turns");
    println!("{:>9} {:>10} {:>10} {:>6}", "bytes", "whole", "auto", "ratio");
    for size in SIZES {
        let mut times = servers.each_ref().map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (server, times) in servers.iter().zip(&mut times) {
                times.push(one_way(server, size));
            }
        }
        let [whole, auto] = times.map(median);
        println!("{size:>9} {whole:>10.2} {auto:>10.2} {:>6.2}", auto / whole);
    }
}

/// Microseconds for a frame from one thread to another and the word that it is there back.
fn one_way(server: &FrameBufferServer, size: usize) -> f64 {
    let [here, there] = [(); 2].map(|()| FrameBufferClient::open(server.get_key()).expect("the ring"));
    let frames = FRAMES.min((BYTES / size) as u64);
    let (told, sent, received) = (Mutex::new(None::<Frame>), AtomicU64::new(0), AtomicU64::new(0));
    let reach = |counter: &AtomicU64, number| {
        while counter.load(Ordering::Acquire) < number {
            spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut copy = vec![1; size];
            for number in 1..=frames {
                reach(&sent, number);
                let frame = told.lock().expect("no panic").take().expect("it was told");
                there.read_into(&frame, &mut copy).expect("it is there");
                received.store(number, Ordering::Release);
            }
        });
        let (data, begun) = (vec![7; size], Instant::now());
        for number in 1..=frames {
            *told.lock().expect("no panic") = Some(here.publish(&data).expect("there is room"));
            sent.store(number, Ordering::Release);
            reach(&received, number);
        }
        #[expect(clippy::cast_precision_loss, reason = "few frames")]
        let frames = frames as f64;
        begun.elapsed().as_secs_f64() * 1e6 / frames
    })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
