//! Where the reader's frames go: a file or standard output, and their checksums.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use clap::ValueEnum;
use thiserror::Error;

use crate::convert::{has_tag, to_yuv444, y4m_header};
use crate::format::{self, Format, Video};
use crate::framemd5::FrameMd5;
use crate::raw::PixelFormat;
use crate::y4m;

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// Y4M where the frames have a Y4M tag (Y4M input, gray8, yuv420p), raw otherwise (rgb24, bgr24, rgba)
    #[default]
    Auto,
    /// Always Y4M: colours are converted to 4:4:4 (BT.601, limited range)
    Y4m,
    /// Only the frames' bytes, one frame after the other
    Raw,
}

/// Why a frame was not written.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be created.
    #[error("failed to create {path}")]
    Create {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("failed to write the output")]
    Write(#[from] io::Error),
    /// The next writer sends something else, and one file cannot hold both.
    #[error("the stream is {now}, but the output already holds {first}")]
    Changed {
        /// The first stream's format.
        first: String,
        /// This stream's format.
        now: String,
    },
    /// A format that cannot be.
    #[error("failed to understand the stream's format")]
    Format(#[from] format::Error),
}

type Output = BufWriter<File>;

/// Where frames go.
#[derive(Debug)]
pub struct Sink {
    output: Option<Output>,
    output_format: OutputFormat,
    framemd5: Option<FrameMd5<Output>>,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    format: Format,
    video: Video,
    style: Style,
    converted: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Bytes,
    Y4m,
    Converted(PixelFormat),
}

impl Sink {
    /// A sink into `output` and, with their checksums, `framemd5`; `-` is standard output.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new(output: Option<&Path>, output_format: OutputFormat, framemd5: Option<&Path>) -> Result<Self, Error> {
        let output = output.map(create).transpose()?;
        let framemd5 = framemd5.map(create).transpose()?.map(FrameMd5::new);
        Ok(Self { output, output_format, framemd5, stream: None })
    }

    /// Begins a stream, or goes on with the one before if it is the same.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] if there is a file that already holds another format.
    pub fn begin(&mut self, format: &Format) -> Result<(), Error> {
        let keeps = self.output.is_some() || self.framemd5.is_some();
        if let Some(stream) = self.stream.as_ref().filter(|_| keeps) {
            if stream.format == *format {
                return Ok(());
            }
            return Err(Error::Changed { first: describe(&stream.format), now: describe(format) });
        }
        let style = style(format, self.output_format);
        let header = match format {
            Format::Y4m { header } => header.clone(),
            Format::Raw(raw) => y4m_header(raw),
        };
        if let Some(output) = self.output.as_mut().filter(|_| !matches!(style, Style::Bytes)) {
            writeln!(output, "{header}")?;
        }
        self.stream = Some(Stream { format: format.clone(), video: format.video()?, style, converted: Vec::new() });
        Ok(())
    }

    /// Writes a frame of the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn frame(&mut self, sequence: u64, parameters: &str, frame: &[u8]) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if let Some(framemd5) = &mut self.framemd5 {
            framemd5.frame(&stream.video, sequence, frame)?;
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        if !matches!(stream.style, Style::Bytes) {
            output.write_all(y4m::frame_header(parameters).as_bytes())?;
        }
        if let Style::Converted(pixels) = stream.style {
            to_yuv444(pixels, frame, &mut stream.converted);
            output.write_all(&stream.converted)?;
        } else {
            output.write_all(frame)?;
        }
        // Whoever watches the stream gets each frame when it is there.
        Ok(output.flush()?)
    }

    /// Flushes the buffers.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.output.as_mut().map_or(Ok(()), Write::flush)?;
        Ok(self.framemd5.as_mut().map_or(Ok(()), FrameMd5::flush)?)
    }
}

fn create(path: &Path) -> Result<Output, Error> {
    // Not `Stdout` itself, which looks for the newlines in every frame.
    let stdout = || io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let file = if path == Path::new("-") { stdout() } else { File::create(path) };
    file.map(BufWriter::new).map_err(|source| Error::Create { path: path.display().to_string(), source })
}

const fn style(format: &Format, wanted: OutputFormat) -> Style {
    match (format, wanted) {
        (_, OutputFormat::Raw) => Style::Bytes,
        (Format::Y4m { .. }, _) => Style::Y4m,
        (Format::Raw(raw), _) if has_tag(raw.pixels) => Style::Y4m,
        (Format::Raw(_), OutputFormat::Auto) => Style::Bytes,
        (Format::Raw(raw), OutputFormat::Y4m) => Style::Converted(raw.pixels),
    }
}

fn describe(format: &Format) -> String {
    match format {
        Format::Y4m { header } => format!("Y4M ({header})"),
        Format::Raw(raw) => format!("raw {raw}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, output_format: OutputFormat, frame: &[u8]) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sink = Sink::new(Some(file.path()), output_format, None).unwrap();
        let format = match format.parse() {
            Ok(raw) => Format::Raw(raw),
            Err(_) => Format::Y4m { header: format.to_owned() },
        };
        sink.begin(&format).unwrap();
        sink.frame(0, "", frame).unwrap();
        sink.begin(&format).unwrap();
        sink.frame(1, "Ip", frame).unwrap();
        sink.flush().unwrap();
        let other = Format::Raw("9x9:gray8".parse().unwrap());
        assert!(matches!(sink.begin(&other), Err(Error::Changed { .. })));
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn y4m_goes_out_as_it_came_in() {
        let file = written("YUV4MPEG2 W2 H1 Cmono XK=1", OutputFormat::Auto, b"ab");
        assert_eq!(file, b"YUV4MPEG2 W2 H1 Cmono XK=1\nFRAME\nabFRAME Ip\nab");
        assert_eq!(written("YUV4MPEG2 W2 H1 Cmono", OutputFormat::Raw, b"ab"), b"abab");
    }

    #[test]
    fn colours_are_raw_unless_a_conversion_is_asked_for() {
        assert_eq!(written("1x1:rgb24", OutputFormat::Auto, b"abc"), b"abcabc");
        let file = written("1x1:rgb24", OutputFormat::Y4m, &[255; 3]);
        assert_eq!(file, b"YUV4MPEG2 W1 H1 F25:1 Ip A0:0 C444\nFRAME\n\xeb\x80\x80FRAME Ip\n\xeb\x80\x80");
        assert!(written("1x1:gray8", OutputFormat::Auto, b"a").starts_with(b"YUV4MPEG2 W1 H1"));
    }
}
