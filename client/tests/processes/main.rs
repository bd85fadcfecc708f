//! Real processes on one small ring, that are killed, stopped and restarted, and fork, at random.
//!
//! Writers send the descriptions of their frames to readers over Unix datagram sockets. The contents of each frame
//! follow from a number that is sent along, so a reader knows every byte that it must find, whatever the checksum says.

mod channels;
#[path = "../common/mod.rs"]
mod common;
mod participant;

use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use common::{
    Random, TestRing, chain, is_payload, key, move_on, payload, segment_path, this_test_binary, timeout, wait_until,
};
use framebuffer::layout::{Control, ENROLLED_WORDS, PARTICIPANTS, active_offset};
use framebuffer::{Checksum, Error, Frame, FrameBufferClient, FrameBufferServer, Prefault, TimeoutReason};
use nix::sys::signal::Signal;
use participant::{Participant, end_with_parent, follow_orders, read_for_ever, write_for_ever};
use serde_json::{Value, json};

/// 320 KiB of ring: two pins of 8 KiB for each of twelve processes, and gaps as large between them, leave room for
/// another.
const SIZE: u64 = 256 << 10;
const LARGEST_FRAME: u64 = 8 << 10;
const WRITERS: usize = 6;
const READERS: usize = 6;
/// How often processes are killed.
const KILLS: usize = 800;
/// A stop between two kills, every so often.
const STOP_EVERY: usize = 8;

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper_that_takes_part() {
    let variable = |name: &str| std::env::var(format!("FRAMEBUFFER_TEST_{name}")).ok();
    let Some(role) = variable("ROLE") else { return };
    let dir = variable("DIR").expect("set");
    let number = variable("NUMBER").and_then(|number| number.parse().ok()).expect("set");
    let seed = variable("SEED").and_then(|seed| seed.parse().ok()).expect("set");
    let client = FrameBufferClient::options(key()).dir(&dir).prefault(Prefault::Off).open();
    let client = client.unwrap_or_else(|error| panic!("{}", chain(&error)));
    end_with_parent();
    match role.as_str() {
        "writer" => write_for_ever(&client, Path::new(&dir), seed),
        "reader" => read_for_ever(&client, Path::new(&dir), number, seed),
        "sender" => channels::send_for_ever(&client, seed),
        "receiver" => channels::receive_for_ever(&client, seed),
        "lap-wise" => follow_orders(&client, Path::new(&dir)),
        other => panic!("no such role: {other}"),
    }
}

/// The seed of a test's choices, which it prints.
fn seed() -> u64 {
    let seed = std::env::var("FRAMEBUFFER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = seed.unwrap_or_else(now);
    println!("FRAMEBUFFER_TEST_SEED={seed} repeats the choices, if not the timing");
    seed
}

#[test]
fn processes_that_are_killed_and_stopped_at_random_harm_nobody() {
    let seed = seed();
    let mut random = Random::new(seed);
    let ring = TestRing::new(SIZE);
    let start = |role, number, random: &mut Random| Participant::start(ring.dir.path(), role, number, random.next());
    let mut participants: Vec<_> = (0..WRITERS).map(|number| start("writer", number, &mut random)).collect();
    participants.extend((0..READERS).map(|number| start("reader", number, &mut random)));
    wait_until("frames are read", || ring.server.stats().expect("stats").counters.frames_read > 0);

    let mut reaped = 0;
    for round in 0..KILLS {
        let number = random.below(participants.len() as u64) as usize;
        if round % STOP_EVERY == 0 {
            stop_for_some_laps(&ring, &participants[number]);
        }
        let Participant { role, number: name, .. } = participants[number];
        let fresh = start(role, name, &mut random);
        std::mem::replace(&mut participants[number], fresh).kill();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        let size = random.below(LARGEST_FRAME);
        ring.server.allocate(size).unwrap_or_else(|error| panic!("allocation has stopped: {}", chain(&error)));
        if random.below(4) == 0 {
            reaped += ring.server.reap().expect("it serves");
        }
    }

    let before = ring.server.stats().expect("stats");
    participants.into_iter().for_each(Participant::kill);
    wait_until("the children of the dead have ended", || {
        reaped += ring.server.reap().expect("it serves");
        ring.server.stats().expect("stats").participants == 1
    });
    let stats = ring.server.stats().expect("stats");
    println!("{KILLS} kills, {} laps, {reaped} reaped by the server: {:?}", stats.laps, stats.counters);
    assert!(before.participants <= 2 * (1 + WRITERS + READERS), "slots leak: {before:?}");
    assert_eq!((stats.participants, stats.pins), (1, 0), "the server is alone, and nothing is held");
    assert_no_traces(&ring);
    assert_eq!(stats.counters.timeouts_mismatch, 0);
    assert_eq!(stats.counters.exhausted, 0, "there was room at all times");
    assert!(stats.counters.frames_read > 1000 && stats.counters.views > 1000 && stats.laps > 100, "{stats:?}");
    // The whole ring can be used again.
    let client = ring.client();
    let frame = client.publish(&payload(seed, SIZE as usize)).expect("there is room");
    assert!(is_payload(seed, &client.read_frame(&frame).expect("it is there")));
}

/// Stops the process at an arbitrary point, lets the ring move on, and continues the process.
fn stop_for_some_laps(ring: &TestRing, participant: &Participant) {
    participant.signal(Signal::SIGSTOP);
    let until = ring.head() + 3 * ring.capacity();
    let deadline = Instant::now() + Duration::from_secs(10);
    while ring.head() < until {
        assert!(Instant::now() < deadline, "the ring stands still");
        ring.server.allocate(LARGEST_FRAME).unwrap_or_else(|error| panic!("allocation has stopped: {}", chain(&error)));
    }
    participant.signal(Signal::SIGCONT);
}

/// Looks into the file: no slot but the server's is enrolled, and no pin of any slot is taken.
fn assert_no_traces(ring: &TestRing) {
    let file = fs::File::open(segment_path(&ring.dir)).expect("the segment");
    let word = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).expect("the segment is longer");
        u64::from_le_bytes(bytes)
    };
    let enrolled = |number: usize| word((offset_of!(Control, enrolled) + number * size_of::<u64>()) as u64);
    assert_eq!((0..ENROLLED_WORDS).map(|number| enrolled(number).count_ones()).sum::<u32>(), 1, "slots enrolled");
    assert!((0..PARTICIPANTS).all(|slot| word(active_offset(slot)) == 0), "pins are taken");
}

#[test]
fn a_participant_that_is_stopped_for_many_laps_harms_nobody_and_goes_on() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let dir = ring.dir.path();
    let socket = UnixDatagram::bind(dir.join("answers")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("our socket");
    let answer = || -> Value {
        let mut text = [0; 1000];
        let len = socket.recv(&mut text).expect("an answer, or the participant has found something wrong");
        serde_json::from_slice(&text[..len]).expect("an answer")
    };
    let order = |order: Value| -> Value {
        socket.send_to(order.to_string().as_bytes(), dir.join("orders")).expect("it listens");
        answer()
    };
    let other = Participant::start(dir, "lap-wise", 0, 0);
    assert_eq!(answer(), "ready");
    for round in 0..20 {
        let viewed = client.publish(&payload(round, 5000)).expect("there is room");
        let reserved = Frame { offset: client.allocate(1000).expect("there is room"), size: 1000, ..viewed };
        order(json!({"do": "view", "frame": viewed}));
        order(json!({"do": "loan", "number": round}));

        other.signal(Signal::SIGSTOP);
        let before = ring.server.stats().expect("stats");
        move_on(&client, 50 * ring.capacity(), 7000);
        let fresh = client.publish(&payload(round, 7000)).expect("there is room");
        assert!(is_payload(round, &client.read_frame(&fresh).expect("it is there")));
        assert_eq!(ring.server.reap().expect("it serves"), 0, "who is stopped is not dead");
        let after = ring.server.stats().expect("stats");
        assert_eq!((after.participants, after.pins), (before.participants, 2));
        other.signal(Signal::SIGCONT);

        order(json!({"do": "check view", "number": round}));
        order(json!({"do": "write", "frame": reserved, "number": round}));
        let committed: Frame =
            serde_json::from_value(order(json!({"do": "commit", "number": round}))).expect("a frame");
        let late = timeout(client.read_frame(&committed), &committed);
        assert!(
            matches!(late, TimeoutReason::Overwritten { laps: 50.., .. }),
            "committed, but 50 laps too late: {late}"
        );
        let published = serde_json::from_value(order(json!({"do": "publish", "number": round}))).expect("a frame");
        assert!(is_payload(round, &client.read_frame(&published).expect("it is there")));
    }
    assert_eq!(ring.server.stats().expect("stats").pins, 0);
    other.kill();
}

#[test]
fn what_a_killed_writer_had_committed_stays_and_what_it_had_not_is_never_readable() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let dir = ring.dir.path();
    let socket = UnixDatagram::bind(dir.join("answers")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("our socket");
    for number in 0..10 {
        let _ = fs::remove_file(dir.join("orders"));
        let other = Participant::start(dir, "lap-wise", 0, 0);
        let mut text = [0; 1000];
        socket.recv(&mut text).expect("it is ready");
        let order = |order: Value| {
            socket.send_to(order.to_string().as_bytes(), dir.join("orders")).expect("it listens");
            let mut text = [0; 1000];
            let len = socket.recv(&mut text).expect("an answer");
            serde_json::from_slice::<Value>(&text[..len]).expect("an answer")
        };
        let committed: Frame =
            serde_json::from_value(order(json!({"do": "publish", "number": number}))).expect("a frame");
        order(json!({"do": "loan", "number": number}));
        let lent = Frame::new(committed.offset + 1088, 1000, Checksum::of(&payload(number, 1000)));
        other.kill();

        assert!(is_payload(number, &client.read_frame(&committed).expect("it is there")));
        assert_eq!(timeout(client.read_frame(&lent), &lent), TimeoutReason::NotWritten);
        assert!(matches!(client.write(lent.offset, &[1]), Err(Error::AlreadyWritten { .. })));
        move_on(&client, 2 * ring.capacity(), 7000);
        let stats = ring.server.stats().expect("stats");
        assert_eq!((stats.participants, stats.pins), (2, 0), "an allocation has cleared the dead away");
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn helper_that_serves() {
    let Ok(dir) = std::env::var("FRAMEBUFFER_TEST_DIR") else { return };
    let options = FrameBufferServer::options(SIZE).key(key()).dir(&dir).keep(true).prefault(Prefault::Off);
    let server = options.start().unwrap_or_else(|error| panic!("{}", chain(&error)));
    end_with_parent();
    loop {
        server.allocate(LARGEST_FRAME).expect("there is room");
        server.reap().expect("it serves");
    }
}

#[test]
fn a_server_that_is_killed_and_restarted_under_traffic_disturbs_nobody() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let serve = || {
        let mut command = this_test_binary("helper_that_serves");
        command.env("FRAMEBUFFER_TEST_DIR", dir.path()).stdin(Stdio::piped()).stdout(Stdio::null());
        Participant { child: command.spawn().expect("the test binary runs"), role: "server", number: 0 }
    };
    let mut server = serve();
    wait_until("the ring is there", || segment_path(&dir).exists());
    let client = common::client_in(&dir);
    for round in 0..50 {
        let allocations = client.stats().expect("stats").counters.allocations;
        wait_until("the server allocates", || client.stats().expect("stats").counters.allocations > allocations + 100);
        server.kill();
        let frame = client.publish(&payload(round, 5000)).expect("there is room");
        let view = client.view(&frame).expect("it is there");
        server = serve();
        let head = client.stats().expect("stats").head;
        wait_until("the ring has moved on", || client.stats().expect("stats").head > head + 2 * SIZE);
        assert!(is_payload(round, &view) && view.verify().is_ok());
    }
    server.kill();
    let owner = FrameBufferServer::options(SIZE).key(key()).dir(dir.path()).keep(true).start().expect("it is kept");
    assert!(owner.adopted());
    owner.reap().expect("it serves");
    assert_eq!(owner.stats().expect("stats").participants, 2);
}
