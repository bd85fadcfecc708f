//! Channels when the ring is kept, given up, or used by a forked child.

use framebuffer::Error;

use crate::common::{KEY, TestRing, alone, client_in, folder, options};
use crate::{LONG, info, next};

#[test]
fn a_subscriber_goes_on_in_a_ring_that_was_kept() {
    let dir = folder();
    let mut server = options(&dir).keep(true).start().expect("a ring");
    let client = client_in(&dir);
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    publisher.send(b"one").expect("there is room");
    server.stop().expect("it stops");
    publisher.send(b"two").expect("the ring is still there");
    server.start().expect("it adopts the ring");
    publisher.send(b"three").expect("there is room");
    assert_eq!([(); 3].map(|()| next(&mut subscriber).to_vec()), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_subscriber_of_a_ring_that_was_given_up_says_so() {
    let mut ring = TestRing::new(64 << 10);
    let client = ring.client();
    let mut subscriber = client.subscriber("camera").expect("a subscriber");
    let mut publisher = client.publisher("camera").expect("a publisher");
    ring.server.stop().expect("it stops");
    assert!(matches!(subscriber.next(LONG), Err(Error::Retired)));
    assert!(matches!(publisher.send(b"late"), Err(Error::Retired)));
}

#[test]
fn a_forked_child_sends_and_receives_with_a_slot_of_its_own() {
    alone("a_forked_child_sends_and_receives_with_a_slot_of_its_own", || {
        let ring = TestRing::new(64 << 10);
        let client = ring.client();
        let mut subscriber = client.subscriber("camera").expect("a subscriber");
        let mut publisher = client.publisher("camera").expect("a publisher");
        publisher.send(b"of the parent").expect("there is room");
        // SAFETY: this process has no other thread that matters.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                let received = next(&mut subscriber).to_vec() == b"of the parent";
                let sent = publisher.send(b"of the child").is_ok();
                let is_there = info(&client, "camera").publishers == 2;
                // SAFETY: ends the child at once, without what the parent's test runner would do at the end.
                unsafe { nix::libc::_exit(i32::from(!(received && sent && is_there))) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("it ends");
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert_eq!([(); 2].map(|()| next(&mut subscriber).to_vec()), [&b"of the parent"[..], b"of the child"]);
        assert_eq!(KEY, client.get_key());
    });
}
