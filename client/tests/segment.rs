//! Segments as files: which are created, opened and refused, and with which permissions.

mod common;

use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use common::{
    SIZE, alone, chain, client_in, folder, is_empty, is_payload, kept_segment, key, options, payload, segment_path,
};
use framebuffer::layout::{Control, FRAME_ALIGN, HEADER_SIZE, RING_OFFSET, SLOTS_OFFSET, VERSION};
use framebuffer::{Error, Frame, FrameBufferClient, FrameBufferServer, Prefault, SegmentError};
use framebuffer_contract::segment::SIZE_LIMIT;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Uid, setuid};
use tempfile::TempDir;

fn open(dir: &TempDir) -> Result<FrameBufferClient, SegmentError> {
    FrameBufferClient::options(key()).dir(dir.path()).prefault(Prefault::Off).open()
}

#[test]
fn a_ring_of_no_bytes_or_of_too_many_is_refused() {
    let dir = folder();
    let start = |size| FrameBufferServer::options(size).dir(dir.path()).start().expect_err("not a size");
    assert!(matches!(start(0), SegmentError::ZeroSize));
    assert!(chain(&start(0)).contains("0 bytes"));
    for size in [SIZE_LIMIT + 1, 1 << 60, u64::MAX] {
        let error = start(size);
        let named = matches!(error, SegmentError::SizeLimit { size: s, limit } if s == size && limit == SIZE_LIMIT);
        assert!(named, "{}", chain(&error));
        assert!(chain(&error).contains(&size.to_string()) && chain(&error).contains(&SIZE_LIMIT.to_string()));
    }
    assert!(is_empty(&dir));
}

#[test]
fn a_ring_larger_than_the_memory_is_refused_at_the_start_and_leaves_nothing_behind() {
    let dir = folder();
    let size = SIZE_LIMIT;
    let error = FrameBufferServer::options(size).dir(dir.path()).start().expect_err("nobody has that much");
    let SegmentError::NoMemory { size: asked, needed, available, .. } = error else { panic!("{}", chain(&error)) };
    assert!(asked == size && needed > size && available < needed);
    assert!(chain(&error).contains(&size.to_string()) && chain(&error).contains(&available.to_string()));
    assert!(is_empty(&dir));
}

#[test]
fn a_ring_larger_than_its_file_system_is_refused_at_the_start_and_leaves_nothing_behind() {
    struct Mounted(TempDir);
    impl Drop for Mounted {
        fn drop(&mut self) {
            umount2(self.0.path(), MntFlags::MNT_DETACH).expect("it is mounted");
        }
    }
    let dir = folder();
    let (tmpfs, limit) = (Some("tmpfs"), Some("size=2m"));
    if let Err(errno) = mount(tmpfs, dir.path(), tmpfs, MsFlags::empty(), limit) {
        eprintln!("skipped: cannot mount a tmpfs of 2 MiB: {errno}");
        return;
    }
    let mounted = Mounted(dir);
    let start = |size| FrameBufferServer::options(size).dir(mounted.0.path()).prefault(Prefault::Off).start();
    for size in [2 << 20, 10 << 20] {
        let error = start(size).expect_err("more than fits");
        let SegmentError::NoMemory { available, limited_by, .. } = error else { panic!("{}", chain(&error)) };
        assert_eq!((available, &*limited_by), (2 << 20, "the shared memory folder (size 2097152)"));
        assert!(is_empty(&mounted.0));
    }
    let server = start(256 << 10).expect("this fits");
    let second = start(256 << 10).map(|_| ()).expect_err("two do not fit");
    assert!(matches!(second, SegmentError::NoMemory { .. }), "{}", chain(&second));
    drop(server);
    start(256 << 10).expect("all memory was given back");
}

#[test]
fn without_a_segment_there_is_nothing_to_open() {
    let dir = folder();
    let error = open(&dir).expect_err("there is none");
    assert!(matches!(error, SegmentError::NotFound { .. }));
    assert!(chain(&error).contains(&dir.path().display().to_string()));
    let gone = dir.path().join("gone");
    let error = FrameBufferServer::options(SIZE).dir(&gone).start().expect_err("there is no such folder");
    assert!(matches!(error, SegmentError::Io { .. }), "{}", chain(&error));
    let error = FrameBufferClient::options(key()).dir(&gone).open().expect_err("there is no such folder");
    assert!(matches!(error, SegmentError::NotFound { .. }), "{}", chain(&error));
    for bad in ["", "../etc/passwd", "a/b"] {
        assert!(matches!(FrameBufferClient::open(bad), Err(SegmentError::Key(_))));
        assert!(matches!(FrameBufferServer::new(bad, SIZE), Err(SegmentError::Key(_))));
    }
}

/// A client and servers of both kinds refuse the file, and leave it as it is.
fn everybody_refuses(dir: &TempDir, what: &str, is_expected: impl Fn(&SegmentError) -> bool) {
    let before = fs::read(segment_path(dir)).expect("the file");
    let metadata = fs::metadata(segment_path(dir)).expect("the file");
    let attempts = [
        ("client", open(dir).map(|_| ())),
        ("server", options(dir).start().map(|_| ())),
        ("keeping server", options(dir).keep(true).start().map(|_| ())),
        ("stat", framebuffer::stat(dir.path(), &key()).map(|_| ())),
    ];
    for (who, attempt) in attempts {
        let error = attempt.expect_err(what);
        assert!(is_expected(&error), "{what}, {who}: {}", chain(&error));
    }
    assert!(fs::read(segment_path(dir)).expect("the file") == before, "{what}: the file has changed");
    let now = fs::metadata(segment_path(dir)).expect("the file");
    assert_eq!((now.ino(), now.mode(), now.len()), (metadata.ino(), metadata.mode(), metadata.len()), "{what}");
    assert_eq!(now.modified().expect("a time"), metadata.modified().expect("a time"), "{what}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "{what}: something was left behind");
}

#[test]
fn files_that_are_too_short_are_refused_and_not_touched() {
    let identity = offset_of!(Control, participants) + size_of::<u64>();
    let [slots, ring, shortest] = [SLOTS_OFFSET, RING_OFFSET, RING_OFFSET + HEADER_SIZE].map(|len| len as usize);
    for len in [0, 1, size_of::<u64>(), identity - 1, identity, slots, ring, shortest - 1] {
        let (dir, _) = kept_segment();
        let segment = fs::read(segment_path(&dir)).expect("the segment");
        fs::write(segment_path(&dir), &segment[..len]).expect("it can be written");
        everybody_refuses(
            &dir,
            &format!("{len} bytes"),
            |error| matches!(error, SegmentError::TooShort { len: l, needed } if *l == len as u64 && *needed > *l),
        );
    }
}

#[test]
fn a_segment_whose_file_has_another_length_than_it_says_is_refused_and_not_touched() {
    for by in [-4096_i64, -1, 1, 4096] {
        let (dir, _) = kept_segment();
        let file = fs::OpenOptions::new().write(true).open(segment_path(&dir)).expect("the segment");
        let len = file.metadata().expect("the segment").len().checked_add_signed(by).expect("a length");
        file.set_len(len).expect("it can be changed");
        everybody_refuses(
            &dir,
            &format!("longer by {by}"),
            |error| matches!(error, SegmentError::Damaged { what: "file length", found, .. } if *found == len),
        );
    }
}

#[test]
fn foreign_files_are_refused_and_not_touched() {
    for (what, contents) in [("zeros", vec![0; 1 << 20]), ("text", b"precious data\n".repeat(50_000))] {
        let dir = folder();
        fs::write(segment_path(&dir), contents).expect("it can be written");
        everybody_refuses(&dir, what, |error| matches!(error, SegmentError::Magic { .. }));
    }
}

/// The smallest ring of version 2 was shorter than any of version 3.
#[test]
fn a_segment_of_an_older_version_is_refused_by_its_version_however_short_it_is() {
    let (dir, _) = kept_segment();
    let file = fs::OpenOptions::new().write(true).open(segment_path(&dir)).expect("the segment");
    file.write_all_at(&2_u64.to_le_bytes(), offset_of!(Control, version) as u64).expect("it can be written");
    file.set_len(348_160 + (64 << 10) + 4096).expect("it can be shortened");
    everybody_refuses(&dir, "version 2", |error| {
        matches!(error, SegmentError::Version { found: 2, supported: VERSION })
    });
}

#[test]
fn damaged_fields_are_refused_one_by_one_and_not_touched() {
    type Expected = fn(&SegmentError) -> bool;
    let fields: [(usize, &str, Expected); 6] = [
        (offset_of!(Control, magic), "magic", |error| matches!(error, SegmentError::Magic { .. })),
        (offset_of!(Control, version), "version", |error| {
            matches!(error, SegmentError::Version { supported: VERSION, .. })
        }),
        (offset_of!(Control, size), "size", |error| matches!(error, SegmentError::Damaged { .. })),
        (offset_of!(Control, capacity), "capacity", |error| {
            matches!(error, SegmentError::Damaged { what: "capacity", .. })
        }),
        (offset_of!(Control, ring_offset), "ring offset", |error| {
            matches!(error, SegmentError::Damaged { what: "ring offset", .. })
        }),
        (offset_of!(Control, participants), "participants", |error| {
            matches!(error, SegmentError::Damaged { what: "number of participants", .. })
        }),
    ];
    for (at, what, is_expected) in fields {
        for value in [0, VERSION + 1, 1 << 20, 1 << 63, u64::MAX] {
            let (dir, _) = kept_segment();
            let file = fs::OpenOptions::new().write(true).open(segment_path(&dir)).expect("the segment");
            file.write_all_at(&value.to_le_bytes(), at as u64).expect("it can be written");
            everybody_refuses(&dir, &format!("{what} {value}"), is_expected);
        }
    }
}

#[test]
fn a_damaged_head_stops_the_traffic_with_an_error() {
    let dir = folder();
    let server = options(&dir).start().expect("a ring");
    let client = client_in(&dir);
    let frame = client.publish(&payload(1, 1000)).expect("there is room");
    let file = fs::OpenOptions::new().write(true).open(segment_path(&dir)).expect("the segment");
    for head in [1, FRAME_ALIGN + 1, 1 << 63 | FRAME_ALIGN, u64::MAX, u64::MAX - (FRAME_ALIGN - 1)] {
        file.write_all_at(&head.to_le_bytes(), offset_of!(Control, head) as u64).expect("it can be written");
        let error = server.allocate(100).expect_err("the head is damaged");
        let named = matches!(error, Error::Corrupt { what: "head", value } if value == head);
        assert!(named, "{}", chain(&error));
        client.publish(&[1; 100]).expect_err("the head is damaged");
        let _ = client.read_frame(&frame);
        let _ = client.stats().expect("stats");
    }
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    alone("the_mode_is_what_was_asked_for_whatever_the_umask", || {
        for umask in [0o000, 0o022, 0o077, 0o777] {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
            for mode in [0o600, 0o640, 0o660, 0o666] {
                let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
                let dir = dir.expect("a temporary folder");
                fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
                let _server = options(&dir).mode(mode).start().expect("a ring");
                let found = fs::metadata(segment_path(&dir)).expect("the segment").mode() & 0o7777;
                assert_eq!(found, mode, "{found:o} instead of {mode:o} with umask {umask:o}");
            }
        }
        let dir = folder();
        let _server = options(&dir).start().expect("a ring");
        assert_eq!(fs::metadata(segment_path(&dir)).expect("the segment").mode() & 0o7777, 0o600, "the default");
    });
}

#[test]
fn another_user_can_use_a_segment_of_mode_0666_and_not_one_of_0600() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    alone("another_user_can_use_a_segment_of_mode_0666_and_not_one_of_0600", || {
        let folders = [0o666, 0o600].map(|mode| {
            let dir = folder();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
            let server = options(&dir).mode(mode).start().expect("a ring");
            (dir, server)
        });
        let frame = client_in(&folders[0].0).publish(&payload(1, 1000)).expect("there is room");
        // SAFETY: the child does nothing but use the ring, report by its exit status and leave without destructors.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                let outcome = std::panic::catch_unwind(|| use_as_nobody(&folders[0].0, &folders[1].0, &frame));
                // SAFETY: ends the process.
                unsafe { nix::libc::_exit(i32::from(outcome.is_err())) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("our child");
                assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
            }
        }
        let stats = folders[0].1.stats().expect("stats");
        assert_eq!(stats.counters.frames_read, 2, "the other user has read two frames");
        assert_eq!(folders[0].1.reap().expect("it serves"), 0, "and left properly");
    });
}

fn use_as_nobody(open_to_all: &TempDir, own_user_only: &TempDir, frame: &Frame) {
    setuid(Uid::from_raw(65534)).expect("we are root");
    let client = client_in(open_to_all);
    assert!(is_payload(1, &client.read_frame(frame).expect("it is there")));
    let own = client.publish(&payload(2, 5000)).expect("there is room");
    assert!(is_payload(2, &client.read_frame(&own).expect("it is there")));
    let error = open(own_user_only).expect_err("not ours");
    let whose_and_what_to_do = |error: &SegmentError| {
        let text = chain(error);
        assert!(matches!(error, SegmentError::NotPermitted { .. }), "{text}");
        assert!(text.contains("open the segment") && text.contains("belongs to user 0, group 0, mode 0600"), "{text}");
        assert!(text.contains("this process has user 65534") && text.contains("--mode 0666"), "{text}");
    };
    whose_and_what_to_do(&error);
    for keep in [false, true] {
        whose_and_what_to_do(&options(own_user_only).keep(keep).start().expect_err("not ours"));
    }
}

#[test]
fn the_default_folder_is_shared_memory() {
    alone("the_default_folder_is_shared_memory", || {
        // SAFETY: no other thread runs in this process.
        unsafe { std::env::remove_var("FRAMEBUFFER_DIR") };
        let name = format!("test-{}", std::process::id());
        let server = FrameBufferServer::new(&name, 1 << 20).expect("a ring");
        let path = std::path::PathBuf::from(format!("/dev/shm/framebuffer-{name}"));
        assert!(path.exists());
        let client = FrameBufferClient::open(&name).expect("the ring");
        let frame = client.publish(&payload(1, 1 << 20)).expect("it fits");
        assert!(is_payload(1, &client.read_frame(&frame).expect("it is there")));
        drop(server);
        assert!(!path.exists());

        let dir = folder();
        // SAFETY: as above, but for the threads that prefault, which read no environment.
        unsafe { std::env::set_var("FRAMEBUFFER_DIR", dir.path()) };
        let server = FrameBufferServer::new(&name, 1 << 20).expect("a ring");
        assert!(dir.path().join(format!("framebuffer-{name}")).exists());
        drop(server);
    });
}
