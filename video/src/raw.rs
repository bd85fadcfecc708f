//! Raw video: frames one after the other, without any header.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::rate::Rate;
use crate::{MAX_FRAME, MAX_SIDE};

/// How a raw frame's bytes are laid out; the names are ffmpeg's `-pix_fmt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue, a byte each.
    Rgb24,
    /// Blue, green, red, a byte each.
    Bgr24,
    /// Red, green, blue, opacity, a byte each.
    Rgba,
    /// One byte.
    Gray8,
    /// A plane of luma, then two of chroma, halved in both directions.
    Yuv420p,
}

/// A raw stream's format, which nothing in the stream says: `1920x1080:rgb24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFormat {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Layout.
    pub pixels: PixelFormat,
    /// Frames per second.
    pub rate: Rate,
}

/// Why a text is not a raw format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRaw {
    /// Not of the form at all.
    #[error("{0:?} is not a raw format: expected WIDTHxHEIGHT:FORMAT, like 1920x1080:rgb24")]
    Shape(String),
    /// A side out of bounds.
    #[error("a picture of {width}x{height}: each side must have between 1 and {MAX_SIDE} pixels")]
    Side {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// An unknown layout.
    #[error("{0:?} is not a pixel format: expected rgb24, bgr24, rgba, gray8 or yuv420p")]
    Pixels(String),
    /// Too many bytes.
    #[error("a frame of {format} has {size} bytes, more than the limit of {MAX_FRAME}")]
    TooLarge {
        /// The format.
        format: String,
        /// Bytes of a frame.
        size: u64,
    },
}

impl PixelFormat {
    const ALL: [(&str, Self); 6] = [
        ("rgb24", Self::Rgb24),
        ("bgr24", Self::Bgr24),
        ("rgba", Self::Rgba),
        ("gray8", Self::Gray8),
        ("yuv420p", Self::Yuv420p),
        // ffmpeg's own name for it.
        ("gray", Self::Gray8),
    ];

    /// Its name in `GStreamer` caps.
    pub const fn caps(self) -> &'static str {
        match self {
            Self::Rgb24 => "RGB",
            Self::Bgr24 => "BGR",
            Self::Rgba => "RGBA",
            Self::Gray8 => "GRAY8",
            Self::Yuv420p => "I420",
        }
    }

    /// The layout with this name in `GStreamer` caps.
    pub fn from_caps(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(_, pixels)| pixels).find(|pixels| pixels.caps() == name)
    }

    /// Its code in V4L2.
    pub const fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Rgb24 => b"RGB3",
            Self::Bgr24 => b"BGR3",
            Self::Rgba => b"AB24",
            Self::Gray8 => b"GREY",
            Self::Yuv420p => b"YU12",
        }
    }

    /// The planes of a picture in their order: bytes of a row, and rows.
    pub fn planes(self, width: u32, height: u32) -> Vec<(usize, usize)> {
        let (width, height) = (width as usize, height as usize);
        match self {
            Self::Rgb24 | Self::Bgr24 => vec![(3 * width, height)],
            Self::Rgba => vec![(4 * width, height)],
            Self::Gray8 => vec![(width, height)],
            Self::Yuv420p => {
                let chroma = (width.div_ceil(2), height.div_ceil(2));
                vec![(width, height), chroma, chroma]
            }
        }
    }
}

impl RawFormat {
    /// Checks the sides and the size.
    ///
    /// # Errors
    ///
    /// [`InvalidRaw`] with the limit that is passed.
    pub fn check(self) -> Result<Self, InvalidRaw> {
        let Self { width, height, .. } = self;
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(InvalidRaw::Side { width, height });
        }
        let size = self.frame_size();
        if size > MAX_FRAME {
            return Err(InvalidRaw::TooLarge { format: self.to_string(), size });
        }
        Ok(self)
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u64 {
        let planes = self.pixels.planes(self.width, self.height);
        planes.into_iter().map(|(row, rows)| row as u64 * rows as u64).sum()
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(_, pixels)| pixels == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}:{}", self.width, self.height, self.pixels)
    }
}

impl FromStr for RawFormat {
    type Err = InvalidRaw;

    fn from_str(text: &str) -> Result<Self, InvalidRaw> {
        let beginning = |text: &str| text.chars().take(40).collect::<String>();
        let shape = || {
            let (size, pixels) = text.split_once(':')?;
            let (width, height) = size.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?, pixels))
        };
        let (width, height, name) = shape().ok_or_else(|| InvalidRaw::Shape(beginning(text)))?;
        let known = PixelFormat::ALL.into_iter().find(|(known, _)| *known == name);
        let (_, pixels) = known.ok_or_else(|| InvalidRaw::Pixels(beginning(name)))?;
        Self { width, height, pixels, rate: Rate::DEFAULT }.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_format_is_read_and_written() {
        for (text, size) in [("1920x1080:rgb24", 6_220_800), ("3x3:yuv420p", 17), ("8x2:rgba", 64), ("8x2:gray8", 16)] {
            let format: RawFormat = text.parse().unwrap();
            assert_eq!(format.frame_size(), size);
            assert_eq!(format.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_raw_format_is_refused_with_the_value_and_the_limit() {
        let message = |text: &str| text.parse::<RawFormat>().expect_err(text).to_string();
        assert!(message("1920x1080").contains("expected WIDTHxHEIGHT:FORMAT"));
        assert!(message("-1x2:rgb24").contains(r#""-1x2:rgb24""#));
        assert!(message("0x2:rgb24").contains("between 1 and 32768"));
        assert!(message("2x2:nv12").contains(r#""nv12" is not a pixel format"#));
        assert!(message("32768x32768:rgba").contains("4294967296 bytes, more than the limit of 2147483648"));
    }
}
