//! [`Directory`]: which channels a ring has. A channel is there from the first time that somebody opens it until the
//! ring's end.
//!
//! A channel's place follows from its name: the first free one from the name's hash on, around. So two that open a new
//! channel at once want the same place, and one compare-and-swap of the hash decides: it is either the same channel, or
//! the loser goes on to the next place. The text of the name comes after it. Whoever opens the channel writes it, word
//! by word, where it is missing: all write the same. So nothing is left undone by one that dies.

use std::fmt;

use crate::checksum::hash;
use crate::error::channel::{ChannelError, LONGEST_CONTENT_TYPE, LONGEST_NAME};
use crate::layout::{CHANNELS, CONTENT_TYPE_LENGTH, ChannelWords, NAME_LENGTH};
use crate::sync::{AtomicU64, Ordering};

/// The name of a channel: 1 to 63 of `A-Za-z0-9._/-`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    words: [u64; NAME_LENGTH / 8],
    length: usize,
}

impl Name {
    /// # Errors
    ///
    /// [`ChannelError`].
    pub(crate) fn new(name: &str) -> Result<Self, ChannelError> {
        if name.is_empty() {
            return Err(ChannelError::NameEmpty);
        }
        if name.len() > LONGEST_NAME {
            return Err(ChannelError::NameTooLong { name: name.to_owned() });
        }
        let is_allowed = |character: &char| character.is_ascii_alphanumeric() || "._/-".contains(*character);
        if let Some(character) = name.chars().find(|character| !is_allowed(character)) {
            return Err(ChannelError::NameCharacter { name: name.to_owned(), character });
        }
        let mut bytes = [0; NAME_LENGTH];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { words: words_of(&bytes), length: name.len() })
    }

    pub(crate) fn as_str(&self) -> String {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).take(self.length).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Never 0.
    fn hash(&self) -> u64 {
        hash(self.as_str().as_bytes()).to_u64().max(1)
    }
}

fn words_of<const WORDS: usize>(bytes: &[u8]) -> [u64; WORDS] {
    std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| bytes[word * 8 + byte])))
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The channels of a ring.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'m> {
    /// [`CHANNELS`] of them.
    pub(crate) channels: &'m [ChannelWords],
}

/// All channels of the ring have other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Directory<'_> {
    /// The place of the channel with this name, which is made if there is none.
    pub(crate) fn open(self, name: &Name) -> Result<usize, Full> {
        let hash = name.hash();
        for place in places(hash) {
            let channel = &self.channels[place];
            let claimed = channel.name_hash.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire);
            if claimed.map_or_else(|found| found == hash, |_| true) && write_once(&channel.name, &name.words) {
                return Ok(place);
            }
        }
        Err(Full)
    }

    /// The places and names of all channels. One whose first opener died before it had written the name is not among
    /// them.
    pub(crate) fn list(self) -> impl Iterator<Item = (usize, Name)> {
        self.channels.iter().enumerate().filter_map(|(place, channel)| {
            let hash = channel.name_hash.load(Ordering::Acquire);
            let words = std::array::from_fn(|word| channel.name[word].load(Ordering::Relaxed));
            let name = read_name(words)?;
            (hash != 0 && name.hash() == hash).then_some((place, name))
        })
    }
}

/// The places at which a name may be, in order.
fn places(hash: u64) -> impl Iterator<Item = usize> {
    (0..CHANNELS).map(move |further| (hash as usize).wrapping_add(further) % CHANNELS)
}

/// Writes the text where it is missing. False if another is there.
fn write_once(to: &[AtomicU64], text: &[u64]) -> bool {
    to.iter().zip(text).all(|(to, &word)| {
        let found = to.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed);
        found.map_or_else(|found| found == word, |_| true)
    })
}

/// The byte that ends a content type.
const END: u8 = 0xff;

/// Gives the channel this content type, if it has none yet. An empty one asks for nothing.
///
/// The end is written too, so of two that are written at once, one beginning like the other, only one comes to its end.
///
/// # Errors
///
/// [`ChannelError::ContentTypeDiffers`] if it has another; [`ChannelError::ContentTypeTooLong`].
pub(crate) fn set_content_type(channel: &ChannelWords, name: &Name, asked: &str) -> Result<(), ChannelError> {
    if asked.is_empty() {
        return Ok(());
    }
    if asked.len() > LONGEST_CONTENT_TYPE {
        return Err(ChannelError::ContentTypeTooLong { length: asked.len() });
    }
    let mut bytes = [0; CONTENT_TYPE_LENGTH];
    bytes[..asked.len()].copy_from_slice(asked.as_bytes());
    bytes[asked.len()] = END;
    let words = asked.len() / 8 + 1;
    if write_once(&channel.content_type, &words_of::<{ CONTENT_TYPE_LENGTH / 8 }>(&bytes)[..words]) {
        return Ok(());
    }
    let found = content_type(channel).unwrap_or_default();
    Err(ChannelError::ContentTypeDiffers { name: name.as_str(), found, asked: asked.to_owned() })
}

/// The channel's content type. `None` if it has none, or it is not complete.
pub(crate) fn content_type(channel: &ChannelWords) -> Option<String> {
    let words = channel.content_type.iter().map(|word| word.load(Ordering::Relaxed));
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let length = bytes.iter().position(|byte| *byte == END)?;
    String::from_utf8(bytes[..length].to_vec()).ok()
}

/// The name in a channel's words. `None` if a program has scribbled on them, or they are not complete.
fn read_name(words: [u64; NAME_LENGTH / 8]) -> Option<Name> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = bytes.iter().position(|byte| *byte == 0)?;
    Name::new(std::str::from_utf8(&bytes[..length]).ok()?).ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn channels() -> Vec<ChannelWords> {
        (0..CHANNELS).map(|_| ChannelWords::default()).collect()
    }

    fn name(name: &str) -> Name {
        Name::new(name).expect("a name")
    }

    #[test]
    fn a_channel_is_found_by_its_name_and_made_only_once() {
        let channels = channels();
        let directory = Directory { channels: &channels };
        let camera = directory.open(&name("camera")).expect("room");
        let depth = directory.open(&name("robot/depth_0.raw")).expect("room");
        assert_ne!(camera, depth);
        assert_eq!(directory.open(&name("camera")), Ok(camera));
        let mut listed: Vec<_> = directory.list().map(|(_, name)| name.as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, ["camera", "robot/depth_0.raw"]);
    }

    #[test]
    fn there_is_room_for_all_channels_and_not_for_one_more() {
        let channels = channels();
        let directory = Directory { channels: &channels };
        let names: Vec<_> = (0..CHANNELS).map(|number| name(&format!("channel-{number}"))).collect();
        let mut places: Vec<_> = names.iter().map(|name| directory.open(name).expect("room")).collect();
        assert_eq!(directory.open(&name("one-more")), Err(Full));
        assert!(names.iter().zip(&places).all(|(name, place)| directory.open(name) == Ok(*place)));
        places.sort_unstable();
        assert_eq!(places, (0..CHANNELS).collect::<Vec<_>>());
    }

    #[test]
    fn a_channel_whose_maker_died_in_the_middle_is_completed_by_the_next() {
        let channels = channels();
        let directory = Directory { channels: &channels };
        let camera = name("a-name-of-more-than-one-word");
        let place = places(camera.hash()).next().expect("there are places");
        channels[place].name_hash.store(camera.hash(), Ordering::Relaxed);
        channels[place].name[0].store(camera.words[0], Ordering::Relaxed);
        assert_eq!(directory.list().count(), 0);
        assert_eq!(directory.open(&camera), Ok(place));
        assert_eq!(directory.list().collect::<Vec<_>>(), [(place, camera)]);
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_limit() {
        let error = |name: &str| Name::new(name).expect_err("no name").to_string();
        assert_eq!(error(""), "the name of a channel is empty; it has 1 to 63 bytes");
        assert!(error(&"x".repeat(64)).ends_with("has 64 bytes; 63 are the most"));
        assert!(error("left camera").contains("\"left camera\", has ' ' in it"));
        assert!(error("kamera\u{fc}").contains('\u{fc}'));
        assert!(Name::new(&"x".repeat(63)).is_ok());
    }

    #[test]
    fn a_channel_keeps_its_first_content_type_and_refuses_another() {
        let (channel, camera) = (ChannelWords::default(), name("camera"));
        assert_eq!(content_type(&channel), None);
        set_content_type(&channel, &camera, "").expect("nothing asked");
        // Eight bytes fill a word: the end is in the next.
        set_content_type(&channel, &camera, "image/ab").expect("the first");
        set_content_type(&channel, &camera, "image/ab").expect("the same");
        assert_eq!(content_type(&channel).as_deref(), Some("image/ab"));
        for other in ["image/abc", "image/a", "image/ac", &"x".repeat(LONGEST_CONTENT_TYPE)] {
            let error = set_content_type(&channel, &camera, other).expect_err("another");
            assert!(error.to_string().contains("\"image/ab\", and not"), "{error}");
        }
        let error = set_content_type(&channel, &camera, &"x".repeat(256)).expect_err("too long").to_string();
        assert_eq!(error, "a content type of 256 bytes: 255 are the most");
        let longest = ChannelWords::default();
        set_content_type(&longest, &camera, &"x".repeat(255)).expect("the longest");
        assert_eq!(content_type(&longest).map(|text| text.len()), Some(255));
    }

    #[test]
    fn of_threads_that_open_the_same_channels_at_once_all_find_the_same() {
        let channels = channels();
        let names: Vec<_> = (0..20).map(|number| name(&format!("channel/{number}/of/many"))).collect();
        let open = || {
            let directory = Directory { channels: &channels };
            names.iter().map(|name| directory.open(name).expect("room")).collect::<Vec<_>>()
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
