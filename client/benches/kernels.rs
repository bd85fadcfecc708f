//! Every kernel that this processor can run against `memcpy`: copying a frame into a large region and out of it again.
//!
//! `cargo bench -p framebuffer --features _kernels --bench kernels`
//!
//! The methods take turns, and their medians are compared. *in*: from one private buffer to the next place in a region
//! of 512 MiB, as a writer does. *hot*: from there to one private buffer, as a reader does that uses its buffer again.
//! *cold*: to the next place in another region. *twice*: in, then hot, and then the buffer is read once by plain code:
//! the cost of one frame to writer and reader together, on one core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use framebuffer::kernels::{Kernel, available};

const SIZES: [(usize, &str); 7] = [
    (4 << 10, "4 KiB"),
    (64 << 10, "64 KiB"),
    (256 << 10, "256 KiB"),
    (1 << 20, "1 MiB"),
    (2 << 20, "2 MiB"),
    (1920 * 1080 * 3, "6.2 MB"),
    (3840 * 2160 * 3, "24.9 MB"),
];
const REGION: usize = 512 << 20;

/// A way to copy.
struct Way {
    name: String,
    copy: Box<dyn Fn(*const u8, *mut u8, usize)>,
}

fn main() {
    let mut ways = vec![Way {
        name: "memcpy".into(),
        // SAFETY: `Bench` passes separate buffers of that length.
        copy: Box::new(|from, to, len| unsafe { std::ptr::copy_nonoverlapping(from, to, len) }),
    }];
    for kernel in available() {
        ways.extend([false, true].map(|stream| way(kernel, stream)));
    }
    let mut ring = Region::new();
    let mut cold = Region::new();
    for (title, measure) in TABLES {
        println!("\n{title}: median time of memcpy, and speed as a ratio to it");
        print!("{:10} {:>10}", "", "memcpy");
        ways[1..].iter().for_each(|way| print!(" {:>16}", way.name));
        println!();
        for (size, name) in SIZES {
            row(&ways, size, name, &mut ring, &mut cold, measure);
        }
    }
    println!("\nhashing in place, in the cache: GB/s");
    for (size, name) in SIZES {
        hashing(size, name);
    }
}

/// How fast each kernel hashes what it has just hashed.
fn hashing(size: usize, name: &str) {
    let data = vec![0xA5; size];
    let turns = ((1 << 28) / size).clamp(30, 2000);
    print!("{name:10}");
    for kernel in available() {
        let mut samples: Vec<_> = (0..turns).map(|_| time(|| _ = black_box(kernel.hash(black_box(&data))))).collect();
        print!(
            " {:>8} {:5.1}",
            kernel.name(),
            f64::from(u32::try_from(size).expect("a small size")) / median(&mut samples) / 1e3
        );
    }
    println!();
}

fn way(kernel: &'static Kernel, stream: bool) -> Way {
    let name = format!("{}{}", kernel.name(), if stream { ", stream" } else { "" });
    let copy = move |from, to, len| {
        // SAFETY: `Bench` passes separate buffers of that length.
        black_box(unsafe { kernel.copy(from, to, len, stream) });
    };
    Way { name, copy: Box::new(copy) }
}

/// Memory that is walked through, frame by frame.
struct Region {
    memory: Vec<u8>,
    at: usize,
}

impl Region {
    fn new() -> Self {
        Self { memory: vec![1; REGION], at: 0 }
    }

    /// The next place for a frame, aligned as in a ring.
    fn next(&mut self, size: usize) -> &mut [u8] {
        let aligned = self.memory.as_ptr().align_offset(64);
        self.at += (size + 64).next_multiple_of(64);
        if aligned + self.at + size > REGION {
            self.at = 0;
        }
        &mut self.memory[aligned + self.at..][..size]
    }
}

type Measure = fn(&Way, &mut [u8], &mut [u8], &mut Region, &mut Region) -> Duration;

const TABLES: [(&str, Measure); 4] = [
    ("in", |way, data, _, ring, _| {
        let to = ring.next(data.len());
        time(|| (way.copy)(data.as_ptr(), to.as_mut_ptr(), data.len()))
    }),
    ("hot", |way, data, buffer, ring, _| {
        let from = ring.next(data.len());
        // The previous data may have been streamed to it.
        buffer.fill(1);
        time(|| (way.copy)(from.as_ptr(), buffer.as_mut_ptr(), data.len()))
    }),
    ("cold", |way, data, _, ring, cold| {
        let (from, to) = (ring.next(data.len()), cold.next(data.len()));
        time(|| (way.copy)(from.as_ptr(), to.as_mut_ptr(), data.len()))
    }),
    ("in, streamed or not, then out and used", |way, data, buffer, ring, _| {
        let frame = ring.next(data.len());
        time(|| {
            (way.copy)(data.as_ptr(), frame.as_mut_ptr(), data.len());
            buffer.copy_from_slice(black_box(frame));
            black_box(buffer.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        })
    }),
];

fn time(operation: impl FnOnce()) -> Duration {
    let start = Instant::now();
    operation();
    start.elapsed()
}

fn row(ways: &[Way], size: usize, name: &str, ring: &mut Region, cold: &mut Region, measure: Measure) {
    let mut data = vec![0xA5; size];
    let mut buffer = vec![0; size + 64];
    let aligned = buffer.as_ptr().align_offset(64);
    let buffer = &mut buffer[aligned..][..size];
    let turns = ((1 << 30) / size).clamp(30, 2000);
    let mut samples = vec![Vec::new(); ways.len()];
    for _ in 0..turns {
        for (way, samples) in ways.iter().zip(&mut samples) {
            samples.push(measure(way, &mut data, buffer, ring, cold));
        }
    }
    let medians: Vec<f64> = samples.iter_mut().map(|samples| median(samples)).collect();
    print!("{name:10} {:7.1} us", medians[0]);
    medians[1..].iter().for_each(|median| print!(" {:15.2}x", medians[0] / median));
    println!();
}

/// In microseconds.
fn median(samples: &mut [Duration]) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64() * 1e6
}
