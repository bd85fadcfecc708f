//! Where the writer's frames come from: a file, standard input, or the [test picture](crate::pattern).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::format::Format;
use crate::pattern::Pattern;
use crate::raw::RawFormat;
use crate::shutdown::Stop;
use crate::y4m;

/// Small: whatever is buffered is copied once more on its way into the ring, and larger reads go around the buffer.
const BUFFER: usize = 4096;

/// Why there is no frame.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("failed to open {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The stream is not Y4M.
    #[error("failed to read {input}")]
    Y4m {
        /// Path, or `standard input`.
        input: String,
        /// Why.
        source: y4m::Error,
    },
    /// Reading failed.
    #[error("failed to read {input}")]
    Read {
        /// Path, or `standard input`.
        input: String,
        /// Why.
        source: io::Error,
    },
    /// The stream ends inside a frame.
    #[error("{input} ends inside frame {frame}: it has {read} of the frame's {size} bytes")]
    Truncated {
        /// Path, or `standard input`.
        input: String,
        /// The frame's number, from 0.
        frame: u64,
        /// Bytes that are there.
        read: usize,
        /// Bytes of a frame.
        size: usize,
    },
    /// A file that changed between two rounds.
    #[error("{input} has another format now than in the first round: {now} instead of {first}")]
    Changed {
        /// Path.
        input: String,
        /// The first round's header.
        first: String,
        /// This round's header.
        now: String,
    },
}

/// Where frames come from.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    input: Option<Input>,
    looping: bool,
    /// Frames read in this round.
    frames: u64,
}

#[derive(Debug)]
enum Kind {
    /// Format of the pictures, and the header.
    Y4m(y4m::Header, String),
    Raw(RawFormat),
    Generated(Pattern),
}

impl Source {
    /// Frames out of a Y4M stream; `-` is standard input. `looping`: from the start again at the end.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or is not Y4M.
    pub fn y4m(path: &Path, looping: bool, stop: &Stop) -> Result<Self, Error> {
        let mut input = Input::open(path, stop)?;
        let (header, line) = input.y4m_header()?;
        Ok(Self { kind: Kind::Y4m(header, line), input: Some(input), looping, frames: 0 })
    }

    /// Raw frames; `-` is standard input.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn raw(path: &Path, format: RawFormat, looping: bool, stop: &Stop) -> Result<Self, Error> {
        Ok(Self { kind: Kind::Raw(format), input: Some(Input::open(path, stop)?), looping, frames: 0 })
    }

    /// The test picture, without end.
    pub fn generated(format: RawFormat) -> Self {
        Self { kind: Kind::Generated(Pattern::new(format)), input: None, looping: false, frames: 0 }
    }

    /// Format of the frames.
    pub fn format(&self) -> Format {
        match &self.kind {
            Kind::Y4m(_, line) => Format::Y4m { header: line.clone() },
            Kind::Raw(format) => Format::Raw(*format),
            Kind::Generated(pattern) => Format::Raw(pattern.format()),
        }
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u64 {
        match &self.kind {
            Kind::Y4m(header, _) => header.frame_size(),
            Kind::Raw(format) => format.frame_size(),
            Kind::Generated(pattern) => pattern.format().frame_size(),
        }
    }

    /// Goes to the next frame and returns its Y4M parameters, or `None` at the end of the stream. Separate from
    /// [`fill`](Self::fill), so that the end costs no room in the ring.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn advance(&mut self) -> Result<Option<String>, Error> {
        let Some(input) = &mut self.input else { return Ok(Some(String::new())) };
        loop {
            let next = match &self.kind {
                Kind::Y4m(..) => input.y4m_frame(self.frames)?,
                Kind::Raw(_) | Kind::Generated(_) => input.more()?.then(String::new),
            };
            // An empty file has no next round either.
            if next.is_some() || !self.looping || self.frames == 0 {
                return Ok(next);
            }
            input.rewind(&self.kind)?;
            self.frames = 0;
        }
    }

    /// Reads or draws the frame into `frame`, which has [`frame_size`](Self::frame_size) bytes. `sequence`: the number
    /// to draw.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn fill(&mut self, sequence: u64, frame: &mut [u8]) -> Result<(), Error> {
        match (&self.kind, &mut self.input) {
            (Kind::Generated(pattern), _) => pattern.draw(sequence, frame),
            (_, Some(input)) => input.fill(self.frames, frame)?,
            (_, None) => {}
        }
        self.frames += 1;
        Ok(())
    }
}

/// A file or standard input.
#[derive(Debug)]
struct Input {
    path: PathBuf,
    name: String,
    stop: Stop,
    reader: BufReader<Interruptible>,
}

impl Input {
    fn open(path: &Path, stop: &Stop) -> Result<Self, Error> {
        let stdin = path == Path::new("-");
        let file = if stdin { io::stdin().as_fd().try_clone_to_owned().map(File::from) } else { File::open(path) };
        let file = file.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        let name = if stdin { "standard input".to_owned() } else { path.display().to_string() };
        let reader = BufReader::with_capacity(BUFFER, Interruptible { file, stop: stop.clone() });
        Ok(Self { path: path.to_owned(), name, stop: stop.clone(), reader })
    }

    fn y4m_header(&mut self) -> Result<(y4m::Header, String), Error> {
        y4m::Header::read(&mut self.reader).map_err(|source| Error::Y4m { input: self.name.clone(), source })
    }

    fn y4m_frame(&mut self, index: u64) -> Result<Option<String>, Error> {
        let header = y4m::read_frame_header(&mut self.reader, index);
        header.map_err(|source| Error::Y4m { input: self.name.clone(), source })
    }

    /// Whether there is another byte.
    fn more(&mut self) -> Result<bool, Error> {
        let more = self.reader.fill_buf().map(|bytes| !bytes.is_empty());
        more.map_err(|source| Error::Read { input: self.name.clone(), source })
    }

    fn fill(&mut self, frame: u64, target: &mut [u8]) -> Result<(), Error> {
        let (size, mut read) = (target.len(), 0);
        while read < size {
            match self.reader.read(&mut target[read..]) {
                Ok(0) => return Err(Error::Truncated { input: self.name.clone(), frame, read, size }),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { input: self.name.clone(), source }),
            }
        }
        Ok(())
    }

    fn rewind(&mut self, kind: &Kind) -> Result<(), Error> {
        *self = Self::open(&self.path, &self.stop)?;
        let Kind::Y4m(_, first) = kind else { return Ok(()) };
        let (_, now) = self.y4m_header()?;
        if now == *first {
            return Ok(());
        }
        Err(Error::Changed { input: self.name.clone(), first: first.clone(), now })
    }
}

/// A file whose reads end when the program is asked to stop, also while a pipe has nothing to read.
#[derive(Debug)]
struct Interruptible {
    file: File,
    stop: Stop,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.wait_readable(self.file.as_fd())? {
            self.file.read(buffer)
        } else {
            Err(io::Error::other("asked to stop"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    fn all(source: &mut Source, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut frames = Vec::new();
        while let Some(parameters) = source.advance()? {
            let mut frame = vec![0; source.frame_size() as usize];
            source.fill(frames.len() as u64, &mut frame)?;
            frames.push((parameters, frame));
            if frames.len() == limit {
                break;
            }
        }
        Ok(frames)
    }

    #[test]
    fn the_frames_of_a_y4m_file_come_with_their_parameters() {
        let file = file(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME Ip\ncd");
        let mut source = Source::y4m(file.path(), false, &Stop::default()).unwrap();
        let frames = all(&mut source, 9).unwrap();
        assert_eq!(frames, [(String::new(), b"ab".to_vec()), ("Ip".to_owned(), b"cd".to_vec())]);
    }

    #[test]
    fn a_looping_file_begins_again_and_an_empty_one_ends() {
        let y4m = file(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\ncd");
        let mut source = Source::y4m(y4m.path(), true, &Stop::default()).unwrap();
        let frames: Vec<u8> = all(&mut source, 5).unwrap().into_iter().flat_map(|(_, frame)| frame).collect();
        assert_eq!(frames, b"abcdabcdab");
        let empty = file(b"YUV4MPEG2 W2 H1 Cmono\n");
        assert_eq!(all(&mut Source::y4m(empty.path(), true, &Stop::default()).unwrap(), 9).unwrap().len(), 0);
    }

    #[test]
    fn raw_frames_are_cut_by_their_size_and_a_large_one_passes_the_buffer() {
        let bytes: Vec<u8> = (0..300 * 100 * 2_u32).map(|n| (n / 7) as u8).collect();
        let file = file(&bytes);
        let mut source = Source::raw(file.path(), "300x100:gray8".parse().unwrap(), false, &Stop::default()).unwrap();
        let frames: Vec<u8> = all(&mut source, 9).unwrap().into_iter().flat_map(|(_, frame)| frame).collect();
        assert_eq!(frames, bytes);
    }

    #[test]
    fn a_truncated_frame_is_an_error_that_says_how_much_there_is() {
        let file = file(b"abcdefgh");
        let mut source = Source::raw(file.path(), "3x1:gray8".parse().unwrap(), true, &Stop::default()).unwrap();
        let error = all(&mut source, 9).unwrap_err().to_string();
        assert!(error.ends_with("ends inside frame 2: it has 2 of the frame's 3 bytes"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::y4m(Path::new("/nowhere/clip.y4m"), false, &Stop::default()).unwrap_err();
        assert_eq!(error.to_string(), "failed to open /nowhere/clip.y4m");
    }
}
