//! Publishes a picture that grows brighter, 30 times a second, and prints the description of each frame as a line of
//! JSON.
//!
//! ```sh
//! cargo run -p framebuffer-sidecar -- serve --size 64Mi      # one terminal: owns the ring
//! cargo run --example writer | cargo run --example reader    # another one
//! ```
//!
//! The pipe stands for whatever messaging connects the two programs: a socket, a queue, a request.

use std::error::Error;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const BYTES_PER_PIXEL: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    // The sidecar at FRAMEBUFFER_URL, by default http://127.0.0.1:7570. Waits up to 30 s for it to start.
    let ring = framebuffer::connect_env()?;
    let mut messages = io::stdout().lock();
    let mut picture = vec![0; WIDTH * HEIGHT * BYTES_PER_PIXEL];
    for brightness in (0..=u8::MAX).cycle() {
        picture.fill(brightness);
        // Copies the picture into the ring and hashes it. Never waits for a reader: the oldest frames make room.
        let frame = ring.publish(&picture)?;
        // These three numbers are all that a reader needs.
        writeln!(messages, "{}", serde_json::to_string(&frame)?)?;
        sleep(Duration::from_millis(33));
    }
    Ok(())
}
