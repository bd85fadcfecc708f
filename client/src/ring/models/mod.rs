//! Loom models of the protocol: every interleaving of a few participants, under the C11 memory model.
//!
//! The ring's own code runs here on the heap instead of a segment. It protects a loom `UnsafeCell` for each 64 bytes of
//! the ring: loom fails if two threads can touch one cell at once, one of them writing.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p framebuffer --lib --profile fast models`.

use loom::sync::Arc;
use loom::thread;

use super::frame::InitialState;
use super::participants::SlotState;
use crate::checksum::Checksum;
use crate::error::{Error, TimeoutReason};
use crate::frame::Frame;
use crate::layout::FRAME_ALIGN;

mod model;
mod receive;
mod window;

use model::Model;

/// The promise that a reader has: the right bytes, or a timeout.
fn intact_or_timeout(frame: &Frame, read: Result<u64, Error>) {
    match read {
        Ok(found) => assert_eq!(found, frame.offset, "another frame's bytes"),
        Err(Error::Timeout(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_up_to(4, model);
}

/// Every interleaving with at most this many preemptions (loom's authors recommend 2 or 3), or as many as
/// `LOOM_MAX_PREEMPTIONS` says.
fn check_up_to(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

#[test]
fn two_allocations_never_share_bytes() {
    check(|| {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || model.publish(claims[1]).expect("two frames fit")
        });
        let mine = model.publish(claims[0]).expect("two frames fit");
        let theirs = other.join().expect("no panic");
        assert_ne!(mine.offset, theirs.offset);
        for frame in [mine, theirs] {
            assert_eq!(model.read(&frame, claims[0]).expect("both are there"), frame.offset);
        }
    });
}

/// The ring holds one frame, so the second allocation is a lap ahead of the first: however long the first is stalled
/// after its allocation, nobody writes where it writes.
#[test]
fn an_allocation_that_stalls_for_a_lap_harms_nobody() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || model.publish(claims[1])
        });
        let mine = model.publish(claims[0]);
        let theirs = other.join().expect("no panic");
        for result in [mine, theirs] {
            match result {
                Ok(frame) => intact_or_timeout(&frame, model.read(&frame, claims[0])),
                // The whole ring is held by the other: nowhere is room.
                Err(Error::Exhausted { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_reader_gets_the_right_bytes_or_a_timeout_while_the_ring_is_overwritten() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let frame = model.publish(claims[0]).expect("room");
        let reader = thread::spawn({
            let model = Arc::clone(&model);
            move || intact_or_timeout(&frame, model.read(&frame, claims[1]))
        });
        match model.publish(claims[0]) {
            Ok(_) | Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        reader.join().expect("no panic");
    });
}

#[test]
fn a_view_sees_its_frame_unchanged_while_writers_go_around_it() {
    check(|| {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let frame = model.publish(claims[0]).expect("room");
        let view = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let pin = model.take_pin(claims[1]);
                if model.ring.begin_read(&frame, &pin).is_ok() {
                    for _ in 0..2 {
                        // SAFETY: loom checks that nobody writes to the cell.
                        let found = model.cell(frame.offset).with(|cell| unsafe { *cell });
                        assert_eq!(found, frame.offset);
                    }
                }
            }
        });
        for _ in 0..2 {
            model.publish(claims[0]).expect("at most one of two frames is held");
        }
        view.join().expect("no panic");
    });
}

/// Two threads of one participant use one pin, one after the other, for different frames. An allocation that finds only
/// the second there knows that the first is done with its bytes.
#[test]
fn who_takes_a_pin_over_vouches_for_the_end_of_who_had_it() {
    check_up_to(2, || {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let frames = [(); 2].map(|()| model.publish(claims[0]).expect("two frames fit"));
        let readers = frames.map(|frame| {
            let model = Arc::clone(&model);
            thread::spawn(move || intact_or_timeout(&frame, model.read(&frame, claims[0])))
        });
        match model.publish(claims[1]) {
            Ok(_) | Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        for reader in readers {
            reader.join().expect("no panic");
        }
    });
}

#[test]
fn a_committed_frame_is_seen_whole_or_not_at_all() {
    check(|| {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let pin = model.take_pin(claims[0]);
        let offset = model.ring.allocate(FRAME_ALIGN, InitialState::Reserved, &pin, &model.locks).expect("room");
        drop(pin);
        let promised = Frame::new(offset, FRAME_ALIGN, Checksum::from_u64(offset));
        let reader = thread::spawn({
            let model = Arc::clone(&model);
            move || match model.read(&promised, claims[1]) {
                Ok(found) => assert_eq!(found, offset),
                Err(Error::Timeout(timeout)) => assert_eq!(timeout.reason, TimeoutReason::NotWritten),
                Err(error) => panic!("{error}"),
            }
        });
        let pin = model.take_pin(claims[0]);
        model.ring.begin_write(offset, FRAME_ALIGN, &pin).expect("ours to write");
        model.fill_and_commit(offset, &pin).expect("its slot is its own");
        drop(pin);
        reader.join().expect("no panic");
    });
}

#[test]
fn of_two_writers_of_one_frame_one_is_refused() {
    check(|| {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let pin = model.take_pin(claims[0]);
        let offset = model.ring.allocate(FRAME_ALIGN, InitialState::Reserved, &pin, &model.locks).expect("room");
        drop(pin);
        let write = move |model: &Model, claim| {
            let pin = model.take_pin(claim);
            match model.ring.begin_write(offset, FRAME_ALIGN, &pin) {
                Ok(()) => {
                    model.fill_and_commit(offset, &pin).expect("its slot is its own");
                    1
                }
                Err(Error::AlreadyWritten { .. }) => 0,
                Err(error) => panic!("{error}"),
            }
        };
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || write(&model, claims[1])
        });
        let mine = write(&model, claims[0]);
        assert_eq!(mine + other.join().expect("no panic"), 1);
    });
}

/// A frame allocated by one and written later, without a pin in between, while another fills the ring.
#[test]
fn a_late_writer_writes_its_own_frame_or_times_out() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let pin = model.take_pin(claims[0]);
        let offset = model.ring.allocate(FRAME_ALIGN, InitialState::Reserved, &pin, &model.locks).expect("room");
        drop(pin);
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || model.publish(claims[1])
        });
        let pin = model.take_pin(claims[0]);
        match model.ring.begin_write(offset, FRAME_ALIGN, &pin) {
            Ok(()) => _ = model.fill_and_commit(offset, &pin).expect("its slot is its own"),
            Err(Error::Timeout(_)) => {}
            Err(error) => panic!("{error}"),
        }
        drop(pin);
        match other.join().expect("no panic") {
            Ok(frame) => assert_eq!(model.read(&frame, claims[0]).expect("the newest frame"), frame.offset),
            Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    });
}

/// A dead participant has left a pin on the whole ring. One thread clears its slot; another joins, in the same slot if
/// it comes later, and reads: its pin must count, however the two interleave with a writer.
#[test]
fn clearing_a_dead_slot_never_clears_the_pins_of_its_next_participant() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let writer = model.join();
        let frame = model.publish(writer).expect("room");
        let dead = model.join();
        std::mem::forget(model.take_pin(dead));
        model.die(dead);
        let newcomer = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let claim = model.join();
                intact_or_timeout(&frame, model.read(&frame, claim));
            }
        });
        model.ring.reap(dead.slot, &model.locks);
        match model.publish(writer) {
            Ok(_) | Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        newcomer.join().expect("no panic");
    });
}

#[test]
fn a_pin_of_the_dead_does_not_stop_allocation() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let frame = model.publish(claims[0]).expect("room");
        let pin = model.take_pin(claims[1]);
        model.ring.begin_read(&frame, &pin).expect("it is there");
        let death = thread::spawn({
            let model = Arc::clone(&model);
            move || model.die(claims[1])
        });
        // The reader dies at some time during this.
        let during = model.publish(claims[0]);
        assert!(matches!(during, Ok(_) | Err(Error::Exhausted { .. })));
        death.join().expect("no panic");
        model.publish(claims[0]).expect("the dead hold nothing");
        std::mem::forget(pin);
    });
}

/// Whoever is stopped while it clears the slot of the dead holds nobody up: neither those who allocate, nor those who
/// join.
#[test]
fn a_stopped_reaper_stops_nobody() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let frame = model.publish(claims[0]).expect("room");
        let pin = model.take_pin(claims[1]);
        model.ring.begin_read(&frame, &pin).expect("it is there");
        std::mem::forget(pin);
        model.die(claims[1]);
        model.locks.stall_repair(claims[1].slot);
        let newcomer = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let claim = model.join();
                assert_ne!(claim.slot, claims[1].slot, "somebody is at that slot");
                intact_or_timeout(&frame, model.read(&frame, claim));
            }
        });
        match model.publish(claims[0]) {
            Ok(_) => {}
            // The newcomer reads it, in that instant.
            Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        newcomer.join().expect("no panic");
        model.publish(claims[0]).expect("only the dead hold anything");
    });
}

/// Two find the same participant dead: one of them declares it so, and neither takes it for alive.
#[test]
fn of_two_that_find_a_dead_participant_at_once_one_declares_it_dead() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let dead = model.join();
        model.die(dead);
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || model.ring.reap(dead.slot, &model.locks)
        });
        let mine = model.ring.reap(dead.slot, &model.locks);
        let theirs = other.join().expect("no panic");
        assert!(
            matches!((mine, theirs), (SlotState::Dead, SlotState::Vacant) | (SlotState::Vacant, SlotState::Dead)),
            "{mine:?} {theirs:?}"
        );
    });
}

/// A participant whose lock was lost is declared dead while it lives. It does not commit what it had begun.
#[test]
fn who_was_declared_dead_does_not_commit() {
    check(|| {
        let model = Arc::new(Model::new(4));
        let claims = [model.join(), model.join()];
        let pin = model.take_pin(claims[1]);
        let offset = model.ring.allocate(FRAME_ALIGN, InitialState::Writing, &pin, &model.locks).expect("room");
        model.die(claims[1]);
        let reaper = thread::spawn({
            let model = Arc::clone(&model);
            move || model.ring.reap(claims[1].slot, &model.locks)
        });
        let during = model.fill_and_commit(offset, &pin);
        assert!(matches!(during, Ok(_) | Err(Error::ParticipantLost)));
        reaper.join().expect("no panic");
        assert!(matches!(model.fill_and_commit(offset, &pin), Err(Error::ParticipantLost)));
        drop(pin);
    });
}

/// Two threads of one process share a slot: were they to share a pin, the allocation would take the reader's for its
/// own.
#[test]
fn two_threads_of_one_participant_never_share_a_pin() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claim = model.join();
        let frame = model.publish(claim).expect("room");
        let reader = thread::spawn({
            let model = Arc::clone(&model);
            move || intact_or_timeout(&frame, model.read(&frame, claim))
        });
        let during = model.publish(claim);
        assert!(matches!(during, Ok(_) | Err(Error::Exhausted { .. })));
        reader.join().expect("no panic");
    });
}

/// Tests the models themselves: reading without a pin reads bytes that are being overwritten, and loom reports it.
#[test]
#[should_panic(expected = "Causality violation")]
fn reading_without_a_pin_is_caught() {
    check(|| {
        let model = Arc::new(Model::new(2));
        let claims = [model.join(), model.join()];
        let frame = model.publish(claims[0]).expect("room");
        let reader = thread::spawn({
            let model = Arc::clone(&model);
            // SAFETY: none; loom must find that.
            move || model.cell(frame.offset).with(|cell| unsafe { *cell })
        });
        let _ = model.publish(claims[0]);
        reader.join().expect("no panic");
    });
}
