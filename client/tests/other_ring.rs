//! Descriptions of frames name their ring: none is taken for a frame of the ring that has replaced it.

mod common;

use common::{KEY, chain, client_in, folder, is_payload, kept_segment, options, payload};
use framebuffer::{Error, Frame, FrameBufferServer, Prefault, RingId};

/// Whether the error names these rings.
fn names(error: &Error, of_frame: RingId, open: RingId) -> bool {
    matches!(error, Error::OtherRing { frame, ring } if (*frame, *ring) == (of_frame, open))
}

#[test]
fn a_frame_of_the_ring_before_is_refused_whatever_lies_at_its_offset() {
    let dir = folder();
    let server = options(&dir).start().expect("a ring");
    let old = client_in(&dir).publish(&payload(1, 1000)).expect("there is room");
    let first = server.ring_id().expect("it runs");
    drop(server);
    let server = options(&dir).start().expect("another ring");
    let (client, second) = (client_in(&dir), server.ring_id().expect("it runs"));
    assert_ne!(first, second);
    // Nothing is there yet, then another frame, then one with the same offset, size and checksum.
    for published in [None, Some((2, 100)), Some((1, 1000))] {
        let same = published.map(|(seed, len)| client.publish(&payload(seed, len)).expect("there is room"));
        let old = Frame { ring: Some(first), ..same.unwrap_or(old) };
        for frame in [old, Frame { size: 1 << 40, ..old }, Frame { offset: 5, ..old }] {
            let mut buffer = vec![0; if frame.size == 1 << 40 { 0 } else { frame.size as usize }];
            let mut errors = vec![
                client.read_frame(&frame).map(|_| ()).expect_err("of another ring"),
                client.view(&frame).map(|_| ()).expect_err("of another ring"),
            ];
            if !buffer.is_empty() {
                errors.push(client.read_into(&frame, &mut buffer).expect_err("of another ring"));
            }
            for error in errors {
                assert!(names(&error, first, second), "{}", chain(&error));
                assert!(chain(&error).contains(&first.to_string()) && !chain(&error).contains(KEY));
            }
        }
        if let Some(same) = same {
            client.read_frame(&same).expect("it is of this ring");
        }
    }
    assert_eq!(server.stats().expect("stats").pins, 0, "no pin is left");
}

#[test]
fn a_frame_of_a_ring_that_was_kept_is_a_frame_of_the_same_ring() {
    let (dir, frame) = kept_segment();
    let server = options(&dir).keep(true).start().expect("the ring is adopted");
    assert_eq!(server.ring_id().expect("it runs"), frame.ring.expect("it was published"));
    assert!(is_payload(1, &client_in(&dir).read_frame(&frame).expect("it is there")));
}

#[test]
fn every_description_names_the_ring_of_its_frame() {
    let dir = folder();
    let server = FrameBufferServer::options(1 << 20).dir(dir.path()).prefault(Prefault::Off).start().expect("a ring");
    let key = framebuffer::Key::new(server.get_key()).expect("a key");
    let client = framebuffer::FrameBufferClient::options(key).dir(dir.path()).open().expect("it is there");
    let id = client.ring_id().expect("it is open");
    let frames = [
        client.publish(b"frame").expect("there is room"),
        client.loan(5).expect("there is room").commit().expect("it is ours"),
        client.loan(5).expect("there is room").commit_unhashed().expect("it is ours"),
    ];
    for frame in frames {
        assert_eq!(frame.ring, Some(id));
        assert_eq!(*client.view(&frame).expect("it is there").frame(), frame);
    }
    assert_eq!(server.ring_id().expect("it runs"), id);
}

#[test]
fn a_description_that_names_no_ring_is_read_as_ever() {
    let dir = folder();
    let _server = options(&dir).start().expect("a ring");
    let client = client_in(&dir);
    let frame = Frame { ring: None, ..client.publish(&payload(1, 1000)).expect("there is room") };
    assert!(is_payload(1, &client.read_frame(&frame).expect("it is there")));
    assert!(is_payload(1, &client.read(frame.offset, frame.size, frame.checksum).expect("it is there")));
    assert_eq!(client.view(&frame).expect("it is there").frame().ring, None);
}
