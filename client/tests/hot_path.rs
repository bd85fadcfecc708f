//! The hot path asks nobody for anything: after its first use, moving a frame allocates no memory and makes no system
//! call.
//!
//! Page faults are neither, and neither are what an allocation does that finds a pin in its way: it asks the kernel
//! whether the pin's holder lives.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::time::SystemTime;

use common::{TestRing, alone, payload};
use framebuffer::FrameBufferClient;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe, write};

/// A ring that the rounds fill several times.
const SIZE: u64 = 16 << 20;
const ROUNDS: usize = 10_000;
const SIZES: [usize; 6] = [0, 100, 4 << 10, 64 << 10, 1 << 20, 8 << 20];
const OPERATIONS: [&str; 8] =
    ["publish", "read_into", "view", "allocate", "write", "loan", "commit", "commit_unhashed"];

/// The size of a round, as an index: large frames are rarer, so that each size has its share of the time.
fn size_of(round: usize) -> usize {
    match round {
        round if round.is_multiple_of(1000) => 5,
        round if round.is_multiple_of(100) => 4,
        round if round.is_multiple_of(20) => 3,
        round => round % 3,
    }
}

/// Runs every operation once on a frame of the size of `data`; says before each which one it is, as an index.
fn one_round(client: &FrameBufferClient, data: &[u8], buffer: &mut [u8], mut before: impl FnMut(usize)) {
    before(0);
    let frame = client.publish(data).expect("there is room");
    before(1);
    client.read_into(&frame, buffer).expect("it is there");
    before(2);
    drop(client.view(&frame).expect("it is there"));
    before(3);
    let offset = client.allocate(data.len() as u64).expect("there is room");
    before(4);
    client.write(offset, data).expect("it is ours");
    before(5);
    let mut loan = client.loan(data.len() as u64).expect("there is room");
    loan.iter_mut().take(1).for_each(|byte| *byte = 1);
    before(6);
    loan.commit().expect("it is ours");
    before(5);
    let loan = client.loan(data.len() as u64).expect("there is room");
    before(7);
    loan.commit_unhashed().expect("it is ours");
}

/// Warms up with a round of each size, calls `warm`, and then runs the rounds. Returns the buffers, whose end is no
/// part of it.
fn rounds(client: &FrameBufferClient, warm: impl FnOnce(), mut before: impl FnMut(usize, usize)) -> [Vec<u8>; 2] {
    let data = payload(1, SIZES[5]);
    let mut buffer = vec![0; SIZES[5]];
    for size in SIZES {
        one_round(client, &data[..size], &mut buffer[..size], |_| {});
    }
    warm();
    for index in (0..ROUNDS).map(size_of) {
        let size = SIZES[index];
        one_round(client, &data[..size], &mut buffer[..size], |operation| before(operation, index));
    }
    [data, buffer]
}

fn wrapped_around(ring: &TestRing) {
    let stats = ring.server.stats().expect("stats");
    assert!(stats.laps >= 5, "the rounds are there to fill the ring several times, not {}", stats.laps);
    assert_eq!(stats.counters.frames_read, (ROUNDS + SIZES.len()) as u64);
}

/// Counts each thread's requests to the allocator.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Neither initialised lazily nor dropped, so the allocator may use it at any time.
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count_request() {
    REQUESTS.set(REQUESTS.get() + 1);
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_request();
        // SAFETY: the caller vouches for it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_request();
        // SAFETY: the caller vouches for it.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_request();
        // SAFETY: the caller vouches for it.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_request();
        // SAFETY: the caller vouches for it.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn the_hot_path_allocates_no_memory() {
    let ring = TestRing::new(SIZE);
    let client = ring.client();
    let seen = Cell::new(0);
    let mut last = None;
    let _buffers = rounds(
        &client,
        || seen.set(REQUESTS.get()),
        |operation, size| {
            // Whatever was asked for since the last call, the last operation asked for.
            assert_eq!(REQUESTS.get(), seen.get(), "requests to the allocator, by {}", named(last));
            last = Some((operation, size));
        },
    );
    assert_eq!(REQUESTS.get(), seen.get(), "requests to the allocator, by {}", named(last));
    wrapped_around(&ring);
}

#[test]
fn the_hot_path_makes_no_system_call_but_a_look_at_the_ring_s_name() {
    alone("the_hot_path_makes_no_system_call_but_a_look_at_the_ring_s_name", || {
        // Ten times a second at most, a writer looks whether the ring still has a name.
        let looks = [libc::SYS_fstat, libc::SYS_newfstatat];
        let mut allowed = vec![libc::SYS_write, libc::SYS_exit, looks[0], looks[1]];
        // Frames are stamped with the time. The kernel maps the clock into each process; but not every machine's.
        if sealed_child(&allowed, |seal, _| {
            seal();
            let _ = SystemTime::now();
        }) != Ok(())
        {
            println!("asking for the time is a system call on this machine: allowed");
            allowed.push(libc::SYS_clock_gettime);
        }
        let ring = TestRing::new(SIZE);
        let client = ring.client();
        sealed_child(&allowed, |seal, say| {
            std::mem::forget(rounds(&client, seal, |operation, size| say((operation, size))));
        })
        .unwrap_or_else(|how| panic!("{how}"));
        wrapped_around(&ring);
    });
}

/// The name of an operation, and the frame size.
fn named(operation: Option<(usize, usize)>) -> String {
    operation
        .map_or("the warm-up".into(), |(operation, size)| format!("{} of {} bytes", OPERATIONS[operation], SIZES[size]))
}

/// Runs `body` in a forked child: from when it calls the first argument on, every system call that is not `allowed`
/// ends the child. It says by the second what it is about to do. The error tells how the child ended if not well.
fn sealed_child(allowed: &[libc::c_long], body: impl FnOnce(&dyn Fn(), &dyn Fn((usize, usize)))) -> Result<(), String> {
    let (reader, writer) = pipe().expect("a pipe");
    // SAFETY: called in a process of its own, where no other thread holds a lock that the child needs.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            // A failing test must not leave a child behind.
            nix::unistd::alarm::set(60);
            let say = |(operation, size)| {
                // The parent misses what cannot be said; it fails by the child's end all the same.
                let _ = write(&writer, &[operation as u8, size as u8]);
            };
            body(&|| seal(allowed), &say);
            // SAFETY: ends the only thread, and so the process. What `exit` does besides is more than that system call.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!("the process has ended");
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut said = Vec::new();
            File::from(reader).read_to_end(&mut said).expect("the pipe is readable");
            let last = said.chunks_exact(2).last().map(|last| (usize::from(last[0]), usize::from(last[1])));
            match waitpid(child, None).expect("our child") {
                WaitStatus::Exited(_, 0) => Ok(()),
                WaitStatus::Signaled(_, Signal::SIGSYS, _) => Err(format!("a system call, by {}", named(last))),
                status => Err(format!("{status:?}, in {}", named(last))),
            }
        }
    }
}

/// From here on, every system call of this thread ends the process (SIGSYS), but for those.
///
/// A filter, since the strict mode is refused where there is a filter already, as in most containers.
fn seal(allowed: &[libc::c_long]) {
    let instruction = |code: u32, k: u32, skip_unless_equal: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skip_unless_equal,
        k,
    };
    let answer = |what| instruction(libc::BPF_RET | libc::BPF_K, what, 0);
    // The number of the system call comes first in what a filter sees.
    let mut filter = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for number in allowed {
        filter.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number.cast_unsigned() as u32, 1));
        filter.push(answer(libc::SECCOMP_RET_ALLOW));
    }
    filter.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().expect("every process may");
    // SAFETY: `program` and what it points to outlive the call, which copies them.
    let sealed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(sealed, 0, "the kernel has seccomp: {}", std::io::Error::last_os_error());
}
