//! An index file from front to back, one entry at a time: for who keeps thousands of indexes and needs a look at each.
//!
//! In: a reader at the start of an index file. Out: its entries in order. What must hold: memory is that of one entry, and
//! of the list of repositories for who wants it, whatever the file says; nothing is reserved for a number before that many
//! entries were read. The whole of an index, with the rules that bind its entries to each other, is [`codec`](crate::codec)'s.

use std::io::{ErrorKind, Read};

use crate::codec::{CodecError, PREFIX, payload_len};
use crate::digest::{DIGEST_LEN, Digest};
use crate::head::ContentClass;
use crate::index::{Blob, Encoding, ManifestEntry, ReferenceEntry, Removal, Required, Resource};
use crate::limits::{BLOBS_MAX, INDEX_MAX, MEDIA_TYPE_MAX, PIECES_MAX, REFERENCES_MAX, TEXT_MAX};
use crate::names::{Repository, Sequence, StreamId, Tag};
use crate::part::Piece;

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A manifest that the sequence carries.
    Manifest(ManifestEntry),
    /// A blob that it carries.
    Blob(Blob),
    /// A blob that earlier sequences carried and this one needs.
    Required(Required),
    /// A name that it sets.
    Reference(ReferenceEntry),
    /// A name that left the configuration.
    Removal(Removal),
}

/// What is to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Manifests,
    Blobs,
    Required,
    References,
    Removals,
    End,
}

/// The entries of an index file. After an error there are none.
#[derive(Debug)]
pub struct Entries<R> {
    reader: R,
    /// Bytes of the payload that were not read yet.
    left: u64,
    /// The stream.
    pub stream: StreamId,
    /// The sequence.
    pub sequence: Sequence,
    /// The repositories to whose places the entries' numbers point. A number may be beyond the list.
    pub repositories: Vec<Repository>,
    list: List,
    count: u64,
}

impl<R: Read> Entries<R> {
    /// Reads up to the first entry. The reader should be buffered.
    pub fn open(reader: R) -> Result<Self, CodecError> {
        let mut repositories = Vec::new();
        let mut entries = Self::open_with(reader, |name| repositories.push(name))?;
        entries.repositories = repositories;
        Ok(entries)
    }

    /// The same without the list of repositories, which may be the most of an index: `each` gets them one by one.
    pub fn open_with(mut reader: R, mut each: impl FnMut(Repository)) -> Result<Self, CodecError> {
        let mut prefix = [0; PREFIX];
        reader.read_exact(&mut prefix).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => CodecError::Magic,
            _ => CodecError::Payload(error.to_string()),
        })?;
        let left = payload_len(&prefix)?;
        if left > INDEX_MAX {
            return Err(CodecError::TooLarge(left));
        }
        let (stream, sequence) = (StreamId::from_bytes([0; 16]), Sequence::FIRST);
        let (repositories, list) = (Vec::new(), List::Manifests);
        let mut entries = Self { reader, left, stream, sequence, repositories, list, count: 0 };
        entries.stream = StreamId::from_bytes(entries.array()?);
        let sequence = entries.u64()?;
        entries.sequence = Sequence::new(sequence)
            .ok_or_else(|| CodecError::Value(format!("sequence {sequence}")))?;
        for _ in 0..entries.number("repositories", REFERENCES_MAX)? {
            let name = entries.text(TEXT_MAX)?;
            each(value(name.parse())?);
        }
        entries.count = entries.number("manifests", BLOBS_MAX)?;
        Ok(entries)
    }

    /// The resources, behind all entries; entries that were not asked for are passed over. Their contents and names
    /// together have at most `most` bytes. The reader is behind the last byte of the index then.
    pub fn resources(mut self, most: u64) -> Result<(Vec<Resource>, R), CodecError> {
        self.try_for_each(|entry| entry.map(drop))?;
        let count = self.number("resources", REFERENCES_MAX)?;
        let mut left = most;
        let mut resources = Vec::new();
        for _ in 0..count {
            let name = self.text(TEXT_MAX)?;
            let length = self.u64()?;
            left = left
                .checked_sub(name.len() as u64)
                .and_then(|left| left.checked_sub(length))
                .ok_or_else(|| {
                    CodecError::Payload(format!("more than {most} bytes of resources"))
                })?;
            // As they arrive: the number may be a lie.
            let mut content = Vec::new();
            let within = self.left.checked_sub(length);
            self.left = within
                .ok_or_else(|| CodecError::Payload("it ends within a resource".to_owned()))?;
            let read = (&mut self.reader).take(length).read_to_end(&mut content);
            match read {
                Ok(read) if read as u64 == length => resources.push(Resource { name, content }),
                Ok(_) => return Err(CodecError::Payload("it ends within a resource".to_owned())),
                Err(error) => return Err(CodecError::Payload(error.to_string())),
            }
        }
        match self.left {
            0 => Ok((resources, self.reader)),
            left => Err(CodecError::Payload(format!("{left} bytes after its end"))),
        }
    }

    /// The reader, behind the last byte that was read.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn step(&mut self) -> Result<Option<Entry>, CodecError> {
        while self.count == 0 {
            let (list, most) = match self.list {
                List::Manifests => (List::Blobs, BLOBS_MAX),
                List::Blobs => (List::Required, BLOBS_MAX),
                List::Required => (List::References, REFERENCES_MAX),
                List::References => (List::Removals, REFERENCES_MAX),
                // The resources are for the importer.
                List::Removals | List::End => {
                    self.list = List::End;
                    return Ok(None);
                }
            };
            self.list = list;
            self.count = self.number("entries", most)?;
        }
        self.count -= 1;
        let entry = match self.list {
            List::Manifests => Entry::Manifest(ManifestEntry {
                digest: self.digest()?,
                size: self.u64()?,
                media_type: self.text(MEDIA_TYPE_MAX)?,
                pieces: self.pieces()?,
                repositories: self.places()?,
            }),
            List::Blobs => Entry::Blob(Blob {
                digest: self.digest()?,
                size: self.u64()?,
                encoding: match self.array::<1>()? {
                    [0] => Encoding::Raw,
                    [other] => return Err(CodecError::Value(format!("encoding {other}"))),
                },
                pieces: self.pieces()?,
                repositories: self.places()?,
            }),
            List::Required => Entry::Required(Required {
                digest: self.digest()?,
                size: self.u64()?,
                home: self.u32()?,
                repositories: self.places()?,
            }),
            List::References => Entry::Reference(ReferenceEntry {
                repository: self.u32()?,
                tag: self.tag()?,
                digest: self.digest()?,
                source: self.text(TEXT_MAX)?,
                class: {
                    let [code] = self.array()?;
                    ContentClass::from_code(code)
                        .ok_or_else(|| CodecError::Value(format!("content class {code}")))?
                },
            }),
            List::Removals | List::End => Entry::Removal(Removal {
                repository: self.u32()?,
                tag: self.tag()?,
                digest: self.digest()?,
            }),
        };
        Ok(Some(entry))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CodecError> {
        let short = || CodecError::Payload("it ends within an entry".to_owned());
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(short)?;
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => short(),
            _ => CodecError::Payload(error.to_string()),
        })
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Result<Digest, CodecError> {
        self.array::<DIGEST_LEN>().map(Digest::from_bytes)
    }

    /// How many entries follow.
    fn number(&mut self, what: &str, most: usize) -> Result<u64, CodecError> {
        let count = self.u64()?;
        if count > most as u64 {
            return Err(CodecError::Payload(format!("{count} {what}, at most {most} are read")));
        }
        Ok(count)
    }

    fn text(&mut self, most: usize) -> Result<String, CodecError> {
        let length = self.u64()?;
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= most) else {
            return Err(CodecError::Payload(format!("a text of {length} bytes, at most {most}")));
        };
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        value(String::from_utf8(bytes))
    }

    fn tag(&mut self) -> Result<Option<Tag>, CodecError> {
        match self.array()? {
            [0] => Ok(None),
            [1] => value(self.text(TEXT_MAX)?.parse()).map(Some),
            [other] => Err(CodecError::Payload(format!("an option of {other}"))),
        }
    }

    fn pieces(&mut self) -> Result<Vec<Piece>, CodecError> {
        let count = self.number("pieces", PIECES_MAX)?;
        let piece = |_| Ok(Piece { part: self.u32()?, offset: self.u64()?, size: self.u64()? });
        (0..count).map(piece).collect()
    }

    fn places(&mut self) -> Result<Vec<u32>, CodecError> {
        let count = self.number("repositories of an entry", REFERENCES_MAX)?;
        (0..count).map(|_| self.u32()).collect()
    }
}

impl<R: Read> Iterator for Entries<R> {
    type Item = Result<Entry, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.step().transpose();
        if matches!(entry, Some(Err(_))) {
            (self.list, self.count, self.left) = (List::End, 0, 0);
        }
        entry
    }
}

fn value<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, CodecError> {
    result.map_err(|error| CodecError::Value(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    /// The index of the golden vectors that has most kinds of entries.
    fn sample() -> (Vec<u8>, crate::index::Index) {
        let media = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/media");
        let mut largest = Vec::new();
        for entry in fs_err::read_dir(media).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "index") {
                let bytes = fs_err::read(path).unwrap();
                if bytes.len() > largest.len() {
                    largest = bytes;
                }
            }
        }
        let index = codec::decode(&largest).unwrap();
        (largest, index)
    }

    #[test]
    fn the_entries_are_those_of_the_whole_index() {
        let (bytes, index) = sample();
        let entries = Entries::open(&bytes[..]).unwrap();
        assert_eq!((entries.stream, entries.sequence), (index.stream, index.sequence));
        assert_eq!(entries.repositories, index.repositories);
        let all: Vec<Entry> = entries.collect::<Result<_, _>>().unwrap();
        let whole: Vec<Entry> = index
            .manifests
            .into_iter()
            .map(Entry::Manifest)
            .chain(index.blobs.into_iter().map(Entry::Blob))
            .chain(index.required.into_iter().map(Entry::Required))
            .chain(index.references.into_iter().map(Entry::Reference))
            .chain(index.removals.into_iter().map(Entry::Removal))
            .collect();
        assert!(whole.len() > 2);
        assert_eq!(all, whole);
        let mut one_by_one = Vec::new();
        let entries = Entries::open_with(&bytes[..], |name| one_by_one.push(name)).unwrap();
        assert!(entries.repositories.is_empty());
        assert_eq!(one_by_one, index.repositories);
        assert_eq!(entries.collect::<Result<Vec<_>, _>>().unwrap(), whole);
    }

    #[test]
    fn the_resources_are_those_of_the_whole_index() {
        let (bytes, index) = sample();
        assert!(!index.resources.is_empty());
        // Before the entries, in their midst and after them.
        for asked in [0, 2, usize::MAX] {
            let mut entries = Entries::open(&bytes[..]).unwrap();
            assert!(entries.by_ref().take(asked).all(|entry| entry.is_ok()));
            let (resources, rest) = entries.resources(1024).unwrap();
            assert_eq!((resources, rest.len()), (index.resources.clone(), 0));
        }
        let all: usize = index.resources.iter().map(|one| one.name.len() + one.content.len()).sum();
        let most = |most: usize| Entries::open(&bytes[..]).unwrap().resources(most as u64);
        assert!(most(all).is_ok() && most(all - 1).is_err());
        for cut in 0..bytes.len() {
            let cut = Entries::open(&bytes[..cut]);
            assert!(cut.is_err() || cut.unwrap().resources(1024).is_err());
        }
    }

    #[test]
    fn every_cut_is_an_error_and_ends_the_entries() {
        let (bytes, index) = sample();
        let resources: usize =
            index.resources.iter().map(|one| 16 + one.name.len() + one.content.len()).sum();
        let end = bytes.len() - 8 - resources;
        for cut in 0..end {
            let Ok(mut entries) = Entries::open(&bytes[..cut]) else { continue };
            assert!(entries.any(|entry| entry.is_err()), "cut at {cut}");
            assert!(entries.next().is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_byte_makes_it_panic(at in 0_usize..4096, byte: u8) {
            let (mut bytes, _) = sample();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(entries) = Entries::open(&bytes[..]) {
                let _ = entries.count();
            }
            if let Ok(entries) = Entries::open(&bytes[..]) {
                let _ = entries.resources(1024);
            }
        }
    }
}
