//! The protocol between the two programs, one JSON object per line.
//!
//! ```text
//! writer -> reader   {"framebuffer_video":1,"container":"y4m","header":"YUV4MPEG2 W1280 ..."}      once, first
//!                    {"offset":64,"size":1382400,"checksum":"2d06800538d394c2","ring":"91b5c3f0a6e24d18",
//!                     "sequence":0,"sent_ns":91}                                                 per frame
//!                    {"end":300}                                                                    once, last
//! reader -> writer   {"sequence":0}                    per frame, only if the header has a "window"
//!                    {"sequence":1,"timeout":"overwritten"}
//! ```
//!
//! A connection that ends without the last line is a writer that died.

use framebuffer::{Checksum, Frame, RingId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::raw::{InvalidRaw, RawFormat};
use crate::{rate::Rate, y4m};

/// The version of these lines.
pub const VERSION: u32 = 1;

/// The largest window, in frames. Acknowledgements of a whole window fit into any socket's buffer, so that writer and
/// reader never wait for each other to receive.
pub const MAX_WINDOW: u32 = 128;

/// The first line: the format of the frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHeader {
    /// [`VERSION`].
    pub framebuffer_video: u32,
    /// Layout of a frame's bytes.
    #[serde(flatten)]
    pub format: Format,
    /// How many frames the writer keeps in flight; the reader then acknowledges each frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
}

/// Layout of a frame's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "container", rename_all = "lowercase")]
pub enum Format {
    /// Planes as Y4M has them.
    Y4m {
        /// The Y4M stream's header line.
        header: String,
    },
    /// Raw video.
    Raw(RawFormat),
}

/// A line for each frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Where the frame is in the ring.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// Their checksum.
    pub checksum: Checksum,
    /// The ring that they are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingId>,
    /// The frame's number in the stream, from 0.
    pub sequence: u64,
    /// When the line was sent, in nanoseconds of [`clock`](crate::clock).
    pub sent_ns: u64,
    /// Parameters of the frame's Y4M header, which is not in the ring.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parameters: String,
}

/// The reader's answer when it has finished with a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The frame's number.
    pub sequence: u64,
    /// Why it was not delivered, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    end: u64,
}

/// A line after the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A frame.
    Frame(Descriptor),
    /// The stream's regular end, after so many frames.
    End(u64),
}

/// A line that means nothing here.
#[derive(Debug, Error)]
pub enum Error {
    /// No JSON, or another object.
    #[error("not a line of this protocol: {line:?}")]
    Json {
        /// How the line begins.
        line: String,
        /// The fault.
        source: serde_json::Error,
    },
    /// Another version.
    #[error("the writer speaks version {0}, this reader version {VERSION}")]
    Version(u32),
    /// A Y4M header that cannot be.
    #[error("the stream's format cannot be used")]
    Y4m(#[from] y4m::Error),
    /// A raw format that cannot be.
    #[error("the stream's format cannot be used")]
    Raw(#[from] InvalidRaw),
    /// A window that cannot be.
    #[error("a window of {0} frames: it must be between 1 and {MAX_WINDOW}")]
    Window(u32),
    /// A frame that cannot be of this stream.
    #[error("frame {sequence} has {size} bytes, but frames of this stream have {expected}")]
    Size {
        /// The frame's number.
        sequence: u64,
        /// Its bytes.
        size: u64,
        /// A frame's bytes.
        expected: u64,
    },
    /// Frame parameters that would break the output.
    #[error("frame {sequence} has parameters that cannot stand in a Y4M header")]
    Parameters {
        /// The frame's number.
        sequence: u64,
    },
}

impl StreamHeader {
    /// The header of a stream.
    pub const fn new(format: Format, window: Option<u32>) -> Self {
        Self { framebuffer_video: VERSION, format, window }
    }

    /// Reads and checks the first line.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn parse(line: &str) -> Result<Self, Error> {
        let header: Self = parse(line)?;
        if header.framebuffer_video != VERSION {
            return Err(Error::Version(header.framebuffer_video));
        }
        if let Some(window) = header.window.filter(|window| !(1..=MAX_WINDOW).contains(window)) {
            return Err(Error::Window(window));
        }
        header.format.video()?;
        Ok(header)
    }
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
    /// Bytes of a frame.
    pub frame_size: u64,
}

impl Format {
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
}

impl Descriptor {
    /// The frame for the ring.
    pub const fn frame(&self) -> Frame {
        Frame { offset: self.offset, size: self.size, checksum: self.checksum, ring: self.ring }
    }
}

impl Line {
    /// Reads a line after the first and checks it against the stream.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn parse(line: &str, frame_size: u64) -> Result<Self, Error> {
        let descriptor: Descriptor = match parse(line) {
            Ok(descriptor) => descriptor,
            Err(error) => return parse(line).map(|End { end }| Self::End(end)).map_err(|_| error),
        };
        let Descriptor { size, sequence, .. } = descriptor;
        if size != frame_size {
            return Err(Error::Size { sequence, size, expected: frame_size });
        }
        if !y4m::is_header_text(&descriptor.parameters) {
            return Err(Error::Parameters { sequence });
        }
        Ok(Self::Frame(descriptor))
    }
}

impl Ack {
    /// Reads an acknowledgement.
    ///
    /// # Errors
    ///
    /// [`Error::Json`].
    pub fn parse(line: &str) -> Result<Self, Error> {
        parse(line)
    }
}

/// The line that ends a stream.
pub fn end_line(frames: u64) -> String {
    line(&End { end: frames })
}

/// `message` as a line.
///
/// # Panics
///
/// If `message` cannot be JSON; the messages of this module all can.
pub fn line(message: &impl Serialize) -> String {
    // Only maps with other keys than strings and failing `Serialize` implementations can fail here.
    let mut line = serde_json::to_string(message).expect("plain structs serialise");
    line.push('\n');
    line
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, Error> {
    serde_json::from_str(line).map_err(|source| Error::Json { line: line.chars().take(80).collect(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        let checksum = Checksum::of(b"frame");
        let ring = RingId::from_u64(5);
        Descriptor { offset: 64, size: 6, checksum, ring, sequence: 3, sent_ns: 9, parameters: String::new() }
    }

    #[test]
    fn lines_read_as_they_were_written() {
        let header = StreamHeader::new(Format::Raw("2x2:yuv420p".parse().unwrap()), Some(4));
        assert_eq!(StreamHeader::parse(line(&header).trim_end()).unwrap(), header);
        let header = StreamHeader::new(Format::Y4m { header: "YUV4MPEG2 W2 H2".to_owned() }, None);
        assert_eq!(StreamHeader::parse(line(&header).trim_end()).unwrap(), header);
        assert_eq!(Line::parse(&line(&descriptor()), 6).unwrap(), Line::Frame(descriptor()));
        assert_eq!(Line::parse(&end_line(7), 6).unwrap(), Line::End(7));
    }

    #[test]
    fn a_descriptor_has_the_fields_of_a_frame() {
        let line = line(&descriptor());
        assert_eq!(serde_json::from_str::<Frame>(&line).unwrap(), descriptor().frame());
        assert!(!line.contains("parameters"), "{line}");
    }

    #[test]
    fn what_cannot_be_of_this_stream_is_refused() {
        let message = |line: &str| Line::parse(line, 7).expect_err(line).to_string();
        assert!(message(&line(&descriptor())).contains("frame 3 has 6 bytes, but frames of this stream have 7"));
        assert!(message("GET / HTTP/1.1").contains(r#""GET / HTTP/1.1""#));
        let bad = Descriptor { size: 7, parameters: "Ip\nFRAME".to_owned(), ..descriptor() };
        assert!(message(&line(&bad)).contains("parameters"));
        let window = StreamHeader::new(Format::Raw("2x2:gray8".parse().unwrap()), Some(999));
        assert!(StreamHeader::parse(&line(&window)).unwrap_err().to_string().contains("between 1 and 128"));
        let header = r#"{"framebuffer_video":1,"container":"raw","width":99999,"height":1,"pixels":"rgb24",
                         "rate":{"num":1,"den":1}}"#;
        assert!(matches!(StreamHeader::parse(header), Err(Error::Raw(InvalidRaw::Side { .. }))));
    }
}
