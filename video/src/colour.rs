//! [`Colour`]: the colourspace tags of Y4M, and the frame sizes that they imply.

use std::fmt;

/// How chroma is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// No chroma: grey.
    Mono,
    /// Chroma halved in both directions.
    C420,
    /// Chroma halved horizontally.
    C422,
    /// Chroma quartered horizontally.
    C411,
    /// Full chroma.
    C444,
    /// Full chroma, and a plane of transparency.
    C444Alpha,
}

/// A colourspace tag: sampling and bits per sample, and the tag itself, because several mean the same layout
/// (`420jpeg` and `420mpeg2` differ in where a chroma sample sits, not in bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colour {
    tag: String,
    sampling: Sampling,
    bits: u32,
}

/// Sampling names with the suffixes that are known for them besides a bit depth.
const FAMILIES: [(&str, Sampling, &[&str]); 5] = [
    ("mono", Sampling::Mono, &[]),
    ("420", Sampling::C420, &["jpeg", "paldv", "mpeg2"]),
    ("422", Sampling::C422, &[]),
    ("411", Sampling::C411, &[]),
    ("444", Sampling::C444, &[]),
];

impl Colour {
    /// The tags that [`Colour::parse`] knows, for messages.
    pub const KNOWN: &str = "420, 420jpeg, 420paldv, 420mpeg2, 411, 422, 444, 444alpha, mono, each of 420, 422 and 444 \
                             with p9 to p16, and mono9 to mono16";

    /// Reads a tag without its `C`: `420mpeg2`, `422p10`, `mono16`.
    pub fn parse(tag: &str) -> Option<Self> {
        let colour = |sampling, bits| Some(Self { tag: tag.to_owned(), sampling, bits });
        if tag == "444alpha" {
            return colour(Sampling::C444Alpha, 8);
        }
        let (base, sampling, suffixes) = FAMILIES.into_iter().find(|(base, ..)| tag.starts_with(base))?;
        let suffix = &tag[base.len()..];
        if suffix.is_empty() || suffixes.contains(&suffix) {
            return colour(sampling, 8);
        }
        // Grey is written `mono10`, everything else `420p10`; 4:1:1 exists with 8 bits only.
        let bits = match sampling {
            Sampling::Mono => suffix,
            Sampling::C411 => return None,
            _ => suffix.strip_prefix('p')?,
        };
        let bits = ["9", "10", "12", "14", "16"].contains(&bits).then(|| bits.parse().ok())??;
        colour(sampling, bits)
    }

    /// Bytes of a frame of `width` x `height`: planes one after the other, odd sides rounded up, two bytes per sample
    /// above 8 bits.
    pub fn frame_size(&self, width: u32, height: u32) -> u64 {
        let (width, height) = (u64::from(width), u64::from(height));
        let luma = width * height;
        let extra = match self.sampling {
            Sampling::Mono => 0,
            Sampling::C420 => 2 * width.div_ceil(2) * height.div_ceil(2),
            Sampling::C422 => 2 * width.div_ceil(2) * height,
            Sampling::C411 => 2 * width.div_ceil(4) * height,
            Sampling::C444 => 2 * luma,
            Sampling::C444Alpha => 3 * luma,
        };
        (luma + extra) * if self.bits > 8 { 2 } else { 1 }
    }
}

impl Default for Colour {
    /// The meaning of a header without a tag.
    fn default() -> Self {
        Self { tag: "420jpeg".to_owned(), sampling: Sampling::C420, bits: 8 }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_gives_the_size_that_ffmpeg_writes() {
        // Sizes of one 1280x720 frame as `ffmpeg -strict -1 -pix_fmt ... -f yuv4mpegpipe` wrote it.
        let sizes = [
            ("420", 1_382_400),
            ("420jpeg", 1_382_400),
            ("420paldv", 1_382_400),
            ("420mpeg2", 1_382_400),
            ("411", 1_382_400),
            ("422", 1_843_200),
            ("444", 2_764_800),
            ("444alpha", 3_686_400),
            ("mono", 921_600),
            ("mono10", 1_843_200),
            ("mono16", 1_843_200),
            ("420p9", 2_764_800),
            ("420p16", 2_764_800),
            ("422p10", 3_686_400),
            ("444p14", 5_529_600),
        ];
        for (tag, size) in sizes {
            let colour = Colour::parse(tag).expect(tag);
            assert_eq!(colour.frame_size(1280, 720), size, "{tag}");
            assert_eq!(colour.to_string(), tag);
        }
    }

    #[test]
    fn odd_sides_round_up() {
        assert_eq!(Colour::default().frame_size(3, 3), 9 + 2 * 4);
        assert_eq!(Colour::parse("411").unwrap().frame_size(5, 1), 5 + 2 * 2);
    }

    #[test]
    fn unknown_tags_are_refused() {
        for bad in ["", "4", "420p", "420p8", "420p11", "420p+9", "411p10", "monop10", "444alpha10", "rgb24", "422jpeg"]
        {
            assert_eq!(Colour::parse(bad), None, "{bad}");
        }
    }
}
