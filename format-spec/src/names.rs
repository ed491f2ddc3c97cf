//! The names of the OCI distribution specification and of this format.
//!
//! In: text from outside. Out: values that hold the grammar and the length limits, so that no code
//! after this checks them again. Grammar: OCI distribution specification v1.1, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{clip, from_hex, to_hex};
use crate::limits::{REPOSITORY_MAX, TAG_MAX};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what} ({rule}): `{text}`")]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl NameError {
    fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        Self { what, rule, text: clip(text) }
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_name! {
    /// A repository name without its registry: one or more path components joined by `/`.
    Repository
}
text_name! {
    /// A tag: 1 to 128 characters of `[A-Za-z0-9_][A-Za-z0-9._-]*`.
    Tag
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const RULE: &str = "lower-case letters, digits and single separators `.`, `_`, `__`, `-` \
                            in components joined by `/`, at most 255 characters";
        if text.is_empty()
            || text.len() > REPOSITORY_MAX
            || !text.split('/').all(|component| is_component(component.as_bytes()))
        {
            return Err(NameError::new("repository name", RULE, text));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Repository {
    /// The components between the slashes.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// This repository below `prefix`, or itself when there is no prefix.
    pub fn below(&self, prefix: Option<&Repository>) -> Result<Self, NameError> {
        match prefix {
            None => Ok(self.clone()),
            Some(prefix) => format!("{prefix}/{self}").parse(),
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &[u8]) -> bool {
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    text.split(alnum).all(|separator| match separator {
        [] | b"." | b"_" | b"__" => true,
        dashes => dashes.iter().all(|c| *c == b'-'),
    })
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const RULE: &str = "letters, digits, `_`, `.` and `-`, not starting with `.` or `-`, \
                            1 to 128 characters";
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let bytes = text.as_bytes();
        let ok = !bytes.is_empty()
            && bytes.len() <= TAG_MAX
            && word(bytes[0])
            && bytes.iter().all(|c| word(*c) || *c == b'.' || *c == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(NameError::new("tag", RULE, text)) }
    }
}

/// A stream: the chain of sequences that one workspace writes. 128 random bits, made at the first
/// create. Displays as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// The stream with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The first 8 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        to_hex(&self.0[..4])
    }
}

impl FromStr for StreamId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = [0; 16];
        from_hex(text, &mut bytes)
            .ok_or_else(|| NameError::new("stream id", "32 lower-case hexadecimal digits", text))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.short())
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The number of a sequence in its stream: 1, 2, 3 … up to 2^53 − 1, so that every JSON reader
/// agrees on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The first sequence of a stream.
    pub const FIRST: Self = Self(1);

    /// The sequence with this number; `None` for 0 and for numbers above 2^53 − 1.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > crate::limits::INTEGER_MAX { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this; `None` at the end of the range.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence({})", self.0)
    }
}

impl Serialize for Sequence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| serde::de::Error::custom("sequence out of range 1..2^53"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_grammar() {
        for good in ["a", "library/redis", "a/b/c/d/e", "a.b_c__d---e/0", "openshift/release"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "A", "a//b", "a..b", "a___b", "-a", "a-", "a/../b", "a b", "a:b",
            "a._b",
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<Repository>().is_ok());
        assert!("a".repeat(256).parse::<Repository>().is_err());
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["1", "v1.0", "_x", "sha256-abc.sig", "A-b.C_d"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "é", "a b"] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }

    #[test]
    fn sequences_have_bounds() {
        assert!(Sequence::new(0).is_none());
        assert!(Sequence::new(1 << 53).is_none());
        assert!(Sequence::new((1 << 53) - 1).unwrap().next().is_none());
    }
}
