//! A ring of which the first bytes of each lap are preferred.

use loom::sync::Arc;
use loom::thread;

use super::check;
use super::model::Model;
use crate::error::Error;

/// A window of two frames in a ring of three: the second frame is followed by the next lap, and one that is viewed
/// sends its successor beyond the window.
#[test]
fn a_view_sees_its_frame_unchanged_while_the_window_is_used_again_and_again() {
    check(|| {
        let model = Arc::new(Model::with_window(6, 4));
        let claims = [model.join(), model.join()];
        let frames = [(); 2].map(|()| model.publish(claims[0]).expect("room"));
        let view = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                let pin = model.take_pin(claims[1]);
                match model.ring.begin_read(&frames[0], &pin) {
                    Ok(_) => {
                        for _ in 0..2 {
                            // SAFETY: loom checks that nobody writes to the cell.
                            let found = model.cell(frames[0].offset).with(|cell| unsafe { *cell });
                            assert_eq!(found, frames[0].offset);
                        }
                    }
                    Err(Error::Timeout(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for _ in 0..2 {
            model.publish(claims[0]).expect("at most one of three frames is held");
        }
        view.join().expect("no panic");
    });
}
