//! The end of an owner, seen by clients: they notice, and those from `connect` find the next ring.
#![cfg(feature = "connect")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{SIZE, TestRing, alone, client_in, folder, is_payload, options, payload, segment_path, wait_until};
use framebuffer::layout::Control;
use framebuffer::{Connect, Error, FrameBufferClient, FrameBufferServer, Key, Prefault};

/// Does to a segment what its owner does when it gives the ring up.
fn retire(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("the segment");
    file.write_all_at(&1_u64.to_le_bytes(), offset_of!(Control, retired) as u64).expect("it can be written");
}

/// Answers `GET /get_key` with whatever key it holds; 503 while it holds none.
struct Sidecar {
    socket: PathBuf,
    key: Arc<Mutex<Option<String>>>,
}

impl Sidecar {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("sidecar.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let key = Arc::new(Mutex::new(None::<String>));
        let answered = Arc::clone(&key);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let request = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                let _ = request.count();
                let (status, body) = match &*answered.lock().expect("no panic") {
                    Some(key) => ("200 OK", format!("{{\"key\": \"{key}\"}}")),
                    None => ("503 Service Unavailable", String::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { socket, key }
    }

    fn answer(&self, key: Option<&str>) {
        *self.key.lock().expect("no panic") = key.map(str::to_owned);
    }

    fn connect(&self, dir: &Path) -> FrameBufferClient {
        let url = format!("unix:{}", self.socket.display());
        Connect::new(&url).dir(dir).deadline(Duration::from_secs(10)).connect().expect("the ring")
    }
}

fn server(dir: &Path, key: &str) -> FrameBufferServer {
    let key = Key::new(key).expect("a key");
    FrameBufferServer::options(SIZE).key(key).dir(dir).prefault(Prefault::Off).start().expect("a ring")
}

fn maps(name: &str) -> bool {
    fs::read_to_string("/proc/self/maps").expect("our mappings").contains(name)
}

#[test]
fn every_operation_in_a_retired_ring_says_so_and_views_stay_whole() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    let view = client.view(&frame).expect("it is there");
    retire(&segment_path(&ring.dir));
    let outcomes = [
        client.publish(&[1]).map(drop),
        client.allocate(1).map(drop),
        client.loan(1).map(drop),
        client.write(frame.offset, &[1]).map(drop),
        client.read_frame(&frame).map(drop),
        client.read_into(&frame, &mut [0; 1000]),
        client.view(&frame).map(drop),
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        assert!(matches!(outcome, Err(Error::Retired)), "operation {number}: {outcome:?}");
    }
    assert!(is_payload(1, &view) && view.verify().is_ok());
}

#[test]
fn a_subscriber_of_a_connected_client_goes_on_in_the_next_ring_and_counts_what_it_has_not_received() {
    let dir = folder();
    let sidecar = Sidecar::start(dir.path());
    let mut first = server(dir.path(), "first");
    sidecar.answer(Some("first"));
    let (reader, writer) = (sidecar.connect(dir.path()), sidecar.connect(dir.path()));
    let mut subscriber = reader.subscriber("camera").expect("a subscriber");
    // Its client is in the next ring before it looks: the publisher's.
    let mut beside = writer.subscriber("camera").expect("a subscriber");
    let mut publisher = writer.publisher("camera").expect("a publisher");
    for number in 0..3 {
        publisher.send(&payload(number, 1000)).expect("there is room");
    }
    let long = Duration::from_secs(30);
    for subscriber in [&mut subscriber, &mut beside] {
        assert_eq!(subscriber.next(long).expect("no error").expect("it is there").number(), 0);
    }
    sidecar.answer(None);
    first.stop().expect("it stops");
    assert!(matches!(publisher.send(&[]), Err(Error::Retired)));
    assert!(subscriber.next(Duration::from_millis(300)).expect("there may be another ring").is_none());
    let _second = server(dir.path(), "second");
    sidecar.answer(Some("second"));
    wait_until("the publisher is in the next ring", || publisher.send(&payload(7, 1000)).is_ok());
    for subscriber in [&mut subscriber, &mut beside] {
        let sample = subscriber.next(long).expect("no error").expect("it was sent");
        assert!(sample.number() == 0 && is_payload(7, &sample));
        assert_eq!((subscriber.received(), subscriber.lost()), (2, 2));
    }
}

#[test]
fn a_connected_client_finds_the_next_ring_by_itself_and_frees_the_old_one() {
    alone("a_connected_client_finds_the_next_ring_by_itself_and_frees_the_old_one", || {
        let dir = folder();
        let sidecar = Sidecar::start(dir.path());
        let first = server(dir.path(), "first");
        sidecar.answer(Some("first"));
        let client = sidecar.connect(dir.path());
        let frame = client.publish(&payload(1, 1000)).expect("there is room");
        let views: Vec<_> = (0..200).map(|_| client.view(&frame).expect("it is there")).collect();
        retire(&dir.path().join("framebuffer-first"));
        sidecar.answer(None);
        let began = Instant::now();
        for _ in 0..10 {
            assert!(matches!(client.publish(&[1]), Err(Error::Retired)));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "operations waited for the sidecar");
        drop(first);
        let _second = server(dir.path(), "second");
        sidecar.answer(Some("second"));
        wait_until("it is in the next ring", || client.publish(&payload(2, 1000)).is_ok());
        assert_eq!(client.get_key(), "second");
        let newer = client.publish(&payload(3, 1000)).expect("there is room");
        assert!(is_payload(3, &client.read_frame(&newer).expect("it is there")));
        for view in &views {
            assert!(is_payload(1, view) && view.is_protected(), "a view of the old ring has changed");
        }
        assert!(maps("framebuffer-first"));
        drop(views);
        assert!(!maps("framebuffer-first"), "the old ring's memory is still in use");
        let open = fs::read_dir("/proc/self/fd").expect("our descriptors");
        let mut targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        assert!(!targets.any(|target| target.to_string_lossy().contains("framebuffer-first")), "a file is still open");
        client.publish(&[1]).expect("the next ring is untouched");
    });
}

#[test]
fn threads_go_over_to_the_next_ring_while_they_work_and_nothing_is_wrong() {
    alone("threads_go_over_to_the_next_ring_while_they_work_and_nothing_is_wrong", || {
        let dir = folder();
        let sidecar = Sidecar::start(dir.path());
        let mut current = server(dir.path(), "ring-0");
        sidecar.answer(Some("ring-0"));
        let client = sidecar.connect(dir.path());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (client, stop) = (&client, &stop);
                scope.spawn(move || {
                    for seed in 0.. {
                        if stop.load(std::sync::atomic::Ordering::Relaxed) {
                            return;
                        }
                        let seed = seed * 3 + thread;
                        let Ok(frame) = client.publish(&payload(seed, 500)) else { continue };
                        match client.view(&frame) {
                            Ok(view) => {
                                assert!(view.verify().is_err() || is_payload(seed, &view), "wrong bytes");
                            }
                            Err(Error::Retired | Error::Timeout(_) | Error::NeverAllocated { .. }) => {}
                            Err(error) => assert!(error.to_string().contains("ring"), "{error}"),
                        }
                    }
                });
            }
            for round in 1..30 {
                let name = format!("ring-{round}");
                let next = server(dir.path(), &name);
                sidecar.answer(Some(&name));
                retire(&dir.path().join(format!("framebuffer-ring-{}", round - 1)));
                current = next;
                let arrived = || client.publish(&[1]).is_ok() && client.get_key() == name;
                wait_until("it is in the next ring", arrived);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        drop(current);
        let old =
            (0..29).filter(|round| maps(&format!("framebuffer-ring-{round} ")) || maps(&format!("ring-{round}\n")));
        assert_eq!(old.count(), 0, "rings of before are still mapped");
    });
}

/// The owner is gone and the name is gone: nobody will ever find the ring.
#[test]
fn a_writer_notices_that_its_ring_has_neither_owner_nor_name_and_tells_the_others() {
    let dir = folder();
    let server = options(&dir).keep(true).start().expect("a ring");
    let (writer, reader) = (client_in(&dir), client_in(&dir));
    drop(server);
    let frame = writer.publish(&payload(1, 1000)).expect("without an owner, the ring goes on");
    reader.read_frame(&frame).expect("it is there");
    fs::remove_file(segment_path(&dir)).expect("our file");
    wait_until("the writer notices", || matches!(writer.publish(&[1]), Err(Error::Retired)));
    assert!(matches!(reader.read_frame(&frame), Err(Error::Retired)));
}
