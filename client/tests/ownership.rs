//! What an owner notices about its ring, what it mends, and how it gives the ring up.

mod common;

use std::fs::{self, File};
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};

use common::{
    KEY, SIZE, TestRing, alone, chain, client_in, folder, is_empty, is_payload, key, move_on, options, payload,
    segment_path,
};
use framebuffer::layout::{Control, FRAME_ALIGN};
use framebuffer::{Error, FrameBufferServer, Prefault, SegmentError, inspect};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

fn open_file(dir: &TempDir) -> File {
    File::options().read(true).write(true).open(segment_path(dir)).expect("the segment")
}

fn is_retired(file: &File) -> bool {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, offset_of!(Control, retired) as u64).expect("a segment");
    word != [0; 8]
}

/// Closes everything but the standard streams, as daemons do.
fn close_all_descriptors() {
    // SAFETY: the process no longer uses the closed descriptors, which is just what this tests.
    assert_eq!(unsafe { nix::libc::close_range(3, u32::MAX, 0) }, 0);
}

#[test]
fn a_ring_that_is_stopped_or_replaced_is_retired_and_one_that_is_kept_is_not() {
    let dir = folder();
    let mut server = options(&dir).start().expect("a ring");
    let first = open_file(&dir);
    assert!(!is_retired(&first));
    server.stop().expect("it can be removed");
    assert!(is_retired(&first) && is_empty(&dir));

    let server = options(&dir).keep(true).start().expect("a ring");
    let kept = open_file(&dir);
    drop(server);
    drop(options(&dir).keep(true).start().expect("the same ring"));
    assert!(!is_retired(&kept));

    let client = client_in(&dir);
    let server = options(&dir).start().expect("another ring in its place");
    assert!(is_retired(&kept), "its client notices");
    let replaced = open_file(&dir);
    drop((client, server));
    assert!(is_retired(&replaced) && is_empty(&dir));
}

#[test]
fn a_kept_ring_that_has_lost_its_name_is_retired_since_nobody_can_adopt_it() {
    let dir = folder();
    let server = options(&dir).keep(true).start().expect("a ring");
    let file = open_file(&dir);
    fs::remove_file(segment_path(&dir)).expect("the segment");
    drop(server);
    assert!(is_retired(&file));
}

#[test]
fn a_server_whose_descriptors_are_closed_locks_its_ring_again_and_removes_it_at_the_end() {
    alone("a_server_whose_descriptors_are_closed_locks_its_ring_again_and_removes_it_at_the_end", || {
        type Use = fn(&mut FrameBufferServer);
        let uses: [Use; 4] = [
            |server| server.check().expect("mended"),
            |server| assert!(server.stats().expect("mended").size == SIZE),
            |server| assert!(server.reap().expect("mended") == 0),
            |server| server.start().expect("mended"),
        ];
        for notice in uses {
            let dir = folder();
            let mut server = options(&dir).start().expect("a ring");
            close_all_descriptors();
            notice(&mut server);
            let error = options(&dir).start().expect_err("the ring has an owner");
            assert!(matches!(error, SegmentError::AlreadyOwned), "{}", chain(&error));
            server.stop().expect("it is removed");
            assert!(is_empty(&dir));
        }
        let dir = folder();
        let mut server = options(&dir).start().expect("a ring");
        close_all_descriptors();
        server.stop().expect("it is removed, though nobody has noticed before");
        assert!(is_empty(&dir));
    });
}

#[test]
fn a_server_that_has_lost_its_ring_to_another_says_so_and_leaves_it_alone() {
    alone("a_server_that_has_lost_its_ring_to_another_says_so_and_leaves_it_alone", || {
        for keep in [false, true] {
            let dir = folder();
            let mut server = options(&dir).keep(keep).start().expect("a ring");
            close_all_descriptors();
            let other = options(&dir).keep(keep).start().expect("nobody has the lock");
            assert_eq!(other.adopted(), keep);
            let file = open_file(&dir);
            let lost = |outcome: Result<(), Error>| {
                let error = outcome.expect_err("the ring is another's");
                assert!(matches!(error, Error::OwnershipLost), "{}", chain(&error));
                assert!(chain(&error).contains("stop()"), "{}", chain(&error));
            };
            lost(server.check());
            lost(server.stats().map(drop));
            lost(server.reap().map(drop));
            lost(server.allocate(100).map(drop));
            assert!(matches!(server.start(), Err(SegmentError::OwnershipLost)));
            match server.stop() {
                Ok(()) => assert!(!keep, "the ring is there, and it is another's"),
                Err(error) => assert!(keep && matches!(error, SegmentError::OwnershipLost), "{}", chain(&error)),
            }
            assert!(!is_retired(&file) && segment_path(&dir).exists(), "the other's");
            other.check().expect("it is in order");
            let error = server.start().expect_err("the ring has an owner");
            assert!(matches!(error, SegmentError::AlreadyOwned), "{}", chain(&error));
            drop(other);
            server.start().expect("now the key is free");
        }
    });
}

#[test]
fn a_forked_childs_server_says_nothing_about_its_parents_lock() {
    alone("a_forked_childs_server_says_nothing_about_its_parents_lock", || {
        let ring = TestRing::new(SIZE);
        // SAFETY: in a process of its own, where no other thread holds a lock that the child needs.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                let TestRing { server, dir } = ring;
                let fine = server.check().is_ok() && server.allocate(10).is_ok();
                drop(server);
                let fine = fine && segment_path(&dir).exists() && !is_retired(&open_file(&dir));
                // SAFETY: ends the process.
                unsafe { nix::libc::_exit(i32::from(!fine)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("our child");
                assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "the child: {status:?}");
                ring.server.check().expect("the parent is its owner");
            }
        }
    });
}

/// The cause of a check that fails.
fn fault(ring: &TestRing) -> SegmentError {
    match ring.server.check().expect_err("the ring is out of order") {
        Error::OutOfOrder(cause) => cause,
        other => panic!("{}", chain(&other)),
    }
}

#[test]
fn a_file_that_was_moved_gets_its_name_back() {
    let ring = TestRing::new(SIZE);
    let (inode, elsewhere) =
        (open_file(&ring.dir).metadata().expect("a file").ino(), ring.dir.path().join("elsewhere"));
    fs::rename(segment_path(&ring.dir), &elsewhere).expect("our file");
    ring.server.check().expect("it is named again");
    assert_eq!(open_file(&ring.dir).metadata().expect("a file").ino(), inode);
    client_in(&ring.dir).publish(&payload(1, 100)).expect("it is the ring");
}

#[test]
fn a_file_that_was_deleted_or_replaced_is_noticed() {
    let ring = TestRing::new(SIZE);
    let copy = fs::read(segment_path(&ring.dir)).expect("the segment");
    fs::remove_file(segment_path(&ring.dir)).expect("our file");
    assert!(matches!(fault(&ring), SegmentError::NameGone { .. }));
    assert!(matches!(inspect(ring.dir.path(), &key()), Err(SegmentError::NotFound { .. })));
    ring.server.allocate(10).expect("who has it can go on");
    fs::write(segment_path(&ring.dir), copy).expect("a file");
    assert!(matches!(fault(&ring), SegmentError::NameTaken { .. }));
    let inspection = inspect(ring.dir.path(), &key()).expect("it looks like a ring");
    assert!(!inspection.has_owner, "nobody owns the copy");
}

#[test]
fn a_file_that_was_cut_short_is_noticed_before_it_is_touched() {
    let mut ring = TestRing::new(SIZE);
    let length = open_file(&ring.dir).metadata().expect("a file").len();
    for shorter in [0, 100, 8192, length - 4096] {
        open_file(&ring.dir).set_len(shorter).expect("our file");
        assert!(matches!(fault(&ring), SegmentError::Damaged { what: "file length", .. }));
        for error in [ring.server.stats().map(drop), ring.server.reap().map(drop), ring.server.allocate(9).map(drop)] {
            let error = error.expect_err("it cannot be touched");
            assert!(chain(&error).contains(&length.to_string()), "{}", chain(&error));
        }
        inspect(ring.dir.path(), &key()).expect_err("it is no ring");
    }
    ring.server.stop().expect("it can be removed");
    ring.server.start().expect("a new ring");
    open_file(&ring.dir).set_len(0).expect("our file");
    drop(ring.server);
    assert!(is_empty(&ring.dir));
}

#[test]
fn a_scribbled_identity_or_head_is_noticed_from_inside_and_from_outside() {
    let ring = TestRing::new(SIZE);
    move_on(&ring.client(), 3 * SIZE, 1000);
    ring.server.check().expect("it is in order");
    inspect(ring.dir.path(), &key()).expect("it is in order");
    let file = open_file(&ring.dir);
    let head = ring.head();
    let words = [
        (offset_of!(Control, magic), 0),
        (offset_of!(Control, version), 99),
        (offset_of!(Control, size), SIZE + 1),
        (offset_of!(Control, capacity), u64::MAX),
        (offset_of!(Control, participants), 1),
        (offset_of!(Control, retired), 1),
        (offset_of!(Control, head), head + 1),
        (offset_of!(Control, head), u64::MAX),
        (offset_of!(Control, head), 0),
        (offset_of!(Control, head), FRAME_ALIGN),
    ];
    for (at, value) in words {
        let mut before = [0; 8];
        file.read_exact_at(&mut before, at as u64).expect("a segment");
        file.write_all_at(&u64::to_le_bytes(value), at as u64).expect("it can be written");
        let inside = fault(&ring);
        let outside = inspect(ring.dir.path(), &key()).expect_err("it is out of order");
        assert_eq!(chain(&inside).split(',').next(), chain(&outside).split(',').next(), "{at}: {value}");
        file.write_all_at(&before, at as u64).expect("it can be written");
        ring.server.check().expect("it is in order again");
    }
    file.write_all_at(&[0xAA; 16], offset_of!(Control, id) as u64).expect("it can be written");
    assert!(matches!(fault(&ring), SegmentError::Damaged { what: "id", .. }), "only its owner knows the id");
}

/// A tmpfs of its own, unmounted at the end; `None` where this user may not mount.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let dir = folder();
        let limit = format!("size={size}");
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(limit.as_str())) {
            Ok(()) => Some(Self(dir)),
            Err(errno) => {
                eprintln!("skipped: cannot mount a tmpfs: {errno}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[test]
fn a_ring_without_room_beside_the_clients_of_an_earlier_one_says_how_much_they_hold_and_what_to_do() {
    let Some(Tmpfs(dir)) = &Tmpfs::new("3m") else { return };
    let size = 2 << 20;
    let options = || FrameBufferServer::options(size).key(key()).dir(dir.path()).prefault(Prefault::Off);
    let refused = || {
        let error = options().start().expect_err("there is no room for two");
        let SegmentError::NoMemory { held, .. } = error else { panic!("{}", chain(&error)) };
        assert!((size..size * 3 / 2).contains(&held), "{held}");
        let text = chain(&error);
        assert!(text.contains(&held.to_string()) && text.contains("restart these clients") && text.contains("--keep"));
        assert!(!text.contains(KEY));
    };
    // As a killed server leaves it: nobody owns the ring, and a client is still there.
    let server = options().keep(true).start().expect("a ring");
    let client = client_in(dir);
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    drop(server);
    refused();
    refused();
    let server = options().keep(true).start().expect("the old ring is still there to be adopted");
    assert!(server.adopted() && is_payload(1, &client_in(dir).read_frame(&frame).expect("nothing is lost")));
    drop(server);
    drop(client);
    let mut server = options().start().expect("its last client is gone");

    // Stopped, so without a name, while a client has it open.
    let client = client_in(dir);
    server.stop().expect("it can be removed");
    refused();
    drop(client);
    server.start().expect("its last client is gone");
    drop(server);
    // Dropped without clients, nothing holds memory, and nobody is blamed.
    let error = FrameBufferServer::options(8 << 20).dir(dir.path()).start().expect_err("more than there is");
    assert!(matches!(error, SegmentError::NoMemory { held: 0, .. }), "{}", chain(&error));
}
