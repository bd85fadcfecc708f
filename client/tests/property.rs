//! Random operations on a small ring, compared with a naive model: a list of frames and the ranges that are held.
//!
//! The model knows nothing of slots, fences or hops. It looks for room one alignment unit at a time, and for each frame
//! it knows the stream position from which on it must be gone.

mod common;

use common::{TestRing, chain, fill, folder, is_payload, key, length, payload, timeout};
use framebuffer::layout::{FRAME_ALIGN, HEADER_SIZE};
use framebuffer::{Error, Frame, FrameBufferClient, FrameBufferServer, Loan, Prefault, TimeoutReason, View, Window};
use proptest::prelude::*;

/// The largest frame: with what is added for headers and alignment the ring has 96 KiB, and a frame of this size takes
/// a third of it.
const SIZE: u64 = 32 << 10;
const CLIENTS: usize = 3;

#[derive(Debug, Clone)]
enum Operation {
    Allocate {
        client: usize,
        size: u64,
    },
    AllocateByServer {
        size: u64,
    },
    /// Writes this percentage of the allocated bytes; more than 100 is too much.
    Write {
        client: usize,
        frame: usize,
        percent: u64,
    },
    Publish {
        client: usize,
        size: u64,
    },
    Read {
        client: usize,
        frame: usize,
    },
    OpenView {
        client: usize,
        frame: usize,
    },
    CloseView {
        view: usize,
    },
    OpenLoan {
        client: usize,
        size: u64,
    },
    Commit {
        loan: usize,
        truncate_to: Option<u64>,
    },
    DropLoan {
        loan: usize,
    },
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        1 => Just(SIZE),
        1 => SIZE + 1..SIZE + 100,
        4 => 1..200_u64,
        8 => 1..8192_u64,
        4 => 8192..SIZE,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = || 0..CLIENTS;
    let index = || 0..1000_usize;
    prop_oneof![
        3 => (client(), size()).prop_map(|(client, size)| Operation::Allocate { client, size }),
        1 => size().prop_map(|size| Operation::AllocateByServer { size }),
        4 => (client(), index(), 0..120_u64)
            .prop_map(|(client, frame, percent)| Operation::Write { client, frame, percent }),
        6 => (client(), size()).prop_map(|(client, size)| Operation::Publish { client, size }),
        6 => (client(), index()).prop_map(|(client, frame)| Operation::Read { client, frame }),
        3 => (client(), index()).prop_map(|(client, frame)| Operation::OpenView { client, frame }),
        2 => index().prop_map(|view| Operation::CloseView { view }),
        2 => (client(), size()).prop_map(|(client, size)| Operation::OpenLoan { client, size }),
        2 => (index(), proptest::option::of(size()))
            .prop_map(|(loan, truncate_to)| Operation::Commit { loan, truncate_to }),
        1 => index().prop_map(|loan| Operation::DropLoan { loan }),
    ]
}

/// A frame as the model knows it.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The promise to readers. Before the frame is written, one that is never kept.
    frame: Frame,
    allocated: u64,
    seed: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reserved,
    Lent,
    Committed,
}

/// The naive ring.
struct Model {
    capacity: u64,
    /// The window that was set; 0: none.
    window: u64,
    /// Bytes of the largest allocation so far.
    largest: u64,
    head: u64,
    /// Ranges of stream positions that must not be overwritten.
    held: Vec<(u64, u64)>,
    frames: Vec<Known>,
}

impl Model {
    /// Where a frame of `size` bytes must come to lie, if anywhere.
    fn room(&self, size: u64) -> Option<u64> {
        let cells = |start: u64, end: u64| {
            (start..end).step_by(FRAME_ALIGN as usize).map(|at| at % self.capacity / FRAME_ALIGN)
        };
        let mut taken = vec![false; (self.capacity / FRAME_ALIGN) as usize];
        for &(start, end) in &self.held {
            cells(start, end).for_each(|cell| taken[cell as usize] = true);
        }
        let starts = || (self.head..self.head + self.capacity).step_by(FRAME_ALIGN as usize);
        let is_free = |start: &u64| !cells(*start, *start + length(size)).any(|cell| taken[cell as usize]);
        let (lap, window) = (self.head / self.capacity, self.end_of_window(size, &taken));
        let is_preferred = |start: &u64, lap| {
            let is_set = self.window_for(size) < self.capacity;
            is_set && *start / self.capacity == lap && *start % self.capacity + length(size) <= window
        };
        // What comes round again before the head does is in no window.
        let next = starts().filter(|&start| start + length(size) <= self.head + self.capacity);
        let this_lap = starts().filter(|start| is_preferred(start, lap)).find(is_free);
        let next_lap = || next.filter(|start| is_preferred(start, lap + 1)).find(is_free);
        this_lap.or_else(next_lap).or_else(|| starts().find(is_free))
    }

    /// The window for an allocation of `size` bytes.
    fn window_for(&self, size: u64) -> u64 {
        // What was set is at least a 64th of the ring.
        let least = (4 * self.largest.max(length(size))).max(self.capacity.div_ceil(64));
        if self.window == 0 { self.capacity } else { self.window.max(least).min(self.capacity) }
    }

    /// Where it ends: before that, so many bytes lie in cells that are not taken.
    fn end_of_window(&self, size: u64, taken: &[bool]) -> u64 {
        let mut left = self.window_for(size);
        for (cell, _) in (0..).zip(taken).filter(|(_, taken)| !**taken) {
            if left <= FRAME_ALIGN {
                return cell * FRAME_ALIGN + left;
            }
            left -= FRAME_ALIGN;
        }
        self.capacity
    }

    fn is_gone(&self, frame: &Frame) -> Option<TimeoutReason> {
        let start = frame.offset - HEADER_SIZE;
        let behind = self.head.checked_sub(start + self.capacity).filter(|&behind| behind > 0)?;
        // Counted lap by lap.
        let laps = (start + self.capacity..self.head).step_by(self.capacity as usize).count() as u64;
        Some(TimeoutReason::Overwritten { behind, laps })
    }

    fn let_go(&mut self, range: (u64, u64)) {
        let at = self.held.iter().position(|held| *held == range).expect("it was held");
        self.held.swap_remove(at);
    }
}

fn range(frame: &Frame) -> (u64, u64) {
    (frame.offset - HEADER_SIZE, frame.offset - HEADER_SIZE + length(frame.size))
}

/// The ring and its model, step by step.
struct Run<'r> {
    ring: &'r TestRing,
    clients: &'r [FrameBufferClient],
    model: Model,
    views: Vec<(View<'r>, u64)>,
    loans: Vec<(Loan<'r>, usize)>,
    seed: u64,
}

impl Run<'_> {
    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Allocate { client, size } => {
                let found = self.clients[client].allocate(size);
                self.allocated(found.map(|offset| (offset, ())), size, State::Reserved);
            }
            Operation::AllocateByServer { size } => {
                let found = self.ring.server.allocate(size);
                self.allocated(found.map(|offset| (offset, ())), size, State::Reserved);
            }
            Operation::Publish { client, size } => {
                let published = self.clients[client].publish(&payload(self.seed + 1, size as usize));
                let published = published.map(|frame| (frame.offset, frame));
                if let Some((at, frame)) = self.allocated(published, size, State::Committed) {
                    assert_eq!(frame.size, size);
                    self.model.frames[at].frame = frame;
                }
            }
            Operation::OpenLoan { client, size } => {
                let expected = self.model.room(size).filter(|_| size <= SIZE).map_or(0, |start| start + HEADER_SIZE);
                let lent = self.clients[client].loan(size).map(|loan| (expected, loan));
                if let Some((at, mut loan)) = self.allocated(lent, size, State::Lent) {
                    fill(self.seed, &mut loan);
                    self.model.held.push(range(&Frame { size, ..self.model.frames[at].frame }));
                    self.loans.push((loan, at));
                }
            }
            Operation::Write { client, frame, percent } => self.write(client, frame, percent),
            Operation::Read { client, frame } => self.read(client, frame),
            Operation::OpenView { client, frame } => self.open_view(client, frame),
            Operation::CloseView { view } => {
                if !self.views.is_empty() {
                    let (view, _) = self.views.swap_remove(view % self.views.len());
                    self.model.let_go(range(view.frame()));
                }
            }
            Operation::Commit { loan, truncate_to } => self.commit(loan, truncate_to),
            Operation::DropLoan { loan } => {
                if !self.loans.is_empty() {
                    let (_, at) = self.loans.swap_remove(loan % self.loans.len());
                    let known = self.model.frames[at];
                    self.model.let_go(range(&Frame { size: known.allocated, ..known.frame }));
                }
            }
        }
        assert_eq!(self.ring.head(), self.model.head);
        assert_eq!(self.ring.server.stats().expect("stats").pins, self.model.held.len());
        for (view, seed) in &self.views {
            assert!(is_payload(*seed, view), "a view has changed: {view:?}");
        }
        for (loan, at) in &self.loans {
            assert!(is_payload(self.model.frames[*at].seed, loan), "a loan has changed: {loan:?}");
        }
    }

    /// Compares the outcome of an allocation with the model's. Returns the new frame's number there.
    fn allocated<T>(&mut self, found: Result<(u64, T), Error>, size: u64, state: State) -> Option<(usize, T)> {
        self.seed += 1;
        if size > SIZE {
            assert!(matches!(found, Err(Error::LargerThanRing { size: s, limit: SIZE }) if s == size));
            return None;
        }
        let room = self.model.room(size);
        self.model.largest = self.model.largest.max(length(size));
        match (room, found) {
            (Some(start), Ok((offset, with))) => {
                assert_eq!(offset, start + HEADER_SIZE, "the first place with room");
                self.model.head = start + length(size);
                let frame = Frame::new(offset, size, framebuffer::Checksum::from_u64(self.seed));
                self.model.frames.push(Known { frame, allocated: size, seed: self.seed, state });
                Some((self.model.frames.len() - 1, with))
            }
            (None, Err(Error::Exhausted { size: s, .. })) if s == size => None,
            (room, Ok((offset, _))) => panic!("expected room at {room:?}, got {offset}"),
            (room, Err(error)) => panic!("expected room at {room:?}, got: {}", chain(&error)),
        }
    }

    fn write(&mut self, client: usize, frame: usize, percent: u64) {
        if self.model.frames.is_empty() {
            return;
        }
        let at = frame % self.model.frames.len();
        let Known { frame, allocated, seed, state } = self.model.frames[at];
        let len = (allocated * percent).div_ceil(100);
        let written = self.clients[client].write(frame.offset, &payload(seed, len as usize));
        if let Some(reason) = self.model.is_gone(&frame) {
            assert_eq!(timeout(written, &frame), reason);
        } else if len > allocated {
            assert!(matches!(written, Err(Error::TooLarge { len: l, allocated: a }) if l == len && a == allocated));
        } else if state != State::Reserved {
            assert!(matches!(written, Err(Error::AlreadyWritten { offset }) if offset == frame.offset));
        } else {
            let checksum = written.expect("nothing speaks against it");
            let frame = Frame { size: len, checksum, ..frame };
            self.model.frames[at] = Known { frame, state: State::Committed, ..self.model.frames[at] };
        }
    }

    fn read(&mut self, client: usize, frame: usize) {
        if self.model.frames.is_empty() {
            return;
        }
        let Known { frame, seed, state, .. } = self.model.frames[frame % self.model.frames.len()];
        let read = self.clients[client].read_frame(&frame);
        if let Some(reason) = self.model.is_gone(&frame) {
            assert_eq!(timeout(read, &frame), reason);
        } else if state == State::Committed {
            assert!(is_payload(seed, &read.expect("it must still be there")));
        } else {
            assert_eq!(timeout(read, &frame), TimeoutReason::NotWritten);
        }
    }

    fn open_view(&mut self, client: usize, frame: usize) {
        if self.model.frames.is_empty() {
            return;
        }
        let Known { frame, seed, state, .. } = self.model.frames[frame % self.model.frames.len()];
        let clients = self.clients;
        let view = clients[client].view(&frame);
        if let Some(reason) = self.model.is_gone(&frame) {
            assert_eq!(timeout(view, &frame), reason);
        } else if state == State::Committed {
            let view = view.expect("it must still be there");
            view.verify().expect("it is whole");
            self.model.held.push(range(&frame));
            self.views.push((view, seed));
        } else {
            assert_eq!(timeout(view, &frame), TimeoutReason::NotWritten);
        }
    }

    fn commit(&mut self, loan: usize, truncate_to: Option<u64>) {
        if self.loans.is_empty() {
            return;
        }
        let (mut loan, at) = self.loans.swap_remove(loan % self.loans.len());
        let known = self.model.frames[at];
        if let Some(len) = truncate_to {
            loan.truncate(len);
        }
        let frame = loan.commit().expect("it is ours");
        assert_eq!(
            (frame.offset, frame.size),
            (known.frame.offset, known.allocated.min(truncate_to.unwrap_or(u64::MAX)))
        );
        self.model.let_go(range(&Frame { size: known.allocated, ..known.frame }));
        self.model.frames[at] = Known { frame, state: State::Committed, ..known };
    }
}

/// Carries out the operations on a ring with this window; 0: none.
fn run(window: u64, operations: &[Operation]) {
    let dir = folder();
    let window_option = if window == 0 { Window::Whole } else { Window::Bytes(window) };
    let options = FrameBufferServer::options(SIZE).key(key()).dir(dir.path()).prefault(Prefault::Off);
    let server = options.window(window_option).start().expect("a ring");
    let ring = TestRing { server, dir };
    let clients: Vec<_> = (0..CLIENTS).map(|_| ring.client()).collect();
    let (capacity, head, largest) = (ring.capacity(), 0, 0);
    let model = Model { capacity, window, largest, head, held: Vec::new(), frames: Vec::new() };
    let mut run = Run { ring: &ring, clients: &clients, model, views: Vec::new(), loans: Vec::new(), seed: 0 };
    for operation in operations {
        run.step(operation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_does_what_the_naive_model_does(operations in proptest::collection::vec(operation(), 1..250)) {
        run(0, &operations);
    }

    #[test]
    fn a_ring_with_a_window_does_what_the_naive_model_does(
        window in 1..3 * SIZE,
        operations in proptest::collection::vec(operation(), 1..250),
    ) {
        run(window, &operations);
    }
}
