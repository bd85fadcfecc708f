//! Raw formats as Y4M: which tag they get, and the conversion of those that have none.

use crate::raw::{PixelFormat, RawFormat};

/// The Y4M header line for a raw format. Colours (which Y4M does not have) become 4:4:4.
pub fn y4m_header(format: &RawFormat) -> String {
    let RawFormat { width, height, pixels, rate } = format;
    let colour = match pixels {
        PixelFormat::Gray8 => "mono",
        PixelFormat::Yuv420p => "420jpeg",
        PixelFormat::Rgb24 | PixelFormat::Bgr24 | PixelFormat::Rgba => "444",
    };
    format!("YUV4MPEG2 W{width} H{height} F{rate} Ip A0:0 C{colour}")
}

/// Whether frames of `pixels` have the same bytes in Y4M.
pub const fn has_tag(pixels: PixelFormat) -> bool {
    matches!(pixels, PixelFormat::Gray8 | PixelFormat::Yuv420p)
}

/// Converts a frame of colours to 4:4:4 (BT.601, limited range, as players assume of Y4M) into `planes`. Drops opacity.
/// A frame that [has a tag](has_tag) is copied.
pub fn to_yuv444(pixels: PixelFormat, frame: &[u8], planes: &mut Vec<u8>) {
    planes.clear();
    let (channels, red, blue) = match pixels {
        PixelFormat::Rgb24 => (3, 0, 2),
        PixelFormat::Bgr24 => (3, 2, 0),
        PixelFormat::Rgba => (4, 0, 2),
        PixelFormat::Gray8 | PixelFormat::Yuv420p => return planes.extend_from_slice(frame),
    };
    let pixels = frame.len() / channels;
    planes.resize(3 * pixels, 0);
    let (luma, chroma) = planes.split_at_mut(pixels);
    let (cb, cr) = chroma.split_at_mut(pixels);
    let targets = luma.iter_mut().zip(cb).zip(cr);
    for (pixel, ((y, cb), cr)) in frame.chunks_exact(channels).zip(targets) {
        let (r, g, b) = (i32::from(pixel[red]), i32::from(pixel[1]), i32::from(pixel[blue]));
        *y = clamp(((66 * r + 129 * g + 25 * b + 128) >> 8) + 16);
        *cb = clamp(((-38 * r - 74 * g + 112 * b + 128) >> 8) + 128);
        *cr = clamp(((112 * r - 94 * g - 18 * b + 128) >> 8) + 128);
    }
}

fn clamp(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_colours_become_their_bt601_values() {
        let colours = [
            ([255, 255, 255], [235, 128, 128]),
            ([0, 0, 0], [16, 128, 128]),
            ([255, 0, 0], [82, 90, 240]),
            ([0, 0, 255], [41, 240, 110]),
        ];
        for (rgb, yuv) in colours {
            let [r, g, b] = rgb;
            for (pixels, frame) in [
                (PixelFormat::Rgb24, vec![r, g, b]),
                (PixelFormat::Bgr24, vec![b, g, r]),
                (PixelFormat::Rgba, vec![r, g, b, 7]),
            ] {
                let mut planes = Vec::new();
                to_yuv444(pixels, &frame, &mut planes);
                assert_eq!(planes, yuv, "{pixels} {rgb:?}");
            }
        }
    }

    #[test]
    fn a_header_for_every_raw_format_reads_back() {
        for format in ["5x3:rgb24", "5x3:rgba", "5x3:gray8", "5x3:yuv420p"] {
            let format: RawFormat = format.parse().unwrap();
            let header: crate::y4m::Header = y4m_header(&format).parse().unwrap();
            let size = if has_tag(format.pixels) { format.frame_size() } else { 45 };
            assert_eq!(header.frame_size(), size, "{format}");
        }
    }
}
