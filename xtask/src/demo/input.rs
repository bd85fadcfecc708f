//! The demo's video: generated frames, a Y4M file, or anything that ffmpeg can decode.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The video to stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// RGB frames that the writer generates.
    Generated(Resolution),
    /// A Y4M file.
    Y4m(PathBuf),
    /// A file that ffmpeg decodes into Y4M.
    Ffmpeg(PathBuf),
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolution {
    width: u32,
    height: u32,
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |(width, height): (&str, &str)| Some((width.parse().ok()?, height.parse().ok()?));
        match text.split_once('x').and_then(parse) {
            Some((width @ 1..=16384, height @ 1..=16384)) => Ok(Self { width, height }),
            Some(_) => Err("not between 1x1 and 16384x16384".into()),
            None => Err("expected WIDTHxHEIGHT, such as 1920x1080".into()),
        }
    }
}

impl Input {
    /// Chooses how to read `file` by its content or name; without a file, frames are generated.
    pub(super) fn choose(file: Option<&Path>, resolution: Resolution) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::Generated(resolution)) };
        if is_y4m(file)? {
            return Ok(Self::Y4m(file.to_owned()));
        }
        if which::which("ffmpeg").is_err() {
            bail!(
                "{} is not Y4M, and ffmpeg is not installed to decode it (on Debian: apt-get install ffmpeg)",
                file.display()
            );
        }
        Ok(Self::Ffmpeg(file.to_owned()))
    }

    /// The bytes of a frame, if they are known before the writer starts.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        match self {
            Self::Generated(Resolution { width, height }) => Some(u64::from(*width) * u64::from(*height) * 3),
            // No 8-bit format of Y4M is larger than RGB of the same resolution.
            Self::Y4m(file) => {
                y4m_resolution(file).map(|Resolution { width, height }| u64::from(width) * u64::from(height) * 3)
            }
            Self::Ffmpeg(_) => None,
        }
    }

    /// The decoder in front of the writer, if one is needed: it writes Y4M to its standard output.
    pub(super) fn decoder(&self) -> Option<Command> {
        let Self::Ffmpeg(file) = self else { return None };
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-i"]).arg(file);
        ffmpeg.args(["-map", "0:v:0", "-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p", "-"]);
        Some(ffmpeg)
    }

    /// The video's name, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Generated(resolution) => format!("generated, {resolution} RGB"),
            Self::Y4m(file) => format!("{} (Y4M)", file.display()),
            Self::Ffmpeg(file) => format!("{} (decoded by ffmpeg)", file.display()),
        }
    }
}

const Y4M_MAGIC: &[u8] = b"YUV4MPEG2";

fn is_y4m(file: &Path) -> Result<bool> {
    let opened = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    ensure!(opened.metadata().is_ok_and(|found| !found.is_dir()), "{} is a folder", file.display());
    let mut start = Vec::new();
    let read = opened.take(Y4M_MAGIC.len() as u64).read_to_end(&mut start);
    read.with_context(|| format!("failed to read {}", file.display()))?;
    Ok(start == Y4M_MAGIC || file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("y4m")))
}

/// The resolution in the header of a Y4M file, unchecked: the writer checks the header.
fn y4m_resolution(file: &Path) -> Option<Resolution> {
    let mut header = Vec::new();
    BufReader::new(File::open(file).ok()?.take(4096)).read_until(b'\n', &mut header).ok()?;
    let header = String::from_utf8_lossy(&header).into_owned();
    let number = |tag| header.split_whitespace().find_map(|word| word.strip_prefix(tag))?.parse().ok();
    Some(Resolution { width: number('W')?, height: number('H')? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn a_resolution_is_width_x_height_within_bounds() {
        assert_eq!("640x480".parse(), Ok(Resolution { width: 640, height: 480 }));
        for bad in ["", "640", "640x", "x480", "640x480x3", "-1x4", "0x480", "640x16385"] {
            assert!(bad.parse::<Resolution>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn y4m_is_known_by_its_magic_or_its_name() {
        let resolution = Resolution { width: 16, height: 8 };
        for (name, content) in [("a.y4m", &b""[..]), ("a.Y4M", b"?"), ("a.bin", b"YUV4MPEG2 W2 H2\nFRAME\n")] {
            let (_folder, path) = file(name, content);
            assert_eq!(Input::choose(Some(&path), resolution).unwrap(), Input::Y4m(path), "{name}");
        }
    }

    #[test]
    fn without_a_file_frames_are_generated() {
        let input = Input::choose(None, Resolution { width: 1920, height: 1080 }).unwrap();
        assert_eq!(input.frame_bytes(), Some(6_220_800));
        assert!(input.decoder().is_none());
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error =
            Input::choose(Some(Path::new("/nowhere/clip.y4m")), Resolution { width: 1, height: 1 }).unwrap_err();
        assert_eq!(error.to_string(), "failed to open /nowhere/clip.y4m");
    }

    #[test]
    fn the_size_of_y4m_frames_is_in_the_header() {
        let (_folder, path) = file("a.y4m", b"YUV4MPEG2 W320 H240 F30:1 Ip C420jpeg\nFRAME\n");
        assert_eq!(Input::Y4m(path).frame_bytes(), Some(320 * 240 * 3));
        let (_folder, path) = file("b.y4m", b"YUV4MPEG2 nothing\n");
        assert_eq!(Input::Y4m(path).frame_bytes(), None);
    }
}
