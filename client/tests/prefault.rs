//! Rings in real shared memory that is touched ahead.

mod common;

use std::fs;

use common::{alone, is_payload, payload};
use framebuffer::{FrameBufferClient, FrameBufferServer, Key, Prefault};
use framebuffer_contract::segment::HUGE_PAGE;
use nix::sys::resource::{UsageWho, getrusage};
use tempfile::TempDir;

/// The smallest ring that is aligned to huge pages.
const SIZE: u64 = 64 << 20;

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a folder in shared memory")
}

fn server(dir: &TempDir, prefault: Prefault) -> FrameBufferServer {
    let key = Key::new("prefaulted").expect("a key");
    FrameBufferServer::options(SIZE).key(key).dir(dir.path()).keep(true).prefault(prefault).start().expect("room")
}

fn client(dir: &TempDir, prefault: Prefault) -> FrameBufferClient {
    let key = Key::new("prefaulted").expect("a key");
    FrameBufferClient::options(key).dir(dir.path()).prefault(prefault).open().expect("the ring is there")
}

/// Page faults of this thread that needed no disk.
fn page_faults() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).expect("getrusage").minor_page_faults()
}

/// How much of the ring this process has mapped by huge pages, in bytes, as the kernel says: each of its mappings
/// counts.
fn mapped_huge() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let of_ring = smaps.split("VmFlags").filter(|mapping| mapping.contains("framebuffer-prefaulted"));
    let kilobytes = |mapping: &str| {
        let line = mapping.lines().find_map(|line| line.strip_prefix("ShmemPmdMapped:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    of_ring.filter_map(kilobytes).sum::<u64>() * 1024
}

#[test]
fn a_ring_that_was_touched_ahead_meets_no_page_faults() {
    let dir = folder();
    let _server = server(&dir, Prefault::Wait);
    let client = client(&dir, Prefault::Wait);
    let data = payload(1, 1 << 20);
    let mut buffer = vec![1; 1 << 20];
    let mut publish_and_read = || {
        let frame = client.publish(&data).expect("room");
        client.read_into(&frame, &mut buffer).expect("just written");
    };
    publish_and_read();
    let before = page_faults();
    (0..2 * SIZE / (1 << 20)).for_each(|_| publish_and_read());
    let faults = page_faults() - before;
    // There are 33 huge pages in the ring, or 16,896 small ones. Only a frame that crosses the ring's end uses pages of
    // the second mapping, 256 at most, each once. A few faults come from the stack.
    assert!(faults < 300, "{faults} page faults");
}

#[test]
fn a_ring_goes_into_huge_pages_with_all_its_frames_and_says_how_much_of_it() {
    let dir = folder();
    let mut first = server(&dir, Prefault::Off);
    assert_eq!(first.stats().expect("running").huge_pages, 0);
    let writer = client(&dir, Prefault::Off);
    let frames: Vec<_> = (0..60).map(|n| writer.publish(&payload(n, 1 << 20)).expect("room")).collect();
    first.stop().expect("it is kept");

    let second = server(&dir, Prefault::Wait);
    let stats = second.stats().expect("running");
    assert!(stats.huge_pages <= stats.capacity && stats.huge_pages.is_multiple_of(HUGE_PAGE), "{stats:?}");
    let mapped = mapped_huge();
    assert!(mapped >= stats.huge_pages, "{mapped} bytes are mapped by huge pages: {stats:?}");
    for (n, frame) in (0..).zip(&frames) {
        assert!(is_payload(n, &writer.read_frame(frame).expect("it is kept")), "frame {n}");
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

#[test]
fn opening_a_client_adds_nothing_to_the_resident_memory_and_touching_ahead_adds_the_ring_once() {
    alone("opening_a_client_adds_nothing_to_the_resident_memory_and_touching_ahead_adds_the_ring_once", || {
        let dir = folder();
        let _server = server(&dir, Prefault::Off);
        let before = resident();
        let key = || Key::new("prefaulted").expect("a key");
        let by_default = FrameBufferClient::options(key()).dir(dir.path()).open().expect("the ring is there");
        assert!(resident() - before < 4 << 20, "{} bytes", resident() - before);
        drop(by_default);
        let _waited = client(&dir, Prefault::Wait);
        let added = resident() - before;
        assert!((SIZE..SIZE + (8 << 20)).contains(&added), "{added} bytes");
    });
}

#[test]
fn pages_that_were_touched_ahead_for_reading_take_writes_without_page_faults() {
    let dir = folder();
    let _server = server(&dir, Prefault::Off);
    let client = client(&dir, Prefault::Wait);
    let data = payload(1, 1 << 20);
    client.publish(&data).expect("room");
    let before = page_faults();
    // Not around the end, where a frame also uses the second mapping.
    (0..60).for_each(|_| _ = client.publish(&data).expect("room"));
    let faults = page_faults() - before;
    assert!(faults < 10, "{faults} page faults");
}

#[test]
fn threads_that_touch_pages_take_no_signals_of_the_program() {
    alone("threads_that_touch_pages_take_no_signals_of_the_program", || {
        let dir = folder();
        let mut masks = Vec::new();
        common::wait_until("a thread was seen", || {
            let _server = server(&dir, Prefault::Background);
            masks = fs::read_dir("/proc/self/task")
                .expect("/proc")
                .filter_map(|task| blocked(&task.ok()?.path()))
                .collect();
            !masks.is_empty()
        });
        // All but SIGKILL, SIGSTOP and the two of the C library: bits count from signal 1.
        for mask in masks {
            assert_eq!(mask | 1 << 8 | 1 << 18 | 0b111 << 31, u64::MAX, "{mask:x}");
        }
    });
}

/// Signals that a thread of ours blocks, if it is one.
fn blocked(task: &std::path::Path) -> Option<u64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    field("Name:")?.starts_with("framebuffer-pre").then_some(())?;
    u64::from_str_radix(&field("SigBlk:")?, 16).ok()
}
