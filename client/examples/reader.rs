//! Reads the frames that the example `writer` describes, a line of JSON each, and prints how bright they are.
//!
//! ```sh
//! cargo run -p framebuffer-sidecar -- serve --size 64Mi      # one terminal: owns the ring
//! cargo run --example writer | cargo run --example reader    # another one
//! ```

use std::error::Error;
use std::io;

use framebuffer::{Frame, FrameBufferClient};

fn main() -> Result<(), Box<dyn Error>> {
    // The sidecar at FRAMEBUFFER_URL, by default http://127.0.0.1:7570. Waits up to 30 s for it to start.
    let ring = framebuffer::connect_env()?;
    for line in io::stdin().lines() {
        let frame: Frame = serde_json::from_str(&line?)?;
        match brightness(&ring, &frame) {
            Ok(brightness) => println!("{brightness}"),
            // The ring has moved on: this reader is too slow, or the ring too small. Carry on with the next frame.
            Err(framebuffer::Error::Timeout(timeout)) => eprintln!("lost a frame: {timeout}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The mean of the frame's bytes.
fn brightness(ring: &FrameBufferClient, frame: &Frame) -> Result<u64, framebuffer::Error> {
    // The frame in place, as `&[u8]`: no writer touches it while the view lives. To keep the bytes for longer, copy
    // them with `ring.read_frame(frame)?`, which also compares them with their checksum.
    let view = ring.view(frame)?;
    let sum: u64 = view.iter().map(|&byte| u64::from(byte)).sum();
    Ok(sum / frame.size.max(1))
}
