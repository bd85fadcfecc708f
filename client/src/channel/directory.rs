//! [`Directory`]: which channels a ring has. A channel is there from the first time that somebody opens it until the
//! ring's end.
//!
//! A channel's place follows from its name: the first free one from the name's hash on, around. So two that open a new
//! channel at once want the same place, and one compare-and-swap of the hash decides: it is either the same channel, or
//! the loser goes on to the next place. The text of the name comes after it. Whoever opens the channel writes it, word
//! by word, where it is missing: all write the same. So nothing is left undone by one that dies.

use std::fmt;

use crate::checksum::hash;

use crate::layout::{CHANNELS, ChannelWords, NAME_LENGTH};
use crate::sync::{AtomicU64, Ordering};

/// Bytes of the longest name.
pub(crate) const LONGEST_NAME: usize = NAME_LENGTH - 1;

/// The name of a channel: 1 to 63 of `A-Za-z0-9._/-`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    words: [u64; NAME_LENGTH / 8],
    length: usize,
}

/// What is no name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidName {
    #[error("the name of a channel is empty; it has 1 to {LONGEST_NAME} bytes")]
    Empty,
    #[error("the name of a channel, `{name}`, has {} bytes; {LONGEST_NAME} are the most", name.len())]
    TooLong { name: String },
    #[error(
        "the name of a channel, `{name}`, has {character:?} in it; only A-Z, a-z, 0-9, `.`, `_`, `/` and `-` may be"
    )]
    Character { name: String, character: char },
}

impl Name {
    /// # Errors
    ///
    /// [`InvalidName`].
    pub(crate) fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.len() > LONGEST_NAME {
            return Err(InvalidName::TooLong { name: name.to_owned() });
        }
        let is_allowed = |character: &char| character.is_ascii_alphanumeric() || "._/-".contains(*character);
        if let Some(character) = name.chars().find(|character| !is_allowed(character)) {
            return Err(InvalidName::Character { name: name.to_owned(), character });
        }
        let mut bytes = [0; NAME_LENGTH];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { words: words_of(bytes), length: name.len() })
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

fn words_of(bytes: [u8; NAME_LENGTH]) -> [u64; NAME_LENGTH / 8] {
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
            if claimed.map_or_else(|found| found == hash, |_| true) && write_once(&channel.name, name) {
                return Ok(place);
            }
        }
        Err(Full)
    }

    /// The place of the channel with this name, if there is one.
    pub(crate) fn find(self, name: &Name) -> Option<usize> {
        let hash = name.hash();
        for place in places(hash) {
            match self.channels[place].name_hash.load(Ordering::Acquire) {
                0 => return None,
                found if found == hash && write_once(&self.channels[place].name, name) => return Some(place),
                _ => {}
            }
        }
        None
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

/// Writes the text where it is missing. False if another is there: one with the same hash.
fn write_once(to: &[AtomicU64], name: &Name) -> bool {
    to.iter().zip(name.words).all(|(to, word)| {
        let found = to.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed);
        found.map_or_else(|found| found == word, |_| true)
    })
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
        assert_eq!(directory.find(&name("camera")), None);
        let camera = directory.open(&name("camera")).expect("room");
        let depth = directory.open(&name("robot/depth_0.raw")).expect("room");
        assert_ne!(camera, depth);
        assert_eq!(directory.open(&name("camera")), Ok(camera));
        assert_eq!(directory.find(&name("robot/depth_0.raw")), Some(depth));
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
        assert_eq!(directory.find(&name("one-more")), None);
        assert!(names.iter().zip(&places).all(|(name, place)| directory.find(name) == Some(*place)));
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
        assert!(error("left camera").contains("`left camera`, has ' ' in it"));
        assert!(error("kamera\u{fc}").contains('\u{fc}'));
        assert!(Name::new(&"x".repeat(63)).is_ok());
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
