//! [`Format`]: what the frames of a channel are. The channel's content type says so:
//!
//! ```text
//! YUV4MPEG2 W1280 H720 F30:1 Ip A1:1 C420jpeg    a Y4M stream's own header
//! video/x-raw,format=RGB,width=1280,height=720    raw frames: caps, as GStreamer writes them
//! ```
//!
//! All writers of a channel must agree on that for as long as its ring lives, so the rate of raw frames is not in it.
//!
//! A frame is the picture's bytes; where a Y4M frame has parameters, they follow. The user word is the frame's number
//! in its stream, from 0. A frame without bytes ends the stream; its user word is the number of frames.

use framebuffer::{ChannelError, Descriptor, Element};
use thiserror::Error;

use crate::raw::{InvalidRaw, PixelFormat, RawFormat};
use crate::{rate::Rate, y4m};

/// How the content type of raw frames begins.
const CAPS: &str = "video/x-raw";

/// Layout of a frame's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Planes as Y4M has them.
    Y4m {
        /// The Y4M stream's header line.
        header: String,
    },
    /// Raw video.
    Raw(RawFormat),
}

/// Format of a stream's pictures, whatever carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Video {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second; 0:0 is unknown.
    pub rate: Rate,
    /// Width and height of a pixel; 0:0 is unknown.
    pub aspect: (u32, u32),
    /// Bytes of a picture.
    pub frame_size: u64,
}

/// Why frames cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The channel says nothing of its frames, or something else.
    #[error("content type {0:?} is no video: expected a Y4M header (YUV4MPEG2 ...) or {CAPS},format=...,width=...")]
    ContentType(String),
    /// Raw frames of an unknown kind.
    #[error("content type {content_type:?}: {field} is missing, or not one that is known here")]
    Field {
        /// The content type.
        content_type: String,
        /// The field's name.
        field: &'static str,
    },
    /// A Y4M header that cannot be.
    #[error("the stream's format cannot be used")]
    Y4m(#[from] y4m::Error),
    /// A raw format that cannot be.
    #[error("the stream's format cannot be used")]
    Raw(#[from] InvalidRaw),
    /// A frame that cannot be of this stream.
    #[error("frame {number} has {size} bytes, but pictures of this stream have {expected}")]
    Size {
        /// The frame's number in the channel.
        number: u64,
        /// Its bytes.
        size: usize,
        /// A picture's bytes.
        expected: u64,
    },
    /// Frame parameters that would break the output.
    #[error("frame {number} has parameters that cannot stand in a Y4M header")]
    Parameters {
        /// The frame's number in the channel.
        number: u64,
    },
}

impl Format {
    /// Reads and checks a channel's content type.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn parse(content_type: &str) -> Result<Self, Error> {
        let format = if content_type.starts_with(y4m::MAGIC) {
            Self::Y4m { header: content_type.to_owned() }
        } else {
            Self::Raw(parse_caps(content_type)?)
        };
        format.video()?;
        Ok(format)
    }

    /// The content type of a channel with such frames.
    pub fn content_type(&self) -> String {
        match self {
            Self::Y4m { header } => header.clone(),
            Self::Raw(RawFormat { width, height, pixels, rate: _ }) => {
                format!("{CAPS},format={},width={width},height={height}", pixels.caps())
            }
        }
    }

    /// Checks the format and returns that of its pictures.
    ///
    /// # Errors
    ///
    /// [`Error::Y4m`] or [`Error::Raw`].
    pub fn video(&self) -> Result<Video, Error> {
        Ok(match self {
            Self::Y4m { header } => {
                if header.len() > y4m::MAX_LINE {
                    return Err(y4m::Error::LineTooLong { what: "stream" }.into());
                }
                if !y4m::is_header_text(header) {
                    let found = header.chars().take(40).collect();
                    return Err(y4m::Error::NotText { what: "stream", found }.into());
                }
                let header: y4m::Header = header.parse()?;
                let frame_size = header.frame_size();
                let y4m::Header { width, height, rate, aspect, .. } = header;
                Video { width, height, rate, aspect, frame_size }
            }
            Self::Raw(raw) => {
                let RawFormat { width, height, pixels: _, rate } = raw.check()?;
                Video { width, height, rate, aspect: (0, 0), frame_size: raw.frame_size() }
            }
        })
    }

    /// What is said of each frame, for readers that know nothing of video: shape, element and pixel format of raw
    /// pictures. Y4M's many layouts have no shape.
    ///
    /// # Errors
    ///
    /// Never for a format that was checked.
    pub fn descriptor(&self) -> Result<Descriptor, ChannelError> {
        let Self::Raw(RawFormat { width, height, pixels, .. }) = *self else { return Ok(Descriptor::new()) };
        let descriptor = Descriptor::new().element(Element::U8).fourcc(pixels.fourcc());
        let (width, height) = (width as usize, height as usize);
        match pixels {
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => descriptor.shape(&[height, width, 3]),
            PixelFormat::Rgba => descriptor.shape(&[height, width, 4]),
            PixelFormat::Gray8 => descriptor.shape(&[height, width]),
            PixelFormat::Yuv420p => Ok(descriptor),
        }
    }
}

impl Video {
    /// The picture in frame `number` of the channel, and its Y4M parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] or [`Error::Parameters`].
    pub fn split<'f>(&self, number: u64, frame: &'f [u8]) -> Result<(&'f [u8], &'f str), Error> {
        let (size, expected) = (frame.len(), self.frame_size);
        let at = usize::try_from(expected).ok().filter(|&at| at <= size && size - at <= y4m::MAX_LINE);
        let (picture, parameters) = frame.split_at(at.ok_or(Error::Size { number, size, expected })?);
        let parameters = std::str::from_utf8(parameters).ok().filter(|text| y4m::is_header_text(text));
        Ok((picture, parameters.ok_or(Error::Parameters { number })?))
    }
}

/// Caps: a media type and fields behind commas, whose values may name their type: `width=(int)1280`.
fn parse_caps(content_type: &str) -> Result<RawFormat, Error> {
    let unknown = || Error::ContentType(content_type.chars().take(80).collect());
    let mut fields = content_type.split(',').map(str::trim);
    if fields.next() != Some(CAPS) {
        return Err(unknown());
    }
    let fields: Vec<(&str, &str)> = fields.filter_map(|field| field.split_once('=')).collect();
    let value = |name: &'static str| {
        let value = fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        value.map(|value| value.rsplit_once(')').map_or(value, |(_, value)| value)).unwrap_or_default()
    };
    let wrong = |field| Error::Field { content_type: content_type.to_owned(), field };
    let number = |field| value(field).parse().map_err(|_| wrong(field));
    let pixels = PixelFormat::from_caps(value("format")).ok_or_else(|| wrong("format"))?;
    let rate = value("framerate").parse().unwrap_or(Rate::DEFAULT);
    Ok(RawFormat { width: number("width")?, height: number("height")?, pixels, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_all_of_a_format() {
        for text in ["2x2:yuv420p", "640x480:rgb24", "1x1:bgr24", "3x5:rgba", "7x1:gray8"] {
            let format = Format::Raw(text.parse().unwrap());
            assert_eq!(Format::parse(&format.content_type()).unwrap(), format);
        }
        let format = Format::Y4m { header: "YUV4MPEG2 W2 H2 F30:1 C420jpeg XCOLORRANGE=FULL".to_owned() };
        assert_eq!(Format::parse(&format.content_type()).unwrap(), format);
    }

    #[test]
    fn caps_are_read_as_gstreamer_writes_them() {
        let caps = "video/x-raw, format=(string)BGR, width=(int)320, height=(int)240, framerate=(fraction)25/1, \
                    interlace-mode=(string)progressive";
        let Format::Raw(raw) = Format::parse(caps).unwrap() else { panic!("raw") };
        assert_eq!((raw.to_string(), raw.rate), ("320x240:bgr24".to_owned(), Rate { num: 25, den: 1 }));
    }

    #[test]
    fn what_is_no_video_is_refused_with_its_content_type() {
        let message = |text: &str| Format::parse(text).expect_err(text).to_string();
        assert!(message("").contains(r#"content type "" is no video: expected a Y4M header"#));
        assert!(message("application/json").contains(r#""application/json""#));
        assert!(message("video/x-raw,format=NV12,width=1,height=1").contains("format is missing, or not one"));
        assert!(message("video/x-raw,format=RGB,width=1").contains("height is missing"));
        let wide = Format::parse("video/x-raw,format=RGB,width=99999,height=1");
        assert!(matches!(wide, Err(Error::Raw(InvalidRaw::Side { .. }))));
        assert!(matches!(Format::parse("YUV4MPEG2 nothing"), Err(Error::Y4m(_))));
    }

    #[test]
    fn parameters_follow_the_picture() {
        let video = Format::parse("YUV4MPEG2 W2 H1 Cmono").unwrap().video().unwrap();
        assert_eq!(video.split(3, b"ab").unwrap(), (&b"ab"[..], ""));
        assert_eq!(video.split(3, b"abIp XN=1").unwrap(), (&b"ab"[..], "Ip XN=1"));
        let message = |frame: &[u8]| video.split(3, frame).unwrap_err().to_string();
        assert_eq!(message(b"a"), "frame 3 has 1 bytes, but pictures of this stream have 2");
        assert!(message(&[b'x'; 10_000]).contains("10000 bytes"));
        for bad in [&b"abIp\nFRAME"[..], b"ab\xff"] {
            assert!(message(bad).contains("parameters that cannot stand in a Y4M header"));
        }
    }

    #[test]
    fn a_raw_picture_has_its_shape() {
        let descriptor = |text: &str| Format::Raw(text.parse().unwrap()).descriptor().unwrap();
        assert_eq!(descriptor("640x480:rgb24").dimensions(), [480, 640, 3]);
        assert_eq!(descriptor("640x480:rgba").dimensions(), [480, 640, 4]);
        assert_eq!(descriptor("640x480:gray8").dimensions(), [480, 640]);
        let planar = descriptor("640x480:yuv420p");
        assert_eq!((planar.dimensions(), planar.pixel_format().to_string()), (&[][..], "YU12".to_owned()));
    }
}
