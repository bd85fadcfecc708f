//! Models of receiving a frame through its channel's index, and of sharing the pin of who keeps it.

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::model::Model;
use super::{check, check_up_to};
use crate::checksum::Checksum;
use crate::error::Error;
use crate::frame::Frame;
use crate::layout::{DESCRIPTOR_SIZE, FRAME_ALIGN, HEADER_SIZE};
use crate::ring::RingMemory;
use crate::ring::heap::Heap;
use crate::ring::participants::SlotClaim;
use crate::ring::pin::Pin;

/// A frame is overwritten, or another one of its length comes after it, while it is received through an index.
#[test]
fn a_receiver_gets_the_right_frame_or_none_while_the_ring_is_overwritten() {
    check(|| {
        let model = Arc::new(Model::new(3));
        let claims = [model.join(), model.join()];
        let (pin, start) = model.send(0, claims[0]).expect("room");
        drop(pin);
        let receiver = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                if let Some(found) = model.receive(start, 0, claims[1]) {
                    assert_eq!(found, start + 2 * FRAME_ALIGN);
                }
            }
        });
        match model.send(1, claims[0]) {
            Ok(_) | Err(Error::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        receiver.join().expect("no panic");
    });
}

/// An allocation goes around what is pinned of the frame before its size is known, and into its last bytes.
#[test]
fn a_receiver_is_protected_to_the_last_byte_or_gets_nothing() {
    check_up_to(3, || {
        let model = Arc::new(Model::new(5));
        let claims = [model.join(), model.join()];
        let (frame, start) = model.send_two_cells(0, claims[0]).expect("room");
        let receiver = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let pin = model.take_pin(claims[1]);
                if model.ring.begin_receive(start, (0, 0), 0, &pin).expect("it has its slot").is_some() {
                    // SAFETY: loom checks that nobody writes to the cell.
                    let found = model.cell(frame.offset + FRAME_ALIGN).with(|cell| unsafe { *cell });
                    assert_eq!(found, frame.offset);
                }
            }
        });
        for _ in 0..2 {
            match model.publish(claims[0]) {
                Ok(_) | Err(Error::Exhausted { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        receiver.join().expect("no panic");
    });
}

/// A ring with a frame that `keeper` keeps, and that the head has moved past: its bytes are the next ones.
fn kept_and_passed(model: &Model, keeper: SlotClaim) -> (Pin<'_, Heap>, u64) {
    let (kept, start) = model.send(0, keeper).expect("room");
    model.ring.memory().head().store(2 * model.ring.memory().capacity(), Ordering::Relaxed);
    (kept, start)
}

/// The sender lets go of the frame while somebody looks for it, and the next allocation is for its bytes: it sees the
/// pin of the one or of the other, or nobody has the frame.
fn handed_over_whole_or_not_at_all(look: fn(&Model, u64, SlotClaim) -> Option<u64>) {
    check_up_to(2, move || {
        let model = Arc::new(Model::new(7));
        let claims = [model.join(), model.join(), model.join()];
        // An allocation looks at the slots in order: at the receiver's before it looks at the keeper's.
        let [late, other, keeper] = claims;
        let (kept, start) = kept_and_passed(&model, keeper);
        let receiver = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                if let Some(found) = look(&model, start, late) {
                    assert_eq!(found, start + 2 * FRAME_ALIGN);
                }
            }
        });
        let sender = thread::spawn({
            let model = Arc::clone(&model);
            move || drop(model.send(1, other).expect("there is room beside it"))
        });
        drop(kept);
        receiver.join().expect("no panic");
        sender.join().expect("no panic");
    });
}

#[test]
fn a_kept_frame_that_the_ring_has_moved_past_is_received_whole_or_not_at_all() {
    handed_over_whole_or_not_at_all(|model, start, late| model.receive(start, 0, late));
}

#[test]
fn a_kept_frame_that_the_ring_has_moved_past_is_read_by_its_description_whole_or_not_at_all() {
    handed_over_whole_or_not_at_all(|model, start, late| {
        let offset = start + DESCRIPTOR_SIZE + HEADER_SIZE;
        let ring = Some(model.ring.memory().id());
        let frame = Frame { ring, ..Frame::new(offset, FRAME_ALIGN, Checksum::from_u64(offset)) };
        model.read(&frame, late).ok()
    });
}

/// Nobody keeps the frame any more when two come late: they do not vouch for each other.
#[test]
fn two_that_come_late_do_not_take_each_other_for_the_keeper() {
    check_up_to(2, || {
        let model = Arc::new(Model::new(7));
        let claims = [model.join(), model.join()];
        let (kept, start) = kept_and_passed(&model, claims[0]);
        drop(kept);
        let receiver = thread::spawn({
            let model = Arc::clone(&model);
            move || assert_eq!(model.receive(start, 0, claims[1]), None)
        });
        assert_eq!(model.receive(start, 0, claims[0]), None);
        receiver.join().expect("no panic");
    });
}
