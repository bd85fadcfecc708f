//! Descriptions of frames as strangers send them: JSON that is none, almost one, or one of a frame that never was.
//! Reading one gives an error, or the very bytes that were written.
//!
//! `TMPDIR=/dev/shm cargo +nightly fuzz run frame_json -- -max_total_time=300`
#![no_main]

use std::sync::OnceLock;

use framebuffer::{Frame, FrameBufferClient, FrameBufferServer, Key, Prefault};
use libfuzzer_sys::fuzz_target;

const SIZE: u64 = 64 << 10;
const PAYLOAD: [u8; 1000] = [0xA5; 1000];

/// A ring with frames of one content, of which the older ones are overwritten.
struct Ring {
    _server: FrameBufferServer,
    client: FrameBufferClient,
    frames: Vec<Frame>,
}

fn ring() -> &'static Ring {
    static RING: OnceLock<Ring> = OnceLock::new();
    RING.get_or_init(|| {
        let dir = std::env::temp_dir();
        let key = Key::random().expect("random bytes");
        let server = FrameBufferServer::options(SIZE).key(key.clone()).dir(&dir).prefault(Prefault::Off).start();
        let client = FrameBufferClient::options(key).dir(&dir).open().expect("the ring");
        // Both have it open: nothing is left when the process ends, which drops neither.
        std::fs::remove_file(dir.join(format!("framebuffer-{}", client.get_key()))).expect("our file");
        let frames = (0..300).map(|_| client.publish(&PAYLOAD).expect("there is room")).collect();
        Ring { _server: server.expect("a ring"), client, frames }
    })
}

/// Reads a frame in each way. What is read is what was written.
fn read(client: &FrameBufferClient, frame: &Frame) {
    if let Ok(bytes) = client.read_frame(frame) {
        assert!(PAYLOAD.starts_with(&bytes), "bytes that nobody wrote");
    }
    if let Ok(view) = client.view(frame) {
        assert!(PAYLOAD.starts_with(&view), "bytes that nobody wrote");
    }
}

fuzz_target!(|data: (&[u8], u8, u8, u8)| {
    let ring = ring();
    let (text, which, at, by) = data;
    if let Ok(frame) = serde_json::from_slice::<Frame>(text) {
        let again = serde_json::to_string(&frame).expect("a frame is JSON");
        assert_eq!(serde_json::from_str::<Frame>(&again).expect("its own JSON"), frame);
        read(&ring.client, &frame);
    }
    // A description of a frame that is there, with one character changed.
    let frame = &ring.frames[ring.frames.len() - 1 - usize::from(which) % ring.frames.len()];
    let mut text = serde_json::to_vec(frame).expect("a frame is JSON");
    let at = usize::from(at) % text.len();
    text[at] = by;
    if let Ok(changed) = serde_json::from_slice::<Frame>(&text) {
        read(&ring.client, &changed);
    }
});
