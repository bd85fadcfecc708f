//! The real binary when something happens to its ring's file: `/readyz`, `healthcheck` and `doctor` agree, what can be
//! mended is, and what killed sidecars have left goes.

#![allow(clippy::unwrap_used, clippy::drop_non_drop, reason = "a test's helpers fail by panicking")]

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Sidecar, files, run, wait_for};
use framebuffer::{FrameBufferClient, Key};
use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
use tempfile::TempDir;

mod common;

/// Where the layout of a segment has the word that is not 0 once an owner has given the ring up, and the head.
const RETIRED: u64 = 80;
const HEAD: u64 = 128;

fn segment_path(dir: &TempDir) -> PathBuf {
    dir.path().join("framebuffer-watched")
}

fn start(dir: &TempDir) -> Sidecar {
    Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "watched"])
}

fn open(dir: &Path) -> FrameBufferClient {
    FrameBufferClient::options(Key::new("watched").unwrap()).dir(dir).open().unwrap()
}

fn word(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

fn healthcheck(sidecar: &Sidecar) -> Output {
    run(&["healthcheck", "--admin", &sidecar.admin.to_string()])
}

fn doctor(dir: &TempDir, sidecar: &Sidecar) -> (Option<i32>, String) {
    let url = format!("http://{}", sidecar.api);
    let output = run(&["doctor", "--dir", dir.path().to_str().unwrap(), "--url", &url]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Whoever is asked says that the ring is fine.
fn everybody_is_content(dir: &TempDir, sidecar: &Sidecar) {
    assert_eq!(sidecar.get_admin("/readyz"), (200, "ready\n".to_owned()));
    assert!(healthcheck(sidecar).status.success());
    let (code, report) = doctor(dir, sidecar);
    assert_eq!(code, Some(0), "{report}");
}

/// Whoever is asked says that it is not, and the port, the probe and the log say why.
fn everybody_says(dir: &TempDir, sidecar: &mut Sidecar, why: &str) {
    let (status, text) = sidecar.get_admin("/readyz");
    assert!(status == 503 && text.contains(why), "{status} {text}");
    let output = healthcheck(sidecar);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(why));
    let (code, report) = doctor(dir, sidecar);
    assert!(code == Some(1) && report.lines().any(|line| line.starts_with("fail")), "{report}");
    wait_for("the log", || sidecar.log().contains(why).then_some(()));
    assert!(sidecar.is_running());
}

#[test]
fn a_scribbled_head_or_identity_is_said_by_everybody_until_it_is_right_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = start(&dir);
    sidecar.allocate(r#"{"size": 100000}"#);
    everybody_is_content(&dir, &sidecar);
    let file = File::options().read(true).write(true).open(segment_path(&dir)).unwrap();
    for (at, value, why) in
        [(HEAD, 0_u64, "head is 0"), (HEAD, u64::MAX, "head is 18446744073709551615"), (0, 7, "starts with")]
    {
        let before = word(&file, at);
        file.write_all_at(&value.to_le_bytes(), at).unwrap();
        everybody_says(&dir, &mut sidecar, why);
        file.write_all_at(&before.to_le_bytes(), at).unwrap();
        everybody_is_content(&dir, &sidecar);
    }
    wait_for("the log", || sidecar.log().contains("in order again").then_some(()));
}

#[test]
fn a_file_that_was_cut_short_is_said_by_everybody_and_ends_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = start(&dir);
    File::options().write(true).open(segment_path(&dir)).unwrap().set_len(0).unwrap();
    let (status, text) = sidecar.get_admin("/readyz");
    assert!(status == 503 && text.contains("file length is 0"), "{status} {text}");
    assert_eq!(sidecar.get_admin("/metrics").0, 500);
    assert_eq!(sidecar.allocate(r#"{"size": 1}"#).0, 500);
    everybody_says(&dir, &mut sidecar, "file length is 0");
    assert!(sidecar.end(SIGTERM).success(), "{}", sidecar.log());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_file_that_was_replaced_is_said_by_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let mut sidecar = start(&dir);
    let copy = dir.path().join("copy");
    std::fs::copy(segment_path(&dir), &copy).unwrap();
    std::fs::rename(&copy, segment_path(&dir)).unwrap();
    everybody_says(&dir, &mut sidecar, "replaced by another file");
    std::fs::write(segment_path(&dir), "something else").unwrap();
    everybody_says(&dir, &mut sidecar, "replaced by another file");
    assert!(sidecar.end(SIGTERM).success());
    assert_eq!(files(dir.path()), ["framebuffer-watched"], "that is somebody else's");
}

#[test]
fn a_file_that_was_moved_away_gets_its_name_back() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = start(&dir);
    let inode = segment_path(&dir).metadata().unwrap().ino();
    std::fs::rename(segment_path(&dir), dir.path().join("elsewhere")).unwrap();
    wait_for("its name", || segment_path(&dir).exists().then_some(()));
    assert_eq!(segment_path(&dir).metadata().unwrap().ino(), inode);
    // The log comes through a pipe, and so may be a little later.
    wait_for("its note in the log", || sidecar.log().contains("named it again").then_some(()));
    everybody_is_content(&dir, &sidecar);
}

#[test]
fn a_ring_whose_file_was_deleted_is_retired_and_replaced_by_a_new_one_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    for keep in [&[][..], &["--keep"]] {
        let args = [&["--size", "1Mi", "--key", "watched"], keep].concat();
        let mut sidecar = Sidecar::start(dir.path(), &args);
        let old = File::open(segment_path(&dir)).unwrap();
        let client = open(dir.path());
        std::fs::remove_file(segment_path(&dir)).unwrap();
        wait_for("a new ring", || segment_path(&dir).exists().then_some(()));
        wait_for("it to be served", || (sidecar.get_admin("/readyz").0 == 200).then_some(()));
        assert_ne!(word(&old, RETIRED), 0, "its clients notice");
        assert_eq!(sidecar.key(), "watched");
        assert_eq!(sidecar.metric("framebuffer_ring_head_bytes"), 0);
        open(dir.path()).publish(b"it is a ring").unwrap();
        everybody_is_content(&dir, &sidecar);
        assert!(sidecar.log().contains("somebody has deleted it"), "{}", sidecar.log());
        drop(client);
        assert!(sidecar.end(SIGTERM).success());
        let _ = std::fs::remove_file(segment_path(&dir));
    }
}

#[test]
fn a_deleted_ring_that_cannot_be_replaced_ends_the_sidecar_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("ring");
    std::fs::create_dir(&ring).unwrap();
    let mut sidecar = Sidecar::start(&ring, &["--size", "1Mi"]);
    std::fs::remove_dir_all(&ring).unwrap();
    assert_eq!(sidecar.wait().code(), Some(1), "{}", sidecar.log());
    assert!(sidecar.log().contains("failed to replace the ring"), "{}", sidecar.log());
}

#[test]
fn the_rings_of_killed_sidecars_are_listed_by_doctor_and_removed_by_the_next_sidecar_or_by_doctor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    // A ring that nobody owns but somebody uses stays; once unused, it goes.
    let mut sidecar = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    let key = sidecar.key();
    let client = FrameBufferClient::options(Key::new(key.clone()).unwrap()).dir(dir.path()).open().unwrap();
    sidecar.end(SIGKILL);
    let mut second = Sidecar::start(dir.path(), &["--size", "1Mi"]);
    assert_eq!(files(dir.path()).len(), 2);
    drop(client);
    second.end(SIGKILL);
    Sidecar::start(dir.path(), &["--size", "1Mi", "--key", "kept", "--keep"]).end(SIGKILL);
    assert_eq!(files(dir.path()), ["framebuffer-kept"], "both of the killed ones are gone");

    Sidecar::start(dir.path(), &["--size", "1Mi"]).end(SIGKILL);
    let examine = |clean: &[&str]| {
        let output = run(&[&["doctor", "--dir", path], clean].concat());
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{report}");
        for file in files(dir.path()) {
            assert!(!report.contains(&file), "{report} tells a key");
        }
        report
    };
    let report = examine(&[]);
    assert!(report.contains("warn  killed servers have left 1 ring, 1.") && report.contains("--clean"), "{report}");
    assert!(report.contains("ok    1 ring without a server"), "{report}");
    assert!(report.contains("(framebuffer-") && report.contains("...)"), "{report}");
    let report = examine(&["--clean"]);
    assert!(report.contains("ok    removed 1 ring, 1."), "{report}");
    assert_eq!(files(dir.path()), ["framebuffer-kept"]);
    assert!(examine(&["--clean"]).contains("ok    no killed server has left a ring"));
    assert!(!files(dir.path()).iter().any(|file| file.contains(&key)));
}
