//! [`Key`]: the name of a ring, and the right to open it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of a ring: whoever knows it can open the segment `framebuffer-<key>`, if its file mode allows.
///
/// 1 to [`Key::MAX_LEN`] characters from `A-Z a-z 0-9 . _ -`, so a key never leads out of its folder.
/// A key is a secret: `Debug` hides it, and no error or log of this crate contains one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Why a string is not a [`Key`]. The message does not contain the string: it may be a mistyped secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// The empty string.
    #[error("a key needs at least 1 character")]
    Empty,
    /// Longer than [`Key::MAX_LEN`].
    #[error("a key of {len} characters is longer than the limit of {}", Key::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside `A-Z a-z 0-9 . _ -`.
    #[error("a key may contain only A-Z a-z 0-9 . _ -, not the character {character:?} at position {position}")]
    Character {
        /// The character.
        character: char,
        /// Its position in bytes, counted from 0.
        position: usize,
    },
}

impl Key {
    /// Length of the longest key, in bytes. (File names have at most 255.)
    pub const MAX_LEN: usize = 200;

    /// Validates `key`.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if it is empty, longer than [`Key::MAX_LEN`] or contains a character other than `A-Z a-z 0-9 . _
    /// -`.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = key.into();
        if key.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if key.len() > Self::MAX_LEN {
            return Err(InvalidKey::TooLong { len: key.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some((position, character)) = key.char_indices().find(|&(_, c)| !allowed(c)) {
            return Err(InvalidKey::Character { character, position });
        }
        Ok(Self(key))
    }

    /// A key of 128 random bits from the kernel, as 32 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// If the kernel provides no random bytes.
    pub fn random() -> std::io::Result<Self> {
        Ok(Self(format!("{:032x}", u128::from_ne_bytes(random_bytes()?))))
    }

    /// The key as a string, to pass it on.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `N` random bytes from the kernel (`getrandom`, which needs no `/dev`).
pub(crate) fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(key: &str) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_folder() {
        for bad in ["../x", "a/b", "a\0b", "a b", "ä"] {
            assert!(matches!(Key::new(bad), Err(InvalidKey::Character { .. })), "{bad:?}");
        }
        assert_eq!(Key::new(""), Err(InvalidKey::Empty));
        assert_eq!(Key::new("x".repeat(201)), Err(InvalidKey::TooLong { len: 201 }));
        Key::new("0b6f2f9e-3c3f-4d2f-9f53-9ac1a6a0c0de").expect("a pod UID is a key");
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert!(!format!("{:?}", Key::new("secret").unwrap()).contains("secret"));
    }
}
