//! What a channel costs on top of the plain operations that it is made of, side by side; how long a frame takes to a
//! subscriber in another thread; and what it costs among many subscribers, channels and participants.
//!
//! `cargo bench -p framebuffer --bench channels`

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use framebuffer::{FrameBufferClient, FrameBufferServer, Prefault, SendingLoan};

const RING: u64 = 64 << 20;
/// Operations in one sample: a clock takes as long as an operation.
const BATCH: u32 = 200;

fn main() {
    let server = FrameBufferServer::options(RING).prefault(Prefault::Wait).start().expect("64 MiB of shared memory");
    let open = || FrameBufferClient::open(server.get_key()).expect("the ring is there");
    let (client, _others) = (open(), std::array::from_fn::<_, 6, _>(|_| open()));
    println!("median time of an operation, in nanoseconds, in turns");
    println!(
        "{:>8} {:>10} {:>20} {:>20} {:>10} {:>20}",
        "bytes", "publish", "send, keeping none", "send, keeping one", "view", "try_next"
    );
    for size in [64, 4 << 10, 64 << 10] {
        row(&client, size);
    }
    println!("\nmedian time of a frame of 64 bytes there and another back, in nanoseconds");
    for (name, spin) in [("spinning", Duration::from_secs(1)), ("asleep", Duration::ZERO)] {
        println!("{name:>10} {:10.0}", there_and_back([&open(), &open()], spin));
    }
    println!("{:>10} {:10.0} (in place, one way)", "one way", one_way([&open(), &open()]));
    println!("\nmedian time to send a frame of 64 bytes, and for each subscriber to receive it, in nanoseconds");
    println!("{:>12} {:>9} {:>12} {:>6} {:>9}", "participants", "channels", "subscribers", "send", "try_next");
    for (participants, channels, subscribers) in
        [(1, 1, 1), (1, 1, 4), (1, 1, 16), (1, 64, 1), (MOST_PARTICIPANTS, 1, 1), (MOST_PARTICIPANTS, 64, 1)]
    {
        let [send, receive] = in_a_crowd(participants, channels, subscribers);
        println!("{participants:12} {channels:9} {subscribers:12} {send:6.0} {receive:9.0}");
    }
}

/// Of 256 slots, one is the owner's, and a client whose 64 pins are in use (its publishers keep a frame each) gets
/// another one only as long as 4 are left.
const MOST_PARTICIPANTS: u32 = 250;

/// The times to send a frame over one channel after the other, and for one subscriber to receive it.
fn in_a_crowd(participants: u32, channels: u32, subscribers: u32) -> [f64; 2] {
    let server = FrameBufferServer::options(RING).prefault(Prefault::Wait).start().expect("64 MiB of shared memory");
    let clients: Vec<_> =
        (0..participants).map(|_| FrameBufferClient::open(server.get_key()).expect("there is a slot")).collect();
    let client = &clients[0];
    let names: Vec<String> = (0..channels).map(|channel| format!("bench/{channel}")).collect();
    let mut publishers: Vec<_> = names.iter().map(|name| client.publisher(name).expect("a publisher")).collect();
    let mut readers: Vec<_> = names
        .iter()
        .flat_map(|name| (0..subscribers).map(|_| client.subscriber(name).expect("a subscriber")))
        .collect();
    let mut samples: [Vec<f64>; 2] = Default::default();
    for _ in 0..500 {
        let mut time = |index: usize, count: u32, operation: &mut dyn FnMut()| {
            let begun = Instant::now();
            operation();
            samples[index].push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(count));
        };
        // As many rounds as make a batch, whatever the number of channels.
        let rounds = BATCH.div_ceil(channels);
        time(0, rounds * channels, &mut || {
            for _ in 0..rounds {
                for publisher in &mut publishers {
                    black_box(publisher.send(black_box(&[7; 64])).expect("room"));
                }
            }
        });
        time(1, rounds * channels * subscribers, &mut || {
            for reader in &mut readers {
                for _ in 0..rounds {
                    drop(black_box(reader.try_next().expect("the ring is there")));
                }
            }
        });
    }
    samples.map(|mut samples| median(&mut samples))
}

fn row(client: &FrameBufferClient, size: usize) {
    let data = vec![0xA5; size];
    let publisher = |keep: usize| {
        let name = format!("bench/{size}/{keep}");
        client.publisher_options(&name).keep(keep).open().expect("a publisher")
    };
    let (mut keeping_none, mut keeping_one) = (publisher(0), publisher(1));
    let mut subscriber = client.subscriber(&format!("bench/{size}/1")).expect("a subscriber");
    let mut samples: [Vec<f64>; 5] = Default::default();
    for _ in 0..500 {
        let mut time = |index: usize, operation: &mut dyn FnMut()| {
            let begun = Instant::now();
            (0..BATCH).for_each(|_| operation());
            samples[index].push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
        };
        let mut frame = None;
        time(0, &mut || frame = client.publish(black_box(&data)).ok());
        time(1, &mut || drop(black_box(keeping_none.send(black_box(&data)))));
        time(2, &mut || drop(black_box(keeping_one.send(black_box(&data)))));
        let frame = frame.expect("room");
        time(3, &mut || drop(black_box(client.view(black_box(&frame)))));
        time(4, &mut || drop(black_box(subscriber.try_next())));
    }
    let [publish, keeping_none, keeping_one, view, next] = samples.map(|mut samples| median(&mut samples));
    let more = |figure: f64, than: f64| format!("{figure:.0} (+{:.0})", figure - than);
    let (keeping_none, keeping_one) = (more(keeping_none, publish), more(keeping_one, publish));
    println!("{size:8} {publish:10.0} {keeping_none:>20} {keeping_one:>20} {view:10.0} {:>20}", more(next, view));
}

fn there_and_back([here, there]: [&FrameBufferClient; 2], spin: Duration) -> f64 {
    const ROUNDS: usize = 20_000;
    let name = |way: &str| format!("bench/{way}/{}", spin.as_millis());
    let mut answers = here.subscriber_options(&name("back")).spin(spin).open().expect("a subscriber");
    let mut calls = there.subscriber_options(&name("there")).spin(spin).open().expect("a subscriber");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut publisher = there.publisher(&name("back")).expect("a publisher");
            for _ in 0..ROUNDS {
                let call = calls.next(Duration::MAX).expect("the ring is there").expect("a frame");
                publisher.send(&call).expect("room");
            }
        });
        let mut publisher = here.publisher(&name("there")).expect("a publisher");
        let mut samples: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                publisher.send(&[7; 64]).expect("room");
                black_box(answers.next(Duration::MAX).expect("the ring is there"));
                begun.elapsed().as_secs_f64() * 1e9
            })
            .collect();
        median(&mut samples)
    })
}

/// From before a frame is lent until another thread, which looks for it all the time, has it. One is under way at once.
fn one_way([here, there]: [&FrameBufferClient; 2]) -> f64 {
    const ROUNDS: u64 = 20_000;
    let mut subscriber = there.subscriber("bench/one-way").expect("a subscriber");
    let mut publisher = here.publisher("bench/one-way").expect("a publisher");
    let (clock, arrived) = (Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let sample = loop {
                    if let Some(sample) = subscriber.try_next().expect("the ring is there") {
                        break sample;
                    }
                };
                arrived.store(clock.elapsed().as_nanos() as u64, Ordering::Release);
                drop(black_box(sample));
            }
        });
        let mut samples: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let now = clock.elapsed().as_nanos() as u64;
                publisher.loan(64).and_then(SendingLoan::send_unhashed).expect("room");
                loop {
                    let arrived = arrived.load(Ordering::Acquire);
                    if arrived >= now {
                        break Duration::from_nanos(arrived - now).as_secs_f64() * 1e9;
                    }
                }
            })
            .collect();
        median(&mut samples)
    })
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}
