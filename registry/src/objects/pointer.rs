//! The stored form of a blob: its size, and the lengths of its pieces in order.
//!
//! In and out: JSON. What must hold: the pieces make up the size exactly; a pointer is only written when all of
//! them are there and were hashed to the digest it is named by.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::ObjectsError;
use super::keys;
use super::limits::PIECES_MAX;
use crate::store::{StoreError, random_hex};

/// Where the bytes of a blob are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pointer {
    /// Bytes of the blob.
    pub(super) size: u64,
    /// The upload that it was: its pieces are below `data/<this>`.
    pub(super) data: String,
    /// How many pieces of which length follow each other.
    runs: Vec<(u64, u64)>,
    /// A word of chance: no two writings are the same, also where only their time is to be a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    word: String,
}

impl Pointer {
    pub(super) fn new(data: &str, lengths: &[u64]) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for length in lengths {
            match runs.last_mut() {
                Some((count, of)) if of == length => *count += 1,
                _ => runs.push((1, *length)),
            }
        }
        Self { size: lengths.iter().sum(), data: data.to_owned(), runs, word: String::new() }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let text = serde_json::to_vec(self).expect("numbers and one text are JSON");
        Bytes::from(text)
    }

    /// The same as another writing.
    pub(super) fn anew(&self) -> Result<Bytes, StoreError> {
        Ok(Self { word: random_hex()?, ..self.clone() }.to_bytes())
    }

    /// Whether both lead to the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.data, self.size) == (&other.data, other.size)
    }

    /// Reads a stored pointer; a damaged one counts as missing, so that pushing the blob again repairs it.
    pub(super) fn parse_or_tell(key: &str, bytes: &[u8]) -> Option<Self> {
        let parsed = Self::parse(key, bytes);
        parsed.inspect_err(|error| tracing::error!(%error, "a blob is damaged: push it again")).ok()
    }

    /// Reads a stored pointer.
    pub(super) fn parse(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |detail: String| ObjectsError::Damaged { key: key.to_owned(), detail };
        let pointer: Self =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let mut left = PIECES_MAX as u64;
        let mut size = 0_u64;
        for (count, length) in &pointer.runs {
            let sum = count.checked_mul(*length).and_then(|run| size.checked_add(run));
            let fits = left.checked_sub(*count).filter(|_| *length > 0 && *count > 0);
            let (Some(sum), Some(rest)) = (sum, fits) else {
                return Err(damaged("its pieces cannot be".to_owned()).into());
            };
            (size, left) = (sum, rest);
        }
        let name = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f' | b'-');
        if size != pointer.size || pointer.data.is_empty() || !pointer.data.bytes().all(name) {
            return Err(damaged("its pieces are not its size".to_owned()).into());
        }
        Ok(pointer)
    }

    /// Offset and length of every piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = 0;
        self.runs.iter().flat_map(|(count, length)| (0..*count).map(|_| *length)).map(
            move |length| {
                let offset = at;
                at += length;
                (offset, length)
            },
        )
    }

    /// Which bytes of which objects are `wanted`, in order.
    pub(super) fn parts(&self, wanted: &Range<u64>) -> Vec<(String, Range<u64>)> {
        self.pieces()
            .filter(|(offset, length)| *offset < wanted.end && offset + length > wanted.start)
            .map(|(offset, length)| {
                let start = wanted.start.saturating_sub(offset);
                let end = length.min(wanted.end - offset);
                (keys::piece(&self.data, offset), start..end)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pieces_take_one_entry_and_parts_cover_what_is_wanted() {
        let pointer = Pointer::new("ab-cd", &[10, 10, 10, 3]);
        let text = pointer.to_bytes();
        assert_eq!(&text[..], br#"{"size":33,"data":"ab-cd","runs":[[3,10],[1,3]]}"#);
        assert_eq!(Pointer::parse("k", &text).unwrap(), pointer);
        let key = |offset| keys::piece("ab-cd", offset);
        assert_eq!(pointer.parts(&(0..33)).len(), 4);
        assert_eq!(pointer.parts(&(9..11)), [(key(0), 9..10), (key(10), 0..1)]);
        assert_eq!(pointer.parts(&(31..33)), [(key(30), 1..3)]);
        assert!(pointer.parts(&(0..0)).is_empty());
        assert!(Pointer::parse("k", &Pointer::new("0", &[]).to_bytes()).is_ok());
    }

    #[test]
    fn damaged_pointers_are_refused() {
        for text in [
            "",
            "{}",
            r#"{"size":1,"data":"a","runs":[]}"#,
            r#"{"size":0,"data":"../x","runs":[]}"#,
            r#"{"size":0,"data":"a","runs":[[5,0]]}"#,
            r#"{"size":0,"data":"a","runs":[[0,5]]}"#,
            r#"{"size":0,"data":"a","runs":[[9223372036854775808,2]]}"#,
            r#"{"size":200000,"data":"a","runs":[[200000,1]]}"#,
            r#"{"size":1,"data":"a","runs":[[1,1]],"more":1}"#,
        ] {
            assert!(Pointer::parse("k", text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pointer_or_an_error(text in ".{0,200}") {
            let _ = Pointer::parse("k", text.as_bytes());
        }

        #[test]
        fn parts_make_up_the_range(lengths in proptest::collection::vec(1_u64..50, 0..20), a in 0_u64..1000, b in 0_u64..1000) {
            let pointer = Pointer::new("0", &lengths);
            let wanted = a.min(b).min(pointer.size)..a.max(b).min(pointer.size);
            let sum: u64 = pointer.parts(&wanted).iter().map(|(_, part)| part.end - part.start).sum();
            assert_eq!(sum, wanted.end - wanted.start);
        }
    }
}
