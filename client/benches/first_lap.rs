//! What [`Prefault`] gives a client: time of its first lap through a ring whose pages exist, and its resident memory.
//!
//! Each row is a process of its own. `cargo bench -p framebuffer --bench first_lap` prints Markdown.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use framebuffer::{Frame, FrameBufferClient, FrameBufferServer, Key, Prefault};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const FRAME: usize = 1 << 20;
const MODES: [(&str, Prefault); 3] =
    [("off", Prefault::Off), ("background", Prefault::Background), ("wait", Prefault::Wait)];
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("client") => client(&args[1], &args[2], &args[3]),
        _ => table(),
    }
}

fn table() {
    println!(
        "| ring | pages | client's first | prefault | open, ms | first lap, ms | second lap, ms | CPU to the end of \
         the \
              first lap, ms | RSS open, MiB | RSS at the end, MiB |"
    );
    println!("|---|---|---|---|---:|---:|---:|---:|---:|---:|");
    for size in [64_u64 << 20, 1 << 30] {
        for pages in ["small", "huge"] {
            let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in shared memory");
            let prefault = if pages == "huge" { Prefault::Wait } else { Prefault::Off };
            let key = Key::new("first-lap").expect("a key");
            let options = FrameBufferServer::options(size).key(key.clone()).dir(dir.path()).prefault(prefault);
            let server = options.start().expect("room for the ring");
            // Frames to read. Afterwards every page has contents.
            let writer =
                FrameBufferClient::options(key).dir(dir.path()).prefault(Prefault::Off).open().expect("a ring");
            let data = vec![1; FRAME];
            for what in ["write", "read"] {
                for (name, _) in MODES {
                    let frames: Vec<_> =
                        (0..size as usize / FRAME).map(|_| writer.publish(&data).expect("room")).collect();
                    fs::write(dir.path().join("frames"), serde_json::to_vec(&frames).expect("JSON")).expect("room");
                    let rounds: Vec<[f64; 6]> = (0..ROUNDS).map(|_| child(dir.path(), name, what)).collect();
                    let median = |column: usize| {
                        let mut values: Vec<f64> = rounds.iter().map(|row| row[column]).collect();
                        values.sort_by(f64::total_cmp);
                        values[ROUNDS / 2]
                    };
                    let figures: Vec<String> = (0..6).map(|column| format!("{:.1}", median(column))).collect();
                    let huge = server.stats().expect("running").huge_pages >> 20;
                    println!(
                        "| {} MiB | {pages} ({huge} MiB huge) | {what} | {name} | {} |",
                        size >> 20,
                        figures.join(" | ")
                    );
                }
            }
        }
    }
}

fn child(dir: &std::path::Path, prefault: &str, what: &str) -> [f64; 6] {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args(["client", prefault, what]).arg(dir).output().expect("a process");
    let text = String::from_utf8(output.stdout).expect("figures");
    let figures: Vec<f64> = text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect();
    figures.try_into().unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Opens the ring, goes twice around it, and prints what that cost.
fn client(prefault: &str, what: &str, dir: &str) {
    let (_, prefault) = MODES.into_iter().find(|(name, _)| *name == prefault).expect("a mode");
    let frames: Vec<Frame> =
        serde_json::from_slice(&fs::read(format!("{dir}/frames")).expect("frames")).expect("frames");
    let mut buffer = vec![1; FRAME];
    let before = resident();
    let started = Instant::now();
    let client = FrameBufferClient::options(Key::new("first-lap").expect("a key")).dir(dir).prefault(prefault).open();
    let client = client.expect("the ring");
    let opened = started.elapsed();
    let mut lap = || {
        let started = Instant::now();
        for frame in &frames {
            match what {
                "write" => _ = client.publish(&buffer).expect("room"),
                _ => client.read_into(frame, &mut buffer).expect("nobody writes"),
            }
        }
        started.elapsed()
    };
    let at_open = resident();
    let first = lap();
    let cpu = cpu_time();
    let second = lap();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{} {} {} {} {} {}",
        ms(opened),
        ms(first),
        ms(second),
        ms(cpu),
        at_open.saturating_sub(before) >> 20,
        resident().saturating_sub(before) >> 20
    );
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(time.num_microseconds().unsigned_abs())
}
