//! Programs that close all their file descriptors, as daemons do, while they use a ring. Among them are the locks that
//! say that they live: others may take them for dead then. Nothing may crash, nobody may get wrong bytes.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use common::{TestRing, alone, chain, client_in, is_payload, move_on, payload};
use framebuffer::{Error, FrameBufferClient, SegmentError};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, write};

const SIZE: u64 = 64 << 10;

/// Closes everything but the standard streams, as daemons do.
fn close_all_descriptors() {
    // SAFETY: the process no longer uses the closed descriptors, which is just what this tests.
    assert_eq!(unsafe { nix::libc::close_range(3, u32::MAX, 0) }, 0);
}

/// Opens `count` files, which get the numbers that have become free.
fn open_files(count: usize) -> Vec<File> {
    let path = std::env::temp_dir().join(format!("framebuffer-test-{}", std::process::id()));
    std::fs::write(&path, b"precious data").expect("it can be written");
    let open = || File::options().read(true).write(true).open(&path).expect("a file");
    let files = (0..count).map(|_| open()).collect();
    std::fs::remove_file(&path).expect("our file");
    files
}

fn are_intact(files: &[File]) -> bool {
    files.iter().all(|mut file| {
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).is_ok() && contents == b"precious data"
    })
}

/// A daemon and its ring, whose server lives in another process.
fn daemon(ring: &TestRing, body: impl FnOnce(FrameBufferClient)) -> Pid {
    // SAFETY: the tests of this file run in processes of their own, where no other thread holds a lock that the child
    // needs.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(client_in(&ring.dir))));
            // SAFETY: ends the process.
            unsafe { nix::libc::_exit(i32::from(outcome.is_err())) }
        }
    }
}

fn ends_well(child: Pid) {
    let status = waitpid(child, None).expect("our child");
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "the child: {status:?}");
}

/// Publishes and reads a frame: the bytes are right, or an error says what happened.
fn works_or_says_why(client: &FrameBufferClient, seed: u64) -> Result<(), String> {
    let data = payload(seed, 5000);
    let outcome = client.publish(&data).and_then(|frame| client.read_frame(&frame));
    match outcome {
        Ok(read) => {
            assert!(read == data, "wrong bytes");
            Ok(())
        }
        Err(error) => Err(chain(&error)),
    }
}

#[test]
fn a_client_whose_descriptors_are_closed_works_until_it_is_taken_for_dead_and_then_says_so() {
    alone("a_client_whose_descriptors_are_closed_works_until_it_is_taken_for_dead_and_then_says_so", || {
        let ring = TestRing::new(SIZE);
        let (closed, reaped) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let child = daemon(&ring, |mut client| {
            let frame = client.publish(&payload(1, 1000)).expect("there is room");
            // The pipes of the test live on as the standard streams, which daemons keep.
            // SAFETY: the child has no other use for its standard streams.
            assert_eq!(unsafe { nix::libc::dup2(closed.1.as_raw_fd(), 1) }, 1);
            // SAFETY: likewise.
            assert_eq!(unsafe { nix::libc::dup2(reaped.0.as_raw_fd(), 0) }, 0);
            close_all_descriptors();
            assert!(is_payload(1, &client.read_frame(&frame).expect("nobody has noticed yet")));
            for seed in 0..100 {
                works_or_says_why(&client, seed).expect("nobody has noticed yet");
            }
            write(std::io::stdout(), &[1]).expect("the pipe is open");
            assert_eq!(read(std::io::stdin(), &mut [0]), Ok(1));
            for seed in 0..10 {
                let why = works_or_says_why(&client, seed).expect_err("it was taken for dead, and cannot join anew");
                assert!(why.contains("descriptor") && why.contains("closed"), "this does not say what happened: {why}");
            }
            client.stop();
            client.start().expect("opened by its path, it works again");
            works_or_says_why(&client, 7).expect("as a new participant");
            assert!(is_payload(1, &client.read_frame(&frame).unwrap_or_else(|_| payload(1, 1000))));
        });
        assert_eq!(read(&closed.0, &mut [0]), Ok(1));
        assert_eq!(ring.server.reap().expect("it serves"), 1, "its locks are gone");
        write(&reaped.1, &[1]).expect("the pipe is open");
        ends_well(child);
        ring.server.reap().expect("it serves");
        assert_eq!(ring.server.stats().expect("stats").participants, 1);
    });
}

/// A loan and a view of a daemon that closes its descriptors and is taken for dead: the bytes are no longer its own.
#[test]
fn who_was_taken_for_dead_commits_nothing_and_learns_that_its_views_are_unprotected() {
    alone("who_was_taken_for_dead_commits_nothing_and_learns_that_its_views_are_unprotected", || {
        let ring = TestRing::new(SIZE);
        let (closed, reaped) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let child = daemon(&ring, |client| {
            let frame = client.publish(&payload(1, 1000)).expect("there is room");
            let reserved = client.allocate(1000).expect("there is room");
            let view = client.view(&frame).expect("it is there");
            let (loan, unhashed) = (client.loan(1000).expect("room"), client.loan(1000).expect("room"));
            assert!(view.is_protected());
            // SAFETY: the child has no other use for its standard streams.
            assert_eq!(unsafe { nix::libc::dup2(closed.1.as_raw_fd(), 1) }, 1);
            // SAFETY: likewise.
            assert_eq!(unsafe { nix::libc::dup2(reaped.0.as_raw_fd(), 0) }, 0);
            close_all_descriptors();
            write(std::io::stdout(), &[1]).expect("the pipe is open");
            assert_eq!(read(std::io::stdin(), &mut [0]), Ok(1));
            assert!(matches!(loan.commit(), Err(Error::ParticipantLost)));
            assert!(matches!(unhashed.commit_unhashed(), Err(Error::ParticipantLost)));
            assert!(!view.is_protected());
            let timeout = view.verify().expect_err("the bytes may change from now on");
            assert_eq!(timeout.reason, framebuffer::TimeoutReason::Unprotected);
            client.write(reserved, &[1; 1000]).expect_err("it cannot join again without its descriptors");
        });
        assert_eq!(read(&closed.0, &mut [0]), Ok(1));
        assert_eq!(ring.server.reap().expect("it serves"), 1, "its locks are gone");
        write(&reaped.1, &[1]).expect("the pipe is open");
        ends_well(child);
        let counters = ring.server.stats().expect("stats").counters;
        assert_eq!(counters.frames_written, 1, "what was committed after the loss");
    });
}

#[test]
fn files_that_get_the_numbers_of_closed_descriptors_are_not_taken_for_the_segment() {
    alone("files_that_get_the_numbers_of_closed_descriptors_are_not_taken_for_the_segment", || {
        let ring = TestRing::new(SIZE);
        let capacity = ring.capacity();
        let other = ring.client();
        let frame = other.publish(&payload(1, 5000)).expect("there is room");
        let view = other.view(&frame).expect("it is there");
        let child = daemon(&ring, |client| {
            let own = client.view(&frame).expect("it is there");
            close_all_descriptors();
            let files = open_files(20);
            // A second participant in this process finds the first one dead.
            let second = client_in(&ring.dir);
            move_on(&second, 3 * capacity, 20_000);
            for seed in 0..10 {
                if let Err(why) = works_or_says_why(&client, seed) {
                    assert!(
                        why.contains("descriptor") && why.contains("closed"),
                        "this does not say what happened: {why}"
                    );
                }
            }
            let _ = own.verify();
            drop(own);
            assert!(are_intact(&files));
        });
        ends_well(child);
        // The daemon has not taken the slots of others: with theirs they would have lost their views.
        let pins = ring.server.stats().expect("stats").pins;
        assert!(pins >= 1, "the view of another process is not protected any more");
        move_on(&other, 3 * ring.capacity(), 20_000);
        assert!(is_payload(1, &view), "the view of another process was overwritten");
        ring.server.allocate(10).expect("it serves");
        assert_eq!(ring.server.stats().expect("stats").counters.timeouts_mismatch, 0);
    });
}

#[test]
fn who_asks_another_file_for_a_lock_takes_nobody_for_dead() {
    alone("who_asks_another_file_for_a_lock_takes_nobody_for_dead", || {
        let ring = TestRing::new(SIZE);
        let capacity = ring.capacity();
        let other = ring.client();
        let frame = other.publish(&payload(1, 5000)).expect("there is room");
        let view = other.view(&frame).expect("it is there");
        let child = daemon(&ring, |client| {
            close_all_descriptors();
            let files = open_files(20);
            // Meets the view of the other process, and wants to know whether that lives.
            move_on(&client, 3 * capacity, 20_000);
            // And takes other slots, if it can.
            let frame = client.publish(&payload(2, 100)).expect("there is room");
            let views: Vec<_> = (0..200).map_while(|_| client.view(&frame).ok()).collect();
            assert!(views.len() >= 60);
            assert!(are_intact(&files));
        });
        ends_well(child);
        assert!(is_payload(1, &view), "the view of another process was overwritten");
        move_on(&other, 3 * ring.capacity(), 20_000);
        assert!(is_payload(1, &view), "the view of another process was overwritten");
        assert_eq!(ring.server.stats().expect("stats").counters.reaped, 0, "nobody is dead");
    });
}

#[test]
fn a_second_client_that_gets_the_numbers_of_a_first_ones_descriptors_keeps_them() {
    alone("a_second_client_that_gets_the_numbers_of_a_first_ones_descriptors_keeps_them", || {
        let ring = TestRing::new(SIZE);
        let capacity = ring.capacity();
        let child = daemon(&ring, |first| {
            close_all_descriptors();
            let second = client_in(&ring.dir);
            let frame = second.publish(&payload(1, 1000)).expect("there is room");
            let view = second.view(&frame).expect("it is there");
            // The first one's probe has the number of one of the second one's files now.
            let _ = works_or_says_why(&first, 1);
            for seed in 0..50 {
                let _ = first.publish(&payload(seed, 20_000));
            }
            assert!(is_payload(1, &view));
            drop(first);
            move_on(&client_in(&ring.dir), 3 * capacity, 20_000);
            assert!(is_payload(1, &view), "the second client's locks are gone");
            view.verify().expect("the view is whole");
        });
        ends_well(child);
    });
}

#[test]
fn a_fork_after_the_descriptors_were_closed_closes_no_file_of_the_program() {
    alone("a_fork_after_the_descriptors_were_closed_closes_no_file_of_the_program", || {
        let ring = TestRing::new(SIZE);
        let child = daemon(&ring, |_client| {
            close_all_descriptors();
            let files = open_files(20);
            // SAFETY: this process has one thread.
            match unsafe { fork() }.expect("a child") {
                ForkResult::Parent { child } => ends_well(child),
                ForkResult::Child => {
                    let intact = are_intact(&files);
                    // SAFETY: ends the process.
                    unsafe { nix::libc::_exit(i32::from(!intact)) }
                }
            }
        });
        ends_well(child);
    });
}

#[test]
fn a_client_that_is_closed_after_its_descriptors_closes_no_file_of_the_program() {
    alone("a_client_that_is_closed_after_its_descriptors_closes_no_file_of_the_program", || {
        let ring = TestRing::new(SIZE);
        let child = daemon(&ring, |client| {
            close_all_descriptors();
            let files = open_files(20);
            drop(client);
            assert!(are_intact(&files));
        });
        ends_well(child);
    });
}

#[test]
fn a_child_that_closes_its_descriptors_and_its_parent_keep_to_themselves() {
    alone("a_child_that_closes_its_descriptors_and_its_parent_keep_to_themselves", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let frame = client.publish(&payload(1, 1000)).expect("there is room");
        let view = client.view(&frame).expect("it is there");
        // SAFETY: this process has one thread.
        match unsafe { fork() }.expect("a child") {
            ForkResult::Parent { child } => ends_well(child),
            ForkResult::Child => {
                close_all_descriptors();
                let joined = client.publish(&payload(2, 1000));
                let said_why = matches!(&joined, Err(Error::Join(SegmentError::Io { .. })));
                // SAFETY: ends the process.
                unsafe { nix::libc::_exit(i32::from(!(joined.is_ok() || said_why))) }
            }
        }
        move_on(&client, 3 * ring.capacity(), 20_000);
        assert!(is_payload(1, &view));
        assert_eq!(ring.server.reap().expect("it serves"), 0);
    });
}
