//! Forks while another thread opens and closes clients, servers and slots: no child may keep a lock of its parent's.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{SIZE, TestRing, alone, client_in, folder, options, payload, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

/// Children that do nothing until they are killed, when this is dropped.
#[derive(Default)]
struct Children(Vec<Pid>);

impl Children {
    /// Forks a child that only waits.
    fn fork(&mut self) {
        // SAFETY: the child calls only functions that are safe after a fork of a process with threads.
        match unsafe { fork() }.expect("a child") {
            ForkResult::Parent { child } => self.0.push(child),
            ForkResult::Child => {
                // Ends a child whose test was killed.
                nix::unistd::alarm::set(120);
                loop {
                    nix::unistd::pause();
                }
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            kill(*child, Signal::SIGKILL).expect("our child");
        }
        for child in &self.0 {
            waitpid(*child, None).expect("our child");
        }
    }
}

/// Forks `count` children while another thread repeats `action`.
fn fork_during(count: usize, action: impl Fn() + Sync) -> Children {
    let stop = AtomicBool::new(false);
    let mut children = Children::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                action();
            }
        });
        for number in 0..count {
            children.fork();
            if number % 8 == 0 {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    children
}

#[test]
fn a_fork_while_a_client_is_opened_or_closed_leaves_no_slot_locked() {
    alone("a_fork_while_a_client_is_opened_or_closed_leaves_no_slot_locked", || {
        let ring = TestRing::new(SIZE);
        let children = fork_during(600, || drop(ring.client()));
        ring.server.reap().expect("it serves");
        assert_eq!(ring.server.stats().expect("stats").participants, 1);
        // As many clients as there are slots: one that a child keeps locked would be missing.
        let clients: Vec<_> = (1..framebuffer::layout::PARTICIPANTS).map(|_| ring.client()).collect();
        drop((clients, children));
    });
}

#[test]
fn a_fork_while_slots_come_and_go_leaves_no_slot_locked() {
    alone("a_fork_while_slots_come_and_go_leaves_no_slot_locked", || {
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        let frame = client.publish(&payload(1, 100)).expect("there is room");
        let children = fork_during(300, || {
            let views: Vec<_> = (0..300).map(|_| client.view(&frame).expect("there are slots")).collect();
            drop(views);
        });
        assert_eq!(ring.server.stats().expect("stats").participants, 2);
        let clients: Vec<_> = (2..framebuffer::layout::PARTICIPANTS).map(|_| ring.client()).collect();
        drop((clients, children));
    });
}

#[test]
fn a_fork_while_a_server_starts_or_stops_leaves_the_ring_without_an_owner() {
    alone("a_fork_while_a_server_starts_or_stops_leaves_the_ring_without_an_owner", || {
        let dir = folder();
        let start = || options(&dir).keep(true).start();
        drop(start().expect("a ring"));
        let children = fork_during(300, || drop(start().expect("nobody else owns it")));
        drop(start().expect("nobody owns it any more"));
        drop(children);
    });
}

/// A process takes a view while another thread of it forks; then it is killed, and the children live on.
#[test]
fn the_view_of_a_process_that_forked_at_the_wrong_time_dies_with_it() {
    alone("the_view_of_a_process_that_forked_at_the_wrong_time_dies_with_it", || {
        let ring = TestRing::new(SIZE);
        let writer = ring.client();
        for round in 0..20 {
            let frame = writer.publish(&payload(round, SIZE as usize / 2)).expect("only the dead hold anything");
            let (ready, is_ready) = nix::unistd::pipe().map(|(read, write)| (write, read)).expect("a pipe");
            // SAFETY: this process has one thread.
            let parent = match unsafe { fork() }.expect("a child") {
                ForkResult::Parent { child } => child,
                ForkResult::Child => {
                    let children = fork_during(10, || {
                        let client = client_in(&ring.dir);
                        std::mem::forget(client.view(&frame).expect("it is there"));
                        std::mem::forget(client);
                    });
                    let pids: Vec<u8> = children.0.iter().flat_map(|pid| pid.as_raw().to_le_bytes()).collect();
                    nix::unistd::write(&ready, &pids).expect("the pipe is open");
                    loop {
                        nix::unistd::pause();
                    }
                }
            };
            let mut pids = [0; 40];
            assert_eq!(nix::unistd::read(&is_ready, &mut pids), Ok(pids.len()));
            kill(parent, Signal::SIGKILL).expect("our child");
            waitpid(parent, None).expect("our child");
            // Once the children have come to rest, which takes an instant, nobody has what the parent had.
            wait_until("nothing of the dead is left", || {
                ring.server.reap().expect("it serves");
                let stats = ring.server.stats().expect("stats");
                (stats.participants, stats.pins) == (2, 0)
            });
            for pid in pids.chunks_exact(4) {
                let pid = i32::from_le_bytes(pid.try_into().expect("four bytes"));
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    });
}
