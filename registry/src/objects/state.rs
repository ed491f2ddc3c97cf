//! The state of an unfinished upload, which all replicas share: one small object for each.
//!
//! In and out: a line of text. What must hold: it changes only from what was read (conditional writes), so of
//! two replicas that finish an upload, or one that finishes and one that expires it, one is told no.

use bytes::Bytes;

use crate::content::ContentDigest;
use crate::store::{StoreError, random_hex};

/// What an upload is about to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It grows.
    Open,
    /// It is being made this blob, by a process that may be gone.
    Finishing(ContentDigest),
    /// It is being removed, unless it is that blob already.
    Expired(Option<ContentDigest>),
}

impl State {
    /// The stored text. The random word makes every writing another one, so that a writer knows its own.
    pub(super) fn to_bytes(self) -> Result<Bytes, StoreError> {
        let word = match self {
            Self::Open => "open".to_owned(),
            Self::Finishing(digest) => format!("finishing {digest}"),
            Self::Expired(None) => "expired".to_owned(),
            Self::Expired(Some(digest)) => format!("expired {digest}"),
        };
        Ok(Bytes::from(format!("{} {word}\n", random_hex()?)))
    }

    /// The blob that it may be.
    pub(super) fn blob(self) -> Option<ContentDigest> {
        match self {
            Self::Open => None,
            Self::Finishing(digest) => Some(digest),
            Self::Expired(digest) => digest,
        }
    }

    /// Whether it may be continued.
    pub(super) fn goes_on(self) -> bool {
        !matches!(self, Self::Expired(_))
    }

    /// Reads a stored text; what cannot be understood is nothing that may be continued.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut words = text.split_whitespace().skip(1);
        match (words.next(), words.next().map(str::parse)) {
            (Some("open"), None) => Self::Open,
            (Some("finishing"), Some(Ok(digest))) => Self::Finishing(digest),
            (Some("expired"), Some(Ok(digest))) => Self::Expired(Some(digest)),
            _ => Self::Expired(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_twice_the_same() {
        let digest = ContentDigest::of(crate::content::Algorithm::Sha512, b"x");
        let expired = [State::Expired(None), State::Expired(Some(digest))];
        for state in [State::Open, State::Finishing(digest)].into_iter().chain(expired) {
            let text = state.to_bytes().unwrap();
            assert_eq!(State::parse(&text), state);
            assert_ne!(text, state.to_bytes().unwrap());
        }
        assert_eq!(State::parse(b"nonsense"), State::Expired(None));
        assert_eq!(State::parse(b"x finishing y"), State::Expired(None));
    }
}
