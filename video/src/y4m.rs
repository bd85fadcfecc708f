//! Y4M, that is YUV4MPEG2: the header of a stream and of each frame, read and written.
//!
//! The `y4m` crate reads a frame only into a buffer of its own, keeps no value in its errors, and takes a truncated
//! file for a complete one, so it serves neither a frame that is read straight into the ring nor a clear message.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use thiserror::Error;

use crate::colour::Colour;
use crate::rate::Rate;
use crate::{MAX_FRAME, MAX_SIDE};

/// The longest header line, of a stream or a frame, in bytes without its newline.
pub const MAX_LINE: usize = 1024;

/// How the header of a stream begins.
pub const MAGIC: &str = "YUV4MPEG2";
const FRAME: &str = "FRAME";

/// The header of a Y4M stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second; 0:0 is unknown.
    pub rate: Rate,
    /// Width and height of a pixel; 0:0 is unknown.
    pub aspect: (u32, u32),
    /// Colourspace.
    pub colour: Colour,
    /// Every other parameter as it stands (`Ip`, `XCOLORRANGE=FULL`), in its order.
    pub others: Vec<String>,
}

/// Why a stream is not Y4M that these programs can carry.
#[derive(Debug, Error)]
pub enum Error {
    /// It begins with something else.
    #[error("not a Y4M stream: it begins with {0:?} instead of \"YUV4MPEG2\"")]
    NotY4m(String),
    /// A header line without an end.
    #[error("the {what} header is longer than the limit of {MAX_LINE} bytes")]
    LineTooLong {
        /// `stream` or `frame`.
        what: &'static str,
    },
    /// A header that is not text.
    #[error("the {what} header is not printable ASCII: {found:?}")]
    NotText {
        /// `stream` or `frame`.
        what: &'static str,
        /// How it begins.
        found: String,
    },
    /// A header without width or height.
    #[error("the stream header has no {0}")]
    Missing(&'static str),
    /// A parameter that does not mean anything.
    #[error("the stream header's {name} is {value:?}, expected {expected}")]
    Parameter {
        /// The parameter's value.
        name: &'static str,
        /// Its text.
        value: String,
        /// The expected value.
        expected: String,
    },
    /// A picture of more bytes than the limit.
    #[error("a frame of {width}x{height} in {colour} has {size} bytes, more than the limit of {MAX_FRAME}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Colourspace tag.
        colour: String,
        /// Bytes of a frame.
        size: u64,
    },
    /// Something else where a frame should begin.
    #[error("expected the header of frame {index}, \"FRAME\", but found {found:?}")]
    NoFrame {
        /// The frame's number, from 0.
        index: u64,
        /// The value found.
        found: String,
    },
    /// The stream ends inside a header.
    #[error("the stream ends inside the {what} header, after {found:?}")]
    Truncated {
        /// `stream` or `frame`.
        what: &'static str,
        /// Its beginning.
        found: String,
    },
    /// Reading failed.
    #[error("failed to read the stream")]
    Io(#[from] io::Error),
}

impl Header {
    /// Reads the header line of a stream. Returns the line too, without its newline, to be handed on as it stands.
    ///
    /// # Errors
    ///
    /// [`enum@Error`]; at most [`MAX_LINE`] + 1 bytes are consumed.
    pub fn read(input: &mut impl BufRead) -> Result<(Self, String), Error> {
        let line = read_line(input, "stream")?.unwrap_or_default();
        Ok((line.parse()?, line))
    }

    /// Bytes of one frame without its header.
    pub fn frame_size(&self) -> u64 {
        self.colour.frame_size(self.width, self.height)
    }
}

impl FromStr for Header {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let mut words = line.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(Error::NotY4m(beginning(line)));
        }
        let (mut width, mut height, mut colour) = (None, None, None);
        let (mut rate, mut aspect, mut others) = (Rate { num: 0, den: 0 }, (0, 0), Vec::new());
        for word in words.filter(|word| !word.is_empty()) {
            let value = word.get(1..).unwrap_or_default();
            match word.as_bytes()[0] {
                b'W' => width = Some(side("width", value)?),
                b'H' => height = Some(side("height", value)?),
                b'F' => {
                    let (num, den) = ratio("frame rate", value)?;
                    rate = Rate { num, den };
                }
                b'A' => aspect = ratio("pixel aspect", value)?,
                b'C' => colour = Some(colourspace(value)?),
                _ => others.push(word.to_owned()),
            }
        }
        let width = width.ok_or(Error::Missing("width"))?;
        let height = height.ok_or(Error::Missing("height"))?;
        let colour = match colour {
            Some(colour) => colour,
            None => older_colourspace(&others)?,
        };
        let size = colour.frame_size(width, height);
        if size > MAX_FRAME {
            return Err(Error::TooLarge { width, height, colour: colour.to_string(), size });
        }
        Ok(Self { width, height, rate, aspect, colour, others })
    }
}

impl fmt::Display for Header {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, rate, aspect, colour, others } = self;
        write!(f, "{MAGIC} W{width} H{height} F{rate} A{}:{} C{colour}", aspect.0, aspect.1)?;
        others.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// Reads the header of frame `index`; the frame's bytes follow. Returns its parameters, mostly empty, or `None` where
/// the stream ends.
///
/// # Errors
///
/// [`enum@Error`] if something else stands there.
pub fn read_frame_header(input: &mut impl BufRead, index: u64) -> Result<Option<String>, Error> {
    let Some(line) = read_line(input, "frame")? else { return Ok(None) };
    match line.strip_prefix(FRAME) {
        Some("") => Ok(Some(String::new())),
        Some(parameters) if parameters.starts_with(' ') => Ok(Some(parameters[1..].to_owned())),
        _ => Err(Error::NoFrame { index, found: beginning(&line) }),
    }
}

/// The header line of a frame, with its newline.
pub fn frame_header(parameters: &str) -> String {
    if parameters.is_empty() { format!("{FRAME}\n") } else { format!("{FRAME} {parameters}\n") }
}

/// Whether `text` can stand in a header line: printable ASCII, not longer than one.
pub fn is_header_text(text: &str) -> bool {
    text.len() <= MAX_LINE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// One header line without its newline, `None` at the end of the stream.
fn read_line(input: &mut impl BufRead, what: &'static str) -> Result<Option<String>, Error> {
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let ended = line.pop_if(|last| *last == b'\n').is_some();
    // A file of another kind has no lines, so check the magic first: the message must name that.
    if what == "stream" && !line.starts_with(MAGIC.as_bytes()) {
        return Err(Error::NotY4m(beginning(&String::from_utf8_lossy(&line))));
    }
    let found = || beginning(&String::from_utf8_lossy(&line));
    if !ended && line.len() > MAX_LINE {
        return Err(Error::LineTooLong { what });
    }
    if !line.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(Error::NotText { what, found: found() });
    }
    if !ended {
        return Err(Error::Truncated { what, found: found() });
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn side(name: &'static str, value: &str) -> Result<u32, Error> {
    let side = digits(value).filter(|side| (1..=MAX_SIDE).contains(side));
    side.ok_or_else(|| Error::Parameter {
        name,
        value: beginning(value),
        expected: format!("pixels between 1 and {MAX_SIDE}"),
    })
}

fn ratio(name: &'static str, value: &str) -> Result<(u32, u32), Error> {
    let ratio = value.split_once(':').and_then(|(num, den)| Some((digits(num)?, digits(den)?)));
    ratio.ok_or_else(|| Error::Parameter { name, value: beginning(value), expected: "a ratio like 30:1".to_owned() })
}

fn colourspace(tag: &str) -> Result<Colour, Error> {
    Colour::parse(tag).ok_or_else(|| Error::Parameter {
        name: "colourspace",
        value: beginning(tag),
        expected: format!("one of {}", Colour::KNOWN),
    })
}

/// The colourspace of a header without `C`: mjpegtools put it into a comment.
fn older_colourspace(others: &[String]) -> Result<Colour, Error> {
    let tag = others.iter().find_map(|word| word.strip_prefix("XYSCSS="));
    tag.map_or_else(|| Ok(Colour::default()), |tag| colourspace(&tag.to_ascii_lowercase()))
}

/// A number of digits only: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The beginning of something that may be anything, of any length, for a message.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
#[path = "y4m_tests.rs"]
mod tests;
