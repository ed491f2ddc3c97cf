//! The SHA-256 digest of a blob, manifest, head, index, cell or cell table.
//!
//! In: text (`sha256:<64 lower-case hex>`) or 32 bytes. Out: a value that is a digest and nothing
//! else; the text it came from is never used again (CVE-2024-3727: an unvalidated digest became a
//! path).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;

/// A SHA-256 digest. Displays as `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_LEN]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm is registered by the OCI image specification but not carried by this format.
    #[error("digest algorithm `{0}` is not supported, only `sha256` is")]
    Algorithm(String),
    /// Anything else: not `sha256:` followed by 64 lower-case hexadecimal digits.
    #[error("not a digest (expected `sha256:` and 64 lower-case hexadecimal digits): `{0}`")]
    Syntax(String),
}

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// Hashes `data` in one call.
    pub fn of(data: &[u8]) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, data);
        let mut bytes = [0; DIGEST_LEN];
        bytes.copy_from_slice(hash.as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        to_hex(&self.0[..6])
    }

    /// Parses 64 lower-case hexadecimal digits without the algorithm.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; DIGEST_LEN];
        from_hex(hex, &mut bytes).ok_or_else(|| DigestError::Syntax(clip(hex)))?;
        Ok(Self(bytes))
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Fills `out` from exactly `2 * out.len()` lower-case hexadecimal digits; `None` for any other text.
pub fn from_hex(hex: &str, out: &mut [u8]) -> Option<()> {
    let hex = hex.as_bytes();
    if hex.len() != out.len() * 2 {
        return None;
    }
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(())
}

/// At most 100 characters of foreign text, for an error message.
pub(crate) fn clip(text: &str) -> String {
    printable(text, 100)
}

/// At most `limit` characters of text that holds foreign text. Part of it is shown before anything is
/// trusted, so what moves a terminal's cursor or turns its writing round is replaced
/// (CVE-2021-42574, ANSI escapes).
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(limit).map(|c| if moves(c) { '\u{fffd}' } else { c }).collect()
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", hex)) => {
                Self::from_hex(hex).map_err(|_| DigestError::Syntax(clip(text)))
            }
            Some((other @ ("sha512" | "sha384" | "blake3"), _)) => {
                Err(DigestError::Algorithm(other.to_owned()))
            }
            _ => Err(DigestError::Syntax(clip(text))),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; DIGEST_LEN]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_has_the_known_digest() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(clip("a\u{1b}[2J\r\u{202e}b"), "a\u{fffd}[2J\u{fffd}\u{fffd}b");
        assert_eq!(clip(&"é".repeat(1000)).chars().count(), 100);
    }

    #[test]
    fn only_canonical_text_parses() {
        let good = Digest::of(b"x").to_string();
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        assert!(good.to_uppercase().parse::<Digest>().is_err());
        assert!(good[..good.len() - 1].parse::<Digest>().is_err());
        assert!(format!("{good}0").parse::<Digest>().is_err());
        assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
        assert!(matches!(
            format!("sha512:{}", "0".repeat(128)).parse::<Digest>(),
            Err(DigestError::Algorithm(_))
        ));
    }
}
