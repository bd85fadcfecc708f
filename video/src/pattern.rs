//! A moving test picture: colour bars that scroll, and the frame's number in a row of black and white squares.

use crate::raw::{PixelFormat, RawFormat};

/// Frame numbers are drawn with this many bits, the lowest at the left.
const BITS: usize = 32;

/// Draws the frames of a test stream.
///
/// Frame `n` is one copy per plane out of a picture that is drawn once, starting `n` rows further down, so that drawing
/// costs what a camera's driver would cost: one pass of writing.
#[derive(Debug)]
pub struct Pattern {
    format: RawFormat,
    planes: Vec<Plane>,
}

#[derive(Debug)]
struct Plane {
    row: usize,
    rows: usize,
    /// The picture twice, one below the other: any `rows` rows of it in sequence are a scrolled picture.
    twice: Vec<u8>,
}

impl Pattern {
    /// Prepares a stream of `format`.
    pub fn new(format: RawFormat) -> Self {
        let layout = format.pixels.planes(format.width, format.height);
        let planes = layout.into_iter().enumerate().map(|(index, (row, rows))| {
            let mut twice = Vec::with_capacity(2 * row * rows);
            (0..rows).for_each(|y| twice.extend((0..row).map(|x| byte(format.pixels, index, (x, y), (row, rows)))));
            twice.extend_from_within(..);
            Plane { row, rows, twice }
        });
        Self { format, planes: planes.collect() }
    }

    /// The stream's format.
    pub const fn format(&self) -> RawFormat {
        self.format
    }

    /// Draws frame `sequence` into `frame`, which has [`RawFormat::frame_size`] bytes.
    pub fn draw(&self, sequence: u64, frame: &mut [u8]) {
        let mut rest = frame;
        for (index, plane) in self.planes.iter().enumerate() {
            let (target, after) = rest.split_at_mut(plane.row * plane.rows);
            let shift = (sequence % plane.rows as u64) as usize * plane.row;
            target.copy_from_slice(&plane.twice[shift..shift + target.len()]);
            if index == 0 {
                stamp(sequence, target, plane.row);
            }
            rest = after;
        }
    }
}

/// Draws the frame's number at the top of the first plane.
fn stamp(sequence: u64, plane: &mut [u8], row: usize) {
    let square = (row / BITS).max(1);
    let height = (plane.len() / row).min(16);
    let mut line = vec![0; row];
    for (bit, square) in line.chunks_mut(square).take(BITS).enumerate() {
        square.fill(if sequence >> bit & 1 == 1 { 235 } else { 16 });
    }
    plane.chunks_mut(row).take(height).for_each(|target| target.copy_from_slice(&line));
}

/// The byte at `x`, `y` of a plane: eight bars across, brighter towards the bottom.
fn byte(pixels: PixelFormat, plane: usize, (x, y): (usize, usize), (row, rows): (usize, usize)) -> u8 {
    let light = (y * 255 / rows) as u8;
    let channels = match pixels {
        PixelFormat::Rgb24 | PixelFormat::Bgr24 => 3,
        PixelFormat::Rgba => 4,
        PixelFormat::Gray8 | PixelFormat::Yuv420p => 1,
    };
    let bar = x * 8 / row;
    match (pixels, x % channels) {
        (PixelFormat::Rgba, 3) => 255,
        (PixelFormat::Yuv420p, _) if plane > 0 => (32 + bar * 24 * plane % 192) as u8,
        (PixelFormat::Gray8 | PixelFormat::Yuv420p, _) => light / 2 + (bar * 16) as u8,
        (_, channel) if (bar + 1) >> channel & 1 == 1 => 255 - light,
        _ => light / 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_frames_differ_in_every_format_and_fill_the_frame() {
        for format in ["64x48:rgb24", "64x48:bgr24", "64x48:rgba", "63x47:gray8", "63x47:yuv420p"] {
            let pattern = Pattern::new(format.parse().unwrap());
            let size = pattern.format().frame_size() as usize;
            let frames: Vec<Vec<u8>> = (0..100)
                .map(|n| {
                    let mut frame = vec![0; size];
                    pattern.draw(n, &mut frame);
                    frame
                })
                .collect();
            for (n, pair) in frames.windows(2).enumerate() {
                assert_ne!(pair[0], pair[1], "{format} {n}");
            }
            // A lap of scrolling later only the number tells the frames apart.
            assert_ne!(frames[0], frames[48], "{format}");
        }
    }

    #[test]
    fn the_smallest_picture_is_drawn() {
        for format in ["1x1:rgb24", "1x1:gray8", "1x1:yuv420p"] {
            let pattern = Pattern::new(format.parse().unwrap());
            pattern.draw(u64::MAX, &mut vec![0; pattern.format().frame_size() as usize]);
        }
    }
}
