//! Receives the pictures that the example `publisher` sends, and prints how bright they are.
//!
//! ```sh
//! cargo run -p framebuffer-sidecar -- serve --size 64Mi      # one terminal: owns the ring
//! cargo run --example publisher                              # another one
//! cargo run --example subscriber                             # and as many of these as you like
//! ```

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // The sidecar at FRAMEBUFFER_URL, by default http://127.0.0.1:7570. Waits up to 30 s for it to start.
    let ring = framebuffer::connect_env()?;
    // Begins with the last picture that was sent, if there is one, and waits for each of the following.
    for picture in ring.subscriber("camera")? {
        // The frame in place, as `&[u8]`: no writer touches it while it lives.
        let picture = picture?;
        let sum: u64 = picture.iter().map(|&byte| u64::from(byte)).sum();
        let brightness = sum / picture.frame().size.max(1);
        println!("picture {}, {:?}: {brightness}", picture.number(), picture.descriptor().dimensions());
    }
    Ok(())
}
