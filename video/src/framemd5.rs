//! Frame checksums as `ffmpeg -f framemd5` prints them.

use std::fmt::Write as _;
use std::io::{self, Write};

use md5::{Digest, Md5};

use crate::format::Video;

/// Writes the lines that `ffmpeg -i clip -an -f framemd5 -` writes for the same frames; only `#software` differs.
#[derive(Debug)]
pub struct FrameMd5<W> {
    output: W,
    begun: bool,
}

impl<W: Write> FrameMd5<W> {
    /// Checksums into `output`.
    pub const fn new(output: W) -> Self {
        Self { output, begun: false }
    }

    /// Writes the line for frame `sequence`, before the first one the header for `video`.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub fn frame(&mut self, video: &Video, sequence: u64, frame: &[u8]) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.output.write_all(header(video).as_bytes())?;
        }
        let hash = Md5::digest(frame).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        writeln!(self.output, "0, {sequence:>10}, {sequence:>10}, {:>8}, {:>8}, {hash}", 1, frame.len())
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.output
    }

    /// Flushes the buffer.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

fn header(video: &Video) -> String {
    let rate = video.rate.or_default();
    let (num, den) = reduced(rate.num, rate.den);
    // ffmpeg reduces the time base, but not this.
    let sar = if video.aspect.0 == 0 || video.aspect.1 == 0 { (0, 1) } else { video.aspect };
    format!(
        "#format: frame checksums\n#version: 2\n#hash: MD5\n#software: {}\n#tb 0: {den}/{num}\n#media_type 0: video\n\
         #codec_id 0: rawvideo\n#dimensions 0: {}x{}\n#sar 0: {}/{}\n\
         #stream#, dts,        pts, duration,     size, hash\n",
        concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
        video.width,
        video.height,
        sar.0,
        sar.1
    )
}

fn reduced(num: u32, den: u32) -> (u32, u32) {
    let (mut a, mut b) = (num, den);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (num / a.max(1), den / a.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    #[test]
    fn the_lines_are_those_of_ffmpeg() {
        // From `ffmpeg -f rawvideo -s 2x2 -pix_fmt gray -r 30000/1001 -i four-a -f framemd5 -`, without the software.
        let expected = "#format: frame checksums\n#version: 2\n#hash: MD5\n#tb 0: 1001/30000\n#media_type 0: video\n\
                        #codec_id 0: rawvideo\n#dimensions 0: 2x2\n#sar 0: 0/1\n\
                        #stream#, dts,        pts, duration,     size, hash\n\
                        0,          0,          0,        1,        4, 74b87337454200d4d33f80c4663dc5e5\n";
        let rate = Rate { num: 30000, den: 1001 };
        let video = Video { width: 2, height: 2, rate, aspect: (0, 0), frame_size: 4 };
        let mut output = Vec::new();
        FrameMd5::new(&mut output).frame(&video, 0, b"aaaa").unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("#software"));
        assert_eq!(lines.collect::<String>(), expected);
    }
}
