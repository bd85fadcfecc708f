//! Rings whose servers were killed: what nobody will ask for is removed by the next server in that folder, and nothing
//! else is.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{SIZE, chain, folder, is_payload, options, payload, segment_path, this_test_binary, wait_until};
use framebuffer::layout::{Control, VERSION};
use framebuffer::{FrameBufferClient, FrameBufferServer, Key, Prefault, SegmentError, orphans, remove_orphans};
use tempfile::TempDir;

/// A server with a random or a given key, in a process of its own.
struct OtherServer {
    process: Child,
    key: String,
}

impl OtherServer {
    fn start(dir: &TempDir, key: &str, keep: bool) -> Self {
        let mut command = this_test_binary("helper_that_serves");
        command.env("FRAMEBUFFER_TEST_DIR", dir.path()).env("FRAMEBUFFER_TEST_KEEP", keep.to_string());
        command.env("FRAMEBUFFER_TEST_KEY", key).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the test binary runs");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = output.lines().map_while(Result::ok);
        let key = lines.find_map(|line| line.strip_prefix("serving ").map(str::to_owned)).expect("it came up");
        Self { process, key }
    }

    fn kill(mut self) -> String {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was killed");
        self.key
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper_that_serves() {
    let variable = |name: &str| std::env::var(format!("FRAMEBUFFER_TEST_{name}"));
    let (Ok(dir), Ok(keep), Ok(key)) = (variable("DIR"), variable("KEEP"), variable("KEY")) else { return };
    let options = FrameBufferServer::options(SIZE).dir(dir).keep(keep == "true").prefault(Prefault::Off);
    let options = if key.is_empty() { options } else { options.key(Key::new(key).expect("a key")) };
    let server = options.start().expect("a ring");
    println!("\nserving {}", server.get_key());
    std::io::stdout().flush().expect("a pipe");
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn path_of(dir: &TempDir, key: &str) -> PathBuf {
    dir.path().join(format!("framebuffer-{key}"))
}

fn client_of(dir: &TempDir, key: &str) -> FrameBufferClient {
    let options = FrameBufferClient::options(Key::new(key).expect("a key")).dir(dir.path()).prefault(Prefault::Off);
    options.open().expect("the ring")
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).expect("the folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// A server that starts in the folder and stops again.
fn another_server_starts(dir: &TempDir) {
    FrameBufferServer::options(SIZE).dir(dir.path()).prefault(Prefault::Off).start().expect("a ring");
}

#[test]
fn the_rings_of_killed_servers_with_random_keys_are_removed_by_the_next_server() {
    let dir = folder();
    for _ in 0..3 {
        OtherServer::start(&dir, "", false).kill();
    }
    // The later servers have removed those of the earlier ones.
    assert_eq!(names(&dir).len(), 1);
    let found = orphans(dir.path()).expect("a folder");
    assert!(found.len() == 1 && found[0].is_lost && found[0].bytes >= SIZE, "{found:?}");
    assert!(found[0].name.len() == "framebuffer-0123...".len(), "{found:?}");
    another_server_starts(&dir);
    assert_eq!(names(&dir), [""; 0]);
    assert_eq!(orphans(dir.path()).expect("a folder"), []);
}

#[test]
fn a_ring_that_has_an_owner_or_a_participant_or_is_to_be_kept_or_has_a_given_key_stays() {
    let dir = folder();
    let owned = OtherServer::start(&dir, "", false);
    let used = OtherServer::start(&dir, "", false);
    let client = client_of(&dir, &used.key);
    let used = used.kill();
    let kept = OtherServer::start(&dir, "", true).kill();
    let kept_later = OtherServer::start(&dir, &"1".repeat(32), false).kill();
    OtherServer::start(&dir, &kept_later, true).kill();
    let given = OtherServer::start(&dir, "a-given-key", false).kill();
    another_server_starts(&dir);
    assert_eq!(remove_orphans(dir.path()).expect("a folder"), []);
    for key in [&owned.key, &used, &kept, &kept_later, &given] {
        assert!(path_of(&dir, key).exists(), "{:?}", names(&dir));
    }
    let found = orphans(dir.path()).expect("a folder");
    assert!(found.len() == 3 && found.iter().all(|orphan| !orphan.is_lost), "{found:?}");
    assert!(found.iter().all(|orphan| !orphan.name.contains("given")), "{found:?}");

    let frame = client.publish(&payload(1, 100)).expect("it is still a ring");
    assert!(is_payload(1, &client_of(&dir, &used).read_frame(&frame).expect("it is there")));
    drop(client);
    owned.kill();
    assert_eq!(remove_orphans(dir.path()).expect("a folder").len(), 2);
    assert_eq!(names(&dir).len(), 3);
}

#[test]
fn files_that_are_no_segments_of_this_version_stay_as_they_are() {
    let dir = folder();
    let key = OtherServer::start(&dir, "", false).kill();
    let segment = fs::read(path_of(&dir, &key)).expect("the segment");
    let name = |digit: &str| dir.path().join(format!("framebuffer-{}", digit.repeat(32)));
    let other_version = fs::write(name("0"), &segment).and_then(|()| fs::File::options().write(true).open(name("0")));
    let at = offset_of!(Control, version) as u64;
    other_version.expect("a file").write_all_at(&(VERSION + 1).to_le_bytes(), at).expect("it can be written");
    fs::write(name("1"), "precious data").expect("a file");
    fs::write(name("2"), "").expect("a file");
    fs::create_dir(name("3")).expect("a folder");
    std::os::unix::fs::symlink(path_of(&dir, &key), name("4")).expect("a link");
    nix::unistd::mkfifo(&name("5"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    fs::write(dir.path().join("framebuffer-"), &segment).expect("a file");
    fs::write(dir.path().join(format!("framebuffer-{}", "A".repeat(32))), &segment).expect("a file");
    fs::write(dir.path().join(format!(".framebuffer-{}", "6".repeat(32))), "precious data").expect("a file");
    let before = names(&dir);
    let removed = remove_orphans(dir.path()).expect("a folder");
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_eq!(names(&dir).len(), before.len() - 1);
    assert!(!path_of(&dir, &key).exists(), "that one is an orphan");
}

#[test]
fn what_a_server_leaves_that_is_killed_while_it_makes_its_file_is_removed() {
    let dir = folder();
    let key = OtherServer::start(&dir, "", false).kill();
    let segment = fs::read(path_of(&dir, &key)).expect("the segment");
    let name = |digit: &str| dir.path().join(format!(".framebuffer-{}", digit.repeat(32)));
    fs::write(name("0"), "").expect("a file");
    fs::write(name("1"), vec![0; 1 << 20]).expect("a file");
    fs::write(name("2"), &segment).expect("a file");
    // Killed between the link to the name and the end of the provisional one; the server of that ring lives.
    let server = options(&dir).start().expect("a ring");
    assert_eq!(names(&dir), ["framebuffer-the-secret-key"]);
    fs::hard_link(segment_path(&dir), name("3")).expect("a link");
    another_server_starts(&dir);
    assert_eq!(names(&dir).len(), 2, "{:?}", names(&dir));
    drop(server);
    another_server_starts(&dir);
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn a_provisional_name_of_a_ring_that_waits_for_its_owner_goes_and_the_ring_stays() {
    let dir = folder();
    drop(options(&dir).keep(true).start().expect("a ring"));
    let provisional = dir.path().join(format!(".framebuffer-{}", "0".repeat(32)));
    fs::hard_link(segment_path(&dir), &provisional).expect("a link");
    another_server_starts(&dir);
    assert!(!provisional.exists());
    assert!(options(&dir).keep(true).start().expect("the ring").adopted(), "it is not retired");
}

/// The word that tells that a segment was given up.
fn is_retired(file: &fs::File) -> bool {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, offset_of!(Control, retired) as u64).expect("a segment");
    word != [0; 8]
}

fn open_file(path: &Path) -> fs::File {
    fs::File::options().read(true).write(true).open(path).expect("the segment")
}

#[test]
fn an_orphan_is_retired_before_it_goes() {
    let dir = folder();
    let key = OtherServer::start(&dir, "", false).kill();
    let file = open_file(&path_of(&dir, &key));
    assert!(!is_retired(&file));
    another_server_starts(&dir);
    assert!(is_retired(&file) && !path_of(&dir, &key).exists());
}

#[test]
fn a_retired_ring_that_still_has_its_name_is_not_adopted_but_replaced() {
    let dir = folder();
    drop(options(&dir).keep(true).start().expect("a ring"));
    let file = open_file(&segment_path(&dir));
    file.write_all_at(&1_u64.to_le_bytes(), offset_of!(Control, retired) as u64).expect("it can be written");
    let error = framebuffer::inspect(dir.path(), &common::key()).expect_err("it is retired");
    assert!(chain(&error).contains("retirement"), "{}", chain(&error));
    let found = orphans(dir.path()).expect("a folder");
    assert!(found.len() == 1 && found[0].is_lost, "{found:?}");
    let server = options(&dir).keep(true).start().expect("a ring");
    assert!(!server.adopted());
    assert!(!is_retired(&open_file(&segment_path(&dir))));
}

#[test]
fn whoever_clears_orphans_away_is_never_taken_for_their_owner() {
    let dir = folder();
    let key = "f".repeat(32);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    remove_orphans(dir.path()).expect("a folder");
                }
            });
        }
        let rounds = (0..60).try_for_each(|round| {
            let start = || {
                let options = FrameBufferServer::options(SIZE).key(Key::new(&key).expect("a key"));
                options.dir(dir.path()).prefault(Prefault::Off).start()
            };
            let server = start()?;
            // An owner that was killed leaves the file; a copy of it is another file that looks the same.
            let segment = fs::read(path_of(&dir, &key)).expect("its segment");
            drop(server);
            fs::write(dir.path().join("made"), segment).expect("a file");
            fs::rename(dir.path().join("made"), path_of(&dir, &key)).expect("a file");
            if round % 2 == 0 {
                wait_until("the file is cleared away", || !path_of(&dir, &key).exists());
            }
            let server = start()?;
            assert!(path_of(&dir, &key).exists(), "a ring with an owner was removed");
            server.check().map_err(|error| panic!("{}", chain(&error)))
        });
        stop.store(true, Ordering::Relaxed);
        rounds.map_err(|error: SegmentError| chain(&error)).expect("nobody else owns the ring");
    });
}

#[test]
fn a_server_waits_for_whoever_holds_the_owners_lock_for_a_moment_without_taking_part() {
    let dir = folder();
    drop(options(&dir).keep(true).start().expect("a ring"));
    let cleaner = open_file(&segment_path(&dir));
    let lock = nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 };
    nix::fcntl::fcntl(&cleaner, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("nobody has it");
    let begun = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            begun.wait();
            options(&dir).keep(true).start()
        });
        begun.wait();
        // Long enough to be met, mostly; the test cannot fail because it was not.
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(cleaner);
        assert!(starting.join().expect("no panic").expect("the lock is free again").adopted());
    });
    // Who does not let go is an owner.
    let holder = open_file(&segment_path(&dir));
    nix::fcntl::fcntl(&holder, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("nobody has it");
    assert!(matches!(options(&dir).start(), Err(SegmentError::AlreadyOwned)));
}
