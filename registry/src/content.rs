//! The name of content in a registry: its digest, by SHA-256 or SHA-512.
//!
//! In: text (`sha256:` and 64, or `sha512:` and 128 lower-case hexadecimal digits) or bytes to hash. Out: a
//! value that is a digest and nothing else. The format on media knows SHA-256 alone (`format_spec::Digest`), and so do
//! the client and what goes through it; a registry stores what clients push, and some push SHA-512.

use std::fmt;
use std::str::FromStr;

use format_spec::Digest;
use format_spec::digest::{from_hex, to_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a SHA-512 digest.
const LONG: usize = 64;

/// A way to make digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As in the text of a digest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn ring(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha512 => &ring::digest::SHA512,
        }
    }
}

/// The digest of a blob or manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentDigest {
    /// By SHA-256.
    Sha256(Digest),
    /// By SHA-512.
    Sha512([u8; LONG]),
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a digest (expected `sha256:` and 64, or `sha512:` and 128 lower-case hexadecimal digits): `{0}`"
)]
pub struct ContentDigestError(String);

impl ContentDigest {
    /// Hashes `data` in one call.
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut hasher = ContentHasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// Parses the digits alone; their number tells the algorithm.
    pub fn from_hex(hex: &str) -> Result<Self, ContentDigestError> {
        let short = || Digest::from_hex(hex).ok().map(Self::Sha256);
        let mut bytes = [0; LONG];
        let digest = match from_hex(hex, &mut bytes) {
            Some(()) => Some(Self::Sha512(bytes)),
            None => short(),
        };
        digest.ok_or_else(|| ContentDigestError::quoting(hex))
    }

    /// How it was made.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// As the format on media names it; `None` by another algorithm.
    pub const fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Sha256(digest) => Some(*digest),
            Self::Sha512(_) => None,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(digest) => digest.as_bytes(),
            Self::Sha512(bytes) => bytes,
        }
    }

    /// Lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        to_hex(self.as_bytes())
    }
}

impl ContentDigestError {
    fn quoting(text: &str) -> Self {
        Self(text.chars().take(150).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl From<&Digest> for ContentDigest {
    fn from(digest: &Digest) -> Self {
        Self::Sha256(*digest)
    }
}

impl From<&Self> for ContentDigest {
    fn from(digest: &Self) -> Self {
        *digest
    }
}

impl PartialEq<Digest> for ContentDigest {
    fn eq(&self, other: &Digest) -> bool {
        *self == Self::Sha256(*other)
    }
}

impl FromStr for ContentDigest {
    type Err = ContentDigestError;

    fn from_str(text: &str) -> Result<Self, ContentDigestError> {
        let digest = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => Self::from_hex(hex).ok(),
            Some(("sha512", hex)) if hex.len() == 128 => Self::from_hex(hex).ok(),
            _ => None,
        };
        digest.ok_or_else(|| ContentDigestError::quoting(text))
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), to_hex(&self.as_bytes()[..6]))
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A running hash of content.
#[derive(Clone)]
pub struct ContentHasher(Algorithm, ring::digest::Context);

impl ContentHasher {
    /// The hash of nothing, so far.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(algorithm, ring::digest::Context::new(algorithm.ring()))
    }

    /// How it hashes.
    pub const fn algorithm(&self) -> Algorithm {
        self.0
    }

    /// Takes in `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.1.update(data);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> ContentDigest {
        let hash = self.1.finish();
        match self.0 {
            Algorithm::Sha256 => {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(hash.as_ref());
                ContentDigest::Sha256(Digest::from_bytes(bytes))
            }
            Algorithm::Sha512 => {
                let mut bytes = [0; LONG];
                bytes.copy_from_slice(hash.as_ref());
                ContentDigest::Sha512(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_have_the_known_digest_of_nothing() {
        let of = |algorithm| ContentDigest::of(algorithm, b"").to_string();
        assert_eq!(of(Algorithm::Sha256), Digest::of(b"").to_string());
        assert_eq!(
            of(Algorithm::Sha512),
            "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
        );
    }

    #[test]
    fn only_canonical_text_parses() {
        for algorithm in Algorithm::ALL {
            let digest = ContentDigest::of(algorithm, b"x");
            let good = digest.to_string();
            assert_eq!(good.parse(), Ok(digest));
            assert_eq!(ContentDigest::from_hex(&digest.hex()), Ok(digest));
            assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{good}\""));
            for bad in [good.to_uppercase(), good[..good.len() - 1].to_owned(), format!("{good}0")]
            {
                assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
            }
        }
        let crossed = format!("sha512:{}", Digest::of(b"").hex());
        for bad in
            [crossed.as_str(), "sha512:..", "sha256:../../etc/passwd", "sha384:00", "", "latest"]
        {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
        }
    }
}
