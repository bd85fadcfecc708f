//! The cost of moving a frame, compared with `memcpy` of the same bytes between the same places.
//!
//! `cargo bench -p framebuffer` prints criterion's figures, then a table of ratios measured side by side: for each
//! size, the operations take turns and their medians are compared. Finally, it prints how much two participants slow
//! each other down.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use framebuffer::{FrameBufferClient, FrameBufferServer, Key, Prefault};

const SIZES: [(usize, &str); 5] = [
    (4 << 10, "4 KiB"),
    (64 << 10, "64 KiB"),
    (1 << 20, "1 MiB"),
    (1920 * 1080 * 3, "6.2 MB, 1080p RGB"),
    (3840 * 2160 * 3, "24.9 MB, 4K RGB"),
];
const RING: u64 = 512 << 20;

fn main() {
    let server = FrameBufferServer::options(RING).prefault(Prefault::Wait).start().expect("512 MiB of shared memory");
    let key = Key::new(server.get_key()).expect("a server's key is one");
    let client = FrameBufferClient::options(key.clone()).prefault(Prefault::Wait).open().expect("the ring is there");
    // As many participants as a busy pod has: allocations look at the pins of all.
    let open = || FrameBufferClient::options(key.clone()).prefault(Prefault::Off).open().expect("the ring is there");
    let _others: Vec<_> = std::iter::repeat_with(open).take(6).collect();
    let mut criterion = Criterion::default().configure_from_args();
    absolute(&mut criterion, &client);
    criterion.final_summary();
    ratios(&client);
    sharing([&client, &open()]);
}

/// Criterion's own measurements, one operation at a time.
fn absolute(criterion: &mut Criterion, client: &FrameBufferClient) {
    criterion.bench_function("allocate 64 KiB, 8 participants", |b| b.iter(|| client.allocate(black_box(64 << 10))));
    let frame = client.publish(&[1; 4096]).expect("room");
    criterion.bench_function("view 4 KiB", |b| b.iter(|| client.view(black_box(&frame)).map(drop)));
    criterion.bench_function("loan 4 KiB and drop it", |b| b.iter(|| client.loan(black_box(4096)).map(drop)));
    let mut group = criterion.benchmark_group("frame");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (size, name) in SIZES {
        let data = vec![0xA5; size];
        let mut buffer = vec![0; size];
        let frame = client.publish(&data).expect("room");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("publish", name), |b| b.iter(|| client.publish(black_box(&data))));
        let frame = client.read_frame(&frame).map_or_else(|_| client.publish(&data).expect("room"), |_| frame);
        group.bench_function(BenchmarkId::new("read_into", name), |b| b.iter(|| client.read_into(&frame, &mut buffer)));
        group.bench_function(BenchmarkId::new("view", name), |b| b.iter(|| client.view(black_box(&frame)).map(drop)));
    }
    group.finish();
}

/// Two participants at once, compared with one alone: shared cache lines slow them down. Viewing and reading write only
/// to lines of the participant's own; publishing moves the head, which is everybody's.
fn sharing(clients: [&FrameBufferClient; 2]) {
    let data = vec![0xA5; 4 << 10];
    let frame = clients[0].publish(&data).expect("room");
    let view = |client: &FrameBufferClient| drop(black_box(client.view(black_box(&frame)).expect("it is there")));
    let read = |client: &FrameBufferClient| {
        thread_local!(static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 4 << 10]));
        BUFFER.with_borrow_mut(|buffer| client.read_into(black_box(&frame), buffer)).expect("it is there");
    };
    println!("\nmedian time of an operation on a frame of 4 KiB, in nanoseconds");
    println!("{:18} {:>10} {:>22}", "", "alone", "with another at it");
    let compare = |name: &str, operation: &(dyn Fn(&FrameBufferClient) + Sync)| {
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            alone.extend((0..100).map(|_| batch(clients[0], operation)));
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        operation(clients[1]);
                    }
                });
                batch(clients[0], operation);
                together.extend((0..100).map(|_| batch(clients[0], operation)));
                stop.store(true, Ordering::Relaxed);
            });
        }
        let [alone, together] = [alone, together].map(|mut samples| median(&mut samples) * 1e3);
        println!("{name:18} {alone:10.1} {together:15.1} {:5.2}x", alone / together);
    };
    compare("view", &view);
    compare("read_into", &read);
    // Last, as it overwrites the frame.
    compare("publish", &|client| drop(black_box(client.publish(&data))));
}

/// The time of one operation, as the mean over many.
fn batch(client: &FrameBufferClient, operation: &dyn Fn(&FrameBufferClient)) -> Duration {
    const OPERATIONS: u32 = 1_000;
    let start = Instant::now();
    (0..OPERATIONS).for_each(|_| operation(client));
    start.elapsed() / OPERATIONS
}

/// The median, in microseconds.
fn median(samples: &mut [Duration]) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64() * 1e6
}

/// Operations in turns, against memcpy.
fn ratios(client: &FrameBufferClient) {
    println!("\nmedian time, and speed as a ratio to memcpy of the same size into and out of the same ring");
    println!(
        "{:18} {:>10} {:>18} {:>18} {:>18} {:>18} {:>10} {:>16} {:>10}",
        "", "memcpy in", "publish", "memcpy out", "read_into", "read_frame", "view", "loan + commit", "allocate"
    );
    for (size, name) in SIZES {
        let turns = ((4 << 30) / size).clamp(60, 4000);
        row(client, size, name, turns);
    }
}

fn row(client: &FrameBufferClient, size: usize, name: &str, turns: usize) {
    let data = vec![0xA5; size];
    let mut buffer = vec![0; size];
    let mut samples: [Vec<Duration>; 8] = Default::default();
    for _ in 0..turns {
        let mut time = |index: usize, operation: &mut dyn FnMut()| {
            let start = Instant::now();
            operation();
            samples[index].push(start.elapsed());
        };
        let mut place = client.loan(size as u64).expect("room");
        time(0, &mut || black_box(&mut place).copy_from_slice(black_box(&data)));
        drop(place);
        let mut frame = None;
        time(1, &mut || frame = client.publish(black_box(&data)).ok());
        let frame = frame.expect("room");
        // Out of the ring as well, of a frame that came in the same way.
        let view = client.publish(&data).and_then(|other| client.view(&other)).expect("room");
        time(2, &mut || buffer.copy_from_slice(black_box(&view)));
        drop(view);
        time(3, &mut || client.read_into(&frame, &mut buffer).expect("just written"));
        time(4, &mut || drop(black_box(client.read_frame(&frame).expect("just written"))));
        time(5, &mut || drop(black_box(client.view(&frame).expect("just written"))));
        let mut loan = Some(client.loan(size as u64).expect("room"));
        if let Some(loan) = &mut loan {
            loan.fill(1);
        }
        time(6, &mut || drop(black_box(loan.take().map(framebuffer::Loan::commit))));
        time(7, &mut || drop(black_box(client.allocate(size as u64))));
    }
    let [copy_in, publish, copy_out, read_into, read_frame, view, commit, allocate] =
        samples.each_mut().map(|samples| median(samples));
    println!(
        "{name:18} {copy_in:7.2} us {publish:9.2} us {:4.2}x {copy_out:12.2} us  {read_into:9.2} us {:4.2}x \
         {read_frame:9.2} us {:4.2}x {view:7.3} us {commit:13.2} us {allocate:7.3} us",
        copy_in / publish,
        copy_out / read_into,
        copy_out / read_frame,
    );
}
