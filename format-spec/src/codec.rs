//! The bytes of an index file. The only file that knows `bincode`.
//!
//! In: an [`Index`], or bytes whose digest was compared with the signed head. Out: the other one.
//!
//! ```text
//! 0   8 bytes   magic "BNDLIDX\0"
//! 8   2 bytes   version, little endian: 1
//! 10  6 bytes   zero
//! 16  8 bytes   length of the payload, little endian
//! 24            payload: bincode 1 ("legacy" configuration of bincode 2) of the wire structs below
//! ```
//!
//! The wire structs have no domain types and no serde attribute but `borrow`, which says that texts
//! stay where they are: a length beyond the payload then costs no memory. Their field order is the
//! format, and must never change. A new version gets new structs.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::digest::{DIGEST_LEN, Digest};
use crate::head::ContentClass;
use crate::index::{
    Blob, Encoding, Index, IndexError, ManifestEntry, ReferenceEntry, Removal, Required, Resource,
};
use crate::limits::{BLOBS_MAX, INDEX_MAX, REFERENCES_MAX};
use crate::names::{Sequence, StreamId, Tag};
use crate::part::Piece;

const MAGIC: &[u8; 8] = b"BNDLIDX\0";
const VERSION: u16 = 1;
pub(crate) const PREFIX: usize = 24;
#[allow(clippy::cast_possible_truncation, reason = "512 MiB fits")]
const LIMIT: usize = INDEX_MAX as usize;

/// Why bytes are not an index.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Over [`INDEX_MAX`].
    #[error("the index has {0} bytes, at most {INDEX_MAX} are read")]
    TooLarge(u64),
    /// Not an index file.
    #[error("not an index file")]
    Magic,
    /// Written by a newer program.
    #[error("the index has version {0}, this program reads version {VERSION}")]
    Version(u16),
    /// The length does not fit the file.
    #[error("the index's length {said} does not fit its file")]
    Length {
        /// The length that the file states.
        said: u64,
    },
    /// The payload does not decode.
    #[error("the index does not decode: {0}")]
    Payload(String),
    /// A value outside its grammar.
    #[error("the index holds a value that is not valid: {0}")]
    Value(String),
    /// The decoded index contradicts itself.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What stands before the lists: repositories, manifests, blobs, required blobs, references, removals,
/// resources.
#[derive(Serialize, Deserialize)]
struct WireStart {
    stream: [u8; 16],
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct WirePiece {
    part: u32,
    offset: u64,
    size: u64,
}

#[derive(Serialize, Deserialize)]
struct WireManifest<'a> {
    digest: [u8; DIGEST_LEN],
    size: u64,
    media_type: &'a str,
    pieces: Vec<WirePiece>,
    repositories: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireBlob {
    digest: [u8; DIGEST_LEN],
    size: u64,
    encoding: u8,
    pieces: Vec<WirePiece>,
    repositories: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireRequired {
    digest: [u8; DIGEST_LEN],
    size: u64,
    home: u32,
    repositories: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireReference<'a> {
    repository: u32,
    #[serde(borrow)]
    tag: Option<&'a str>,
    digest: [u8; DIGEST_LEN],
    source: &'a str,
    class: u8,
}

#[derive(Serialize, Deserialize)]
struct WireRemoval<'a> {
    repository: u32,
    #[serde(borrow)]
    tag: Option<&'a str>,
    digest: [u8; DIGEST_LEN],
}

#[derive(Serialize, Deserialize)]
struct WireResource<'a> {
    name: &'a str,
    content: &'a [u8],
}

/// The size of an index file in bytes.
pub fn encoded_len(index: &Index) -> Result<u64, CodecError> {
    let mut payload = Count(0);
    write(index, &mut payload)?;
    let size = PREFIX as u64 + payload.0;
    if size > INDEX_MAX { Err(CodecError::TooLarge(size)) } else { Ok(size) }
}

/// The bytes of an index file.
pub fn encode(index: &Index) -> Result<Vec<u8>, CodecError> {
    // Counted first: a buffer that grows would take three times its bytes on the way.
    let size = encoded_len(index)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).expect("below the limit"));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.resize(16, 0);
    bytes.extend_from_slice(&(size - PREFIX as u64).to_le_bytes());
    write(index, &mut bytes)?;
    Ok(bytes)
}

/// Counts what is written.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of the payload, as the prefix of an index file says.
pub(crate) fn payload_len(prefix: &[u8; PREFIX]) -> Result<u64, CodecError> {
    if &prefix[..8] != MAGIC || prefix[10..16] != [0; 6] {
        return Err(CodecError::Magic);
    }
    let version = u16::from_le_bytes([prefix[8], prefix[9]]);
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&prefix[16..]);
    Ok(u64::from_le_bytes(length))
}

/// Decodes an index file. Its digest must have been compared with the signed head before; the
/// caller then calls [`Index::validate`].
pub fn decode(bytes: &[u8]) -> Result<Index, CodecError> {
    if bytes.len() as u64 > INDEX_MAX {
        return Err(CodecError::TooLarge(bytes.len() as u64));
    }
    let Some((prefix, payload)) = bytes.split_first_chunk() else {
        return Err(CodecError::Magic);
    };
    let said = payload_len(prefix)?;
    if said != payload.len() as u64 {
        return Err(CodecError::Length { said });
    }
    let mut reader = Reader { rest: payload };
    let index = read(&mut reader)?;
    // bincode accepts trailing bytes.
    if !reader.rest.is_empty() {
        return Err(CodecError::Length { said });
    }
    Ok(index)
}

/// Writes the payload, one entry after another: an index is large, and its wire structs need not all stand
/// beside it.
fn write(index: &Index, out: &mut impl Write) -> Result<(), CodecError> {
    fn one(value: impl Serialize, out: &mut impl Write) -> Result<(), CodecError> {
        bincode::serde::encode_into_std_write(value, out, bincode::config::legacy())
            .map(drop)
            .map_err(|error| CodecError::Payload(error.to_string()))
    }
    let pieces = |pieces: &[Piece]| {
        pieces.iter().map(|p| WirePiece { part: p.part, offset: p.offset, size: p.size }).collect()
    };
    let (stream, sequence) = (index.stream.to_bytes(), index.sequence.get());
    one(WireStart { stream, sequence }, out)?;
    one(index.repositories.len() as u64, out)?;
    for repository in &index.repositories {
        one(repository.as_str(), out)?;
    }
    one(index.manifests.len() as u64, out)?;
    for m in &index.manifests {
        let manifest = WireManifest {
            digest: *m.digest.as_bytes(),
            size: m.size,
            media_type: &m.media_type,
            pieces: pieces(&m.pieces),
            repositories: m.repositories.clone(),
        };
        one(manifest, out)?;
    }
    one(index.blobs.len() as u64, out)?;
    for b in &index.blobs {
        let blob = WireBlob {
            digest: *b.digest.as_bytes(),
            size: b.size,
            encoding: match b.encoding {
                Encoding::Raw => 0,
            },
            pieces: pieces(&b.pieces),
            repositories: b.repositories.clone(),
        };
        one(blob, out)?;
    }
    one(index.required.len() as u64, out)?;
    for r in &index.required {
        let required = WireRequired {
            digest: *r.digest.as_bytes(),
            size: r.size,
            home: r.home,
            repositories: r.repositories.clone(),
        };
        one(required, out)?;
    }
    one(index.references.len() as u64, out)?;
    for r in &index.references {
        let reference = WireReference {
            repository: r.repository,
            tag: r.tag.as_ref().map(Tag::as_str),
            digest: *r.digest.as_bytes(),
            source: &r.source,
            class: r.class.code(),
        };
        one(reference, out)?;
    }
    one(index.removals.len() as u64, out)?;
    for r in &index.removals {
        let tag = r.tag.as_ref().map(Tag::as_str);
        one(WireRemoval { repository: r.repository, tag, digest: *r.digest.as_bytes() }, out)?;
    }
    one(index.resources.len() as u64, out)?;
    for r in &index.resources {
        one(WireResource { name: &r.name, content: &r.content }, out)?;
    }
    Ok(())
}

/// What is left of a payload.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn one<T: Deserialize<'a>>(&mut self) -> Result<T, CodecError> {
        let config = bincode::config::legacy().with_limit::<LIMIT>();
        let (value, used) = bincode::serde::borrow_decode_from_slice(self.rest, config)
            .map_err(|error| CodecError::Payload(error.to_string()))?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// A list whose entries take at least `least` bytes each: a number beyond the payload, or beyond the
    /// limit of the list, costs no memory.
    fn list<W: Deserialize<'a>, T>(
        &mut self,
        (what, limit): (&'static str, usize),
        least: usize,
        entry: impl Fn(W) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let count: u64 = self.one()?;
        let fit = self.rest.len() / least;
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= fit) else {
            return Err(CodecError::Payload(format!("{count} {what} do not fit in what is left")));
        };
        if count > limit {
            return Err(IndexError::TooMany { what, count, limit }.into());
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(entry(self.one()?)?);
        }
        Ok(list)
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Index, CodecError> {
    fn value<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, CodecError> {
        result.map_err(|error| CodecError::Value(error.to_string()))
    }
    let digest = Digest::from_bytes;
    let pieces = |pieces: Vec<WirePiece>| -> Vec<Piece> {
        pieces.into_iter().map(|p| Piece { part: p.part, offset: p.offset, size: p.size }).collect()
    };
    let tag = |tag: Option<&str>| value(tag.map(str::parse).transpose());
    let start: WireStart = reader.one()?;
    let blobs = ("blobs and manifests", BLOBS_MAX);
    Ok(Index {
        stream: StreamId::from_bytes(start.stream),
        sequence: Sequence::new(start.sequence)
            .ok_or_else(|| CodecError::Value(format!("sequence {}", start.sequence)))?,
        repositories: reader
            .list(("repositories", REFERENCES_MAX), 8, |name: &str| value(name.parse()))?,
        manifests: reader.list(blobs, DIGEST_LEN + 32, |m: WireManifest<'_>| {
            Ok(ManifestEntry {
                digest: digest(m.digest),
                size: m.size,
                media_type: m.media_type.to_owned(),
                pieces: pieces(m.pieces),
                repositories: m.repositories,
            })
        })?,
        blobs: reader.list(blobs, DIGEST_LEN + 25, |b: WireBlob| {
            let encoding = match b.encoding {
                0 => Encoding::Raw,
                other => return Err(CodecError::Value(format!("encoding {other}"))),
            };
            Ok(Blob {
                digest: digest(b.digest),
                size: b.size,
                encoding,
                pieces: pieces(b.pieces),
                repositories: b.repositories,
            })
        })?,
        required: reader.list(
            ("required blobs", BLOBS_MAX),
            DIGEST_LEN + 20,
            |r: WireRequired| {
                Ok(Required {
                    digest: digest(r.digest),
                    size: r.size,
                    home: r.home,
                    repositories: r.repositories,
                })
            },
        )?,
        references: reader.list(
            ("references", REFERENCES_MAX),
            DIGEST_LEN + 14,
            |r: WireReference<'_>| {
                Ok(ReferenceEntry {
                    repository: r.repository,
                    tag: tag(r.tag)?,
                    digest: digest(r.digest),
                    source: r.source.to_owned(),
                    class: ContentClass::from_code(r.class)
                        .ok_or_else(|| CodecError::Value(format!("content class {}", r.class)))?,
                })
            },
        )?,
        removals: reader.list(
            ("removals", REFERENCES_MAX),
            DIGEST_LEN + 5,
            |r: WireRemoval<'_>| {
                Ok(Removal { repository: r.repository, tag: tag(r.tag)?, digest: digest(r.digest) })
            },
        )?,
        resources: reader.list(("resources", REFERENCES_MAX), 16, |r: WireResource<'_>| {
            Ok(Resource { name: r.name.to_owned(), content: r.content.to_vec() })
        })?,
    })
}
