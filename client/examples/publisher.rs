//! Sends a picture that grows brighter over the channel `camera`, 30 times a second.
//!
//! ```sh
//! cargo run -p framebuffer-sidecar -- serve --size 64Mi      # one terminal: owns the ring
//! cargo run --example publisher                              # another one
//! cargo run --example subscriber                             # and as many of these as you like
//! ```

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use framebuffer::{Descriptor, Element};

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const BYTES_PER_PIXEL: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    // The sidecar at FRAMEBUFFER_URL, by default http://127.0.0.1:7570. Waits up to 30 s for it to start.
    let ring = framebuffer::connect_env()?;
    let mut camera = ring.publisher("camera")?;
    let image = Descriptor::new().element(Element::U8).shape(&[HEIGHT, WIDTH, BYTES_PER_PIXEL])?;
    for brightness in (0..=u8::MAX).cycle() {
        // A frame in the ring itself. Never waits for a subscriber: the oldest frames make room.
        let mut picture = camera.loan((WIDTH * HEIGHT * BYTES_PER_PIXEL) as u64)?;
        picture.fill(brightness);
        picture.describe(image);
        picture.send()?;
        sleep(Duration::from_millis(33));
    }
    Ok(())
}
