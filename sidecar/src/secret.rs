//! [`SecretKey`]: a key as it comes from the command line, unchecked and hidden.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use framebuffer::Key;

/// A key from a flag or the environment. It accepts any string, because clap repeats a value that it refuses in its
/// error message; [`SecretKey::check`] then refuses without repeating it.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    /// The key, checked.
    ///
    /// # Errors
    ///
    /// If it is not a key; the message says why and does not contain it.
    pub fn check(&self) -> anyhow::Result<Key> {
        Key::new(self.0.as_str()).context("--key (FRAMEBUFFER_KEY) is not a key")
    }
}

impl FromStr for SecretKey {
    type Err = Infallible;

    fn from_str(key: &str) -> Result<Self, Infallible> {
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_is_refused_without_being_repeated() {
        let key: SecretKey = "hush/hush".parse().unwrap();
        let error = format!("{:#} {key:?}", key.check().unwrap_err());
        assert!(!error.contains("hush"), "{error}");
        assert!(error.contains("position 4"), "{error}");
    }
}
