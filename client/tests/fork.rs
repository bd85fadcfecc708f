//! `fork` without `exec`, as Python's multiprocessing and servers with workers do it: parent and child share the ring,
//! and neither acts as the other.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{TestRing, alone, chain, client_in, is_payload, key, move_on, payload, segment_path, wait_until};
use framebuffer::layout::HEADER_SIZE;
use framebuffer::{Error, Frame, FrameBufferClient, Prefault};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, write};

const SIZE: u64 = 64 << 10;

/// Forks. The child runs `body` and leaves without running destructors or the test harness.
fn fork_child(body: impl FnOnce()) -> Pid {
    // SAFETY: the tests of this file run in processes of their own, where no other thread holds a lock that the child
    // needs.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // A failing test must not leave a child behind that waits for it.
            nix::unistd::alarm::set(30);
            let outcome = catch_unwind(AssertUnwindSafe(body));
            // SAFETY: ends the process.
            unsafe { nix::libc::_exit(i32::from(outcome.is_err())) }
        }
    }
}

fn ends_well(child: Pid) {
    let status = waitpid(child, None).expect("our child");
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "the child: {status:?}");
}

/// Lets one process wait for another: `wait` returns after `signal`, or when all other holders are gone.
struct Gate(std::os::fd::OwnedFd, std::os::fd::OwnedFd);

impl Gate {
    fn new() -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        Self(reader, writer)
    }

    fn signal(&self) {
        write(&self.1, &[1]).expect("the pipe is open");
    }

    fn wait(&self) {
        assert_eq!(read(&self.0, &mut [0]), Ok(1));
    }
}

fn participants(ring: &TestRing) -> usize {
    ring.server.stats().expect("stats").participants
}

#[test]
fn parent_and_child_both_write_and_read() {
    alone("parent_and_child_both_write_and_read", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let before = client.publish(&payload(0, 5000)).expect("there is room");
        let work = |client: &FrameBufferClient, first_seed: u64| {
            for seed in first_seed..first_seed + 3000 {
                let frame = client.publish(&payload(seed, 5000)).expect("there is room");
                // The other may lap us between the two, so a timeout is no mistake; wrong bytes are.
                match client.read_frame(&frame) {
                    Ok(data) => assert!(is_payload(seed, &data)),
                    Err(Error::Timeout(_)) => {}
                    Err(error) => panic!("{}", chain(&error)),
                }
            }
        };
        assert_eq!(participants(&ring), 2);
        let has_read = Gate::new();
        let child = fork_child(|| {
            assert!(is_payload(0, &client.read_frame(&before).expect("it is there")));
            assert_eq!(participants(&ring), 3, "the child has a slot of its own");
            has_read.signal();
            work(&client, 1_000_000);
        });
        has_read.wait();
        work(&client, 2_000_000);
        ends_well(child);
        let counters = ring.server.stats().expect("stats").counters;
        assert_eq!(counters.frames_written, 6001);
        assert_eq!(counters.timeouts_mismatch, 0);
        assert_eq!(ring.server.reap().expect("it serves"), 1, "the child is gone");
        assert_eq!(participants(&ring), 2);
    });
}

#[test]
fn a_child_uses_the_ring_of_a_parent_whose_ring_is_still_being_prefaulted() {
    alone("a_child_uses_the_ring_of_a_parent_whose_ring_is_still_being_prefaulted", || {
        let ring = TestRing::new(64 << 20);
        for seed in 0..20 {
            let options = FrameBufferClient::options(key()).dir(ring.dir.path());
            let client = options.prefault(Prefault::Background).open().expect("the ring");
            ends_well(fork_child(|| {
                let frame = client.publish(&payload(seed, 5000)).expect("there is room");
                assert!(is_payload(seed, &client.read_frame(&frame).expect("it is there")));
                drop(client);
            }));
        }
    });
}

#[test]
fn a_loan_made_before_the_fork_cannot_be_committed_by_the_child() {
    alone("a_loan_made_before_the_fork_cannot_be_committed_by_the_child", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let offset = ring.head() + HEADER_SIZE;
        let mut loan = Some(client.loan(1000).expect("there is room"));
        ends_well(fork_child(|| {
            let error = loan.take().expect("a loan").commit().expect_err("it is the parent's");
            assert!(matches!(error, Error::Forked), "{}", chain(&error));
        }));
        assert_eq!(ring.server.stats().expect("stats").pins, 1, "the parent still holds its loan");
        move_on(&client, 10 * ring.capacity(), 3000);
        let mut loan = loan.expect("a loan");
        common::fill(1, &mut loan);
        let frame = loan.commit().expect("it is the parent's");
        assert_eq!(frame.offset, offset);
    });
}

#[test]
fn a_view_that_the_child_drops_stays_the_parents() {
    alone("a_view_that_the_child_drops_stays_the_parents", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let frame = client.publish(&payload(1, 1000)).expect("there is room");
        let mut view = Some(client.view(&frame).expect("it is there"));
        ends_well(fork_child(|| {
            assert!(is_payload(1, view.as_ref().expect("a view")));
            drop(view.take());
            let again = client.view(&frame).expect("it is there");
            move_on(&client, 10 * ring.capacity(), 3000);
            assert!(is_payload(1, &again), "the child's own view holds");
        }));
        assert_eq!(ring.server.reap().expect("it serves"), 1);
        assert_eq!(ring.server.stats().expect("stats").pins, 1, "the parent still holds its view");
        move_on(&client, 10 * ring.capacity(), 3000);
        let view = view.expect("a view");
        view.verify().expect("the view is whole");
        assert!(is_payload(1, &view));
    });
}

#[test]
fn the_slot_of_a_parent_that_is_killed_is_reaped_while_its_child_lives() {
    alone("the_slot_of_a_parent_that_is_killed_is_reaped_while_its_child_lives", || {
        let ring = TestRing::new(SIZE);
        let (forked, go_on, done) = (Gate::new(), Gate::new(), Gate::new());
        let parent = fork_child(|| {
            let client = client_in(&ring.dir);
            let frame = client.publish(&payload(1, 1000)).expect("there is room");
            let _view = client.view(&frame).expect("it is there");
            fork_child(|| {
                forked.signal();
                go_on.wait();
                // Orphaned by now. The client works on, with a slot of the child's own.
                let frame = client.publish(&payload(2, 1000)).expect("there is room");
                assert!(is_payload(2, &client.read_frame(&frame).expect("it is there")));
                done.signal();
                go_on.wait();
            });
            std::thread::sleep(std::time::Duration::from_mins(1));
        });
        forked.wait();
        assert_eq!((participants(&ring), ring.server.stats().expect("stats").pins), (2, 1));
        assert_eq!(ring.server.reap().expect("it serves"), 0, "the parent lives");
        kill(parent, Signal::SIGKILL).expect("it lives");
        waitpid(parent, None).expect("our child");
        assert_eq!(ring.server.reap().expect("it serves"), 1, "its locks do not live on in the child");
        assert_eq!((participants(&ring), ring.server.stats().expect("stats").pins), (1, 0));
        go_on.signal();
        done.wait();
        assert_eq!(participants(&ring), 2);
        assert_eq!(ring.server.reap().expect("it serves"), 0, "the child lives");
        go_on.signal();
        wait_until("the child has ended and is reaped", || ring.server.reap().expect("it serves") == 1);
        assert_eq!(participants(&ring), 1);
    });
}

#[test]
fn a_child_that_is_killed_is_reaped_and_the_parent_goes_on() {
    alone("a_child_that_is_killed_is_reaped_and_the_parent_goes_on", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let frame = client.publish(&payload(1, 1000)).expect("there is room");
        let views = Gate::new();
        let child = fork_child(|| {
            let _views: Vec<_> = (0..100).map(|_| client.view(&frame).expect("it is there")).collect();
            views.signal();
            std::thread::sleep(std::time::Duration::from_mins(1));
        });
        views.wait();
        assert_eq!((participants(&ring), ring.server.stats().expect("stats").pins), (4, 100));
        kill(child, Signal::SIGKILL).expect("it lives");
        waitpid(child, None).expect("our child");
        // Allocations clear the dead away by themselves.
        move_on(&client, 2 * ring.capacity(), 3000);
        assert_eq!(ring.server.stats().expect("stats").pins, 0);
        assert_eq!(participants(&ring), 2);
        assert_eq!(ring.server.stats().expect("stats").counters.reaped, 2);
    });
}

#[test]
fn a_child_of_a_server_does_not_remove_its_segment() {
    alone("a_child_of_a_server_does_not_remove_its_segment", || {
        let mut ring = TestRing::new(SIZE);
        let path = segment_path(&ring.dir);
        ends_well(fork_child(|| {
            let offset = ring.server.allocate(100).expect("a child may allocate");
            client_in(&ring.dir).write(offset, &[1; 100]).expect("it is ours");
            ring.server.stop().expect("nothing to do");
        }));
        assert!(path.exists(), "the parent still serves");
        let mut server = Some(ring.server);
        ends_well(fork_child(|| drop(server.take())));
        assert!(path.exists(), "the parent still serves");
        server.as_ref().expect("a server").allocate(100).expect("there is room");
        let second = framebuffer::FrameBufferServer::options(SIZE).key(key()).dir(ring.dir.path()).start();
        assert!(matches!(second, Err(framebuffer::SegmentError::AlreadyOwned)), "the parent still owns it");
        drop(server);
        assert!(!path.exists());
    });
}

#[test]
fn the_ownership_of_a_killed_server_does_not_live_on_in_its_child() {
    alone("the_ownership_of_a_killed_server_does_not_live_on_in_its_child", || {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (forked, end) = (Gate::new(), Gate::new());
        let options = || framebuffer::FrameBufferServer::options(SIZE).key(key()).dir(dir.path()).keep(true);
        let parent = fork_child(|| {
            let _server = options().start().expect("a ring");
            fork_child(|| {
                forked.signal();
                end.wait();
            });
            std::thread::sleep(std::time::Duration::from_mins(1));
        });
        forked.wait();
        kill(parent, Signal::SIGKILL).expect("it lives");
        waitpid(parent, None).expect("our child");
        assert!(options().start().expect("its owner is dead").adopted());
        end.signal();
    });
}

#[test]
fn a_grandchild_has_a_slot_of_its_own() {
    alone("a_grandchild_has_a_slot_of_its_own", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        // The child uses the ring before it forks in turn, or does not.
        for child_uses_it in [true, false] {
            let frame = client.publish(&payload(1, 1000)).expect("there is room");
            let _view = client.view(&frame).expect("it is there");
            ends_well(fork_child(|| {
                let childs = child_uses_it.then(|| client.view(&frame).expect("it is there"));
                ends_well(fork_child(|| {
                    let own = client.view(&frame).expect("it is there");
                    drop(childs);
                    move_on(&client, 2 * ring.capacity(), 3000);
                    assert!(is_payload(1, &own));
                    assert_eq!(participants(&ring), 3 + usize::from(child_uses_it));
                }));
            }));
            assert_eq!(ring.server.reap().expect("it serves"), 1 + usize::from(child_uses_it));
            assert_eq!((participants(&ring), ring.server.stats().expect("stats").pins), (2, 1));
        }
    });
}

#[test]
fn hundreds_of_forks_leak_no_slot() {
    alone("hundreds_of_forks_leak_no_slot", || {
        let ring = TestRing::new(SIZE);
        let mut client = Some(ring.client());
        for seed in 0..600 {
            let frame = client.as_ref().expect("ours").publish(&payload(seed, 1000)).expect("there is room");
            ends_well(fork_child(|| {
                let view = client.as_ref().expect("inherited").view(&frame).expect("there is a slot");
                assert!(is_payload(seed, &view));
                if seed % 2 == 0 {
                    // Leaves in an orderly way; the others are torn out of it.
                    drop(view);
                    drop(client.take());
                }
            }));
        }
        ring.server.reap().expect("it serves");
        assert_eq!((participants(&ring), ring.server.stats().expect("stats").pins), (2, 0));
    });
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("our descriptors").count()
}

#[test]
fn a_chain_of_forks_leaks_no_descriptor() {
    fn link(client: &FrameBufferClient, depth: usize, descriptors_at_first: usize) {
        let frame = client.publish(&payload(1, 1000)).expect("there is a slot");
        assert!(is_payload(1, &client.read_frame(&frame).expect("it is there")));
        assert_eq!(descriptors(), descriptors_at_first, "{depth} forks deep");
        if depth < 100 {
            ends_well(fork_child(|| link(client, depth + 1, descriptors_at_first)));
        }
    }
    alone("a_chain_of_forks_leaks_no_descriptor", || {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let server = fork_server(&dir);
        let client = client_in(&dir);
        link(&client, 0, descriptors());
        kill(server, Signal::SIGKILL).expect("it lives");
        waitpid(server, None).expect("our child");
    });
}

/// A server in another process, so that this one has only its client's descriptors.
fn fork_server(dir: &tempfile::TempDir) -> Pid {
    let gate = Gate::new();
    let server = fork_child(|| {
        let options = framebuffer::FrameBufferServer::options(SIZE).key(key()).dir(dir.path());
        let _server = options.start().expect("a ring");
        gate.signal();
        std::thread::sleep(std::time::Duration::from_mins(1));
    });
    gate.wait();
    server
}

#[test]
fn a_frame_description_survives_the_fork() {
    alone("a_frame_description_survives_the_fork", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let (reader, writer) = pipe().expect("a pipe");
        let child = fork_child(|| {
            let frame = client.publish(&payload(7, 10_000)).expect("there is room");
            write(&writer, serde_json::to_string(&frame).expect("a frame").as_bytes()).expect("the pipe is open");
        });
        ends_well(child);
        let mut text = [0; 200];
        let len = read(&reader, &mut text).expect("the pipe is open");
        let frame: Frame = serde_json::from_slice(&text[..len]).expect("a frame");
        assert!(is_payload(7, &client.read_frame(&frame).expect("a dead child's frames are still there")));
    });
}
