//! Tests of [`super`]: real headers, wrong ones, and whatever proptest comes up with.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn read(bytes: impl AsRef<[u8]>) -> Result<Header, Error> {
    Header::read(&mut Cursor::new(bytes.as_ref())).map(|(header, _)| header)
}

fn message(bytes: impl AsRef<[u8]>) -> String {
    read(bytes).expect_err("a wrong header").to_string()
}

#[test]
fn a_header_as_ffmpeg_writes_it_is_understood() {
    let header = read("YUV4MPEG2 W1280 H720 F25:1 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2\nFRAME\n").unwrap();
    assert_eq!((header.width, header.height), (1280, 720));
    assert_eq!((header.rate, header.aspect), (Rate { num: 25, den: 1 }, (1, 1)));
    assert_eq!(header.others, ["Ip", "XYSCSS=420MPEG2"]);
    assert_eq!(header.frame_size(), 1_382_400);
}

#[test]
fn without_a_colourspace_the_older_comment_counts_and_then_420() {
    assert_eq!(read("YUV4MPEG2 W2 H2 XYSCSS=444\n").unwrap().frame_size(), 12);
    assert_eq!(read("YUV4MPEG2 W2 H2\n").unwrap().frame_size(), 6);
}

#[test]
fn a_wrong_header_is_refused_with_the_value_and_the_limit() {
    assert_eq!(message("RIFF1234"), r#"not a Y4M stream: it begins with "RIFF1234" instead of "YUV4MPEG2""#);
    assert!(message("").contains("not a Y4M stream"));
    assert!(message([0xff; 4096]).contains("not a Y4M stream"));
    assert!(message("YUV4MPEG2 H2\n").contains("no width"));
    assert!(message("YUV4MPEG2 W0 H2\n").contains(r#"width is "0", expected pixels between 1 and 32768"#));
    assert!(message("YUV4MPEG2 W99999999999 H2\n").contains(r#""99999999999""#));
    assert!(message("YUV4MPEG2 W+2 H2\n").contains(r#"width is "+2""#));
    assert!(message("YUV4MPEG2 W2 H2 F25\n").contains(r#"frame rate is "25""#));
    assert!(message("YUV4MPEG2 W2 H2 C999\n").contains(r#"colourspace is "999", expected one of 420"#));
    assert!(
        message("YUV4MPEG2 W32768 H32768 C444p16\n").contains("6442450944 bytes, more than the limit of 2147483648")
    );
    assert!(message(format!("YUV4MPEG2 W2 H2 X{}\n", "x".repeat(2000))).contains("longer than the limit of 1024"));
    assert!(message("YUV4MPEG2 W2 H2").contains("ends inside the stream header"));
    assert!(message(b"YUV4MPEG2 W2\0 H2\n").contains("not printable ASCII"));
}

#[test]
fn a_frame_header_keeps_its_parameters() {
    let mut input = Cursor::new("FRAME\nFRAME Ip XQ=3\nFRAMES\n");
    assert_eq!(read_frame_header(&mut input, 0).unwrap().as_deref(), Some(""));
    assert_eq!(read_frame_header(&mut input, 1).unwrap().as_deref(), Some("Ip XQ=3"));
    let error = read_frame_header(&mut input, 2).unwrap_err().to_string();
    assert_eq!(error, r#"expected the header of frame 2, "FRAME", but found "FRAMES""#);
    assert!(read_frame_header(&mut input, 3).unwrap().is_none());
    assert_eq!(frame_header(""), "FRAME\n");
    assert_eq!(frame_header("Ip"), "FRAME Ip\n");
}

#[test]
fn the_longest_line_is_exactly_the_limit() {
    let line = format!("YUV4MPEG2 W2 H2 X{}", "x".repeat(MAX_LINE - 17));
    assert_eq!(line.len(), MAX_LINE);
    assert!(read(format!("{line}\n")).is_ok());
    assert!(matches!(read(format!("{line}x\n")), Err(Error::LineTooLong { .. })));
}

fn colour() -> impl Strategy<Value = Colour> {
    const TAGS: &[&str] = &[
        "420", "420jpeg", "420paldv", "420mpeg2", "411", "422", "444", "444alpha", "mono", "mono12", "420p10",
        "422p12", "444p16",
    ];
    prop::sample::select(TAGS).prop_map(|tag| Colour::parse(tag).expect("a known tag"))
}

prop_compose! {
    fn header()(
        width in 1..=4096_u32,
        height in 1..=4096_u32,
        num in any::<u32>(),
        den in any::<u32>(),
        aspect in any::<(u32, u32)>(),
        colour in colour(),
        others in prop::collection::vec("[IX][!-~]{0,20}", 0..8),
    ) -> Header {
        Header { width, height, rate: Rate { num, den }, aspect, colour, others }
    }
}

/// Text that is nearly a header, so that the search gets past the first word.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word =
        prop_oneof!["[WHFAICX][0-9:a-z+-]{0,12}", "[ -~]{0,9}", Just("C420p10".to_owned()), Just("W8 H8".to_owned())];
    let text =
        prop::collection::vec(word, 0..9).prop_map(|words| format!("YUV4MPEG2 {}\n", words.join(" ")).into_bytes());
    (text, any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(|(mut text, at, byte)| {
        let at = at.index(text.len());
        if let Some(byte) = byte {
            text[at] = byte;
        }
        text
    })
}

proptest! {
    #[test]
    fn a_header_that_is_written_reads_the_same(header in header()) {
        prop_assert_eq!(read(format!("{header}\n")).unwrap(), header);
    }

    #[test]
    fn no_input_panics_and_what_is_accepted_is_within_the_limits(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..3000), nearly()],
    ) {
        if let Ok(header) = read(&bytes) {
            prop_assert!((1..=MAX_SIDE).contains(&header.width) && (1..=MAX_SIDE).contains(&header.height));
            prop_assert!(header.frame_size() <= MAX_FRAME);
            prop_assert_eq!(read(format!("{header}\n")).unwrap(), header);
        }
        let _ = read_frame_header(&mut Cursor::new(&bytes), 0);
    }
}
