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

use serde::{Deserialize, Serialize};

use crate::digest::{DIGEST_LEN, Digest};
use crate::head::ContentClass;
use crate::index::{
    Blob, Encoding, Index, IndexError, ManifestEntry, ReferenceEntry, Removal, Required, Resource,
};
use crate::limits::INDEX_MAX;
use crate::names::{Repository, Sequence, StreamId, Tag};
use crate::part::Piece;

const MAGIC: &[u8; 8] = b"BNDLIDX\0";
const VERSION: u16 = 1;
const PREFIX: usize = 24;
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

#[derive(Serialize, Deserialize)]
struct WireIndex<'a> {
    stream: [u8; 16],
    sequence: u64,
    #[serde(borrow)]
    repositories: Vec<&'a str>,
    manifests: Vec<WireManifest<'a>>,
    blobs: Vec<WireBlob>,
    required: Vec<WireRequired>,
    references: Vec<WireReference<'a>>,
    removals: Vec<WireRemoval<'a>>,
    resources: Vec<WireResource<'a>>,
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

/// The bytes of an index file.
pub fn encode(index: &Index) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(PREFIX);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.resize(PREFIX, 0);
    let config = bincode::config::legacy();
    bincode::serde::encode_into_std_write(to_wire(index), &mut bytes, config)
        .map_err(|error| CodecError::Payload(error.to_string()))?;
    let length = (bytes.len() - PREFIX) as u64;
    bytes[16..PREFIX].copy_from_slice(&length.to_le_bytes());
    if bytes.len() as u64 > INDEX_MAX {
        return Err(CodecError::TooLarge(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Decodes an index file. Its digest must have been compared with the signed head before; the
/// caller then calls [`Index::validate`].
pub fn decode(bytes: &[u8]) -> Result<Index, CodecError> {
    if bytes.len() as u64 > INDEX_MAX {
        return Err(CodecError::TooLarge(bytes.len() as u64));
    }
    let Some((prefix, payload)) = bytes.split_at_checked(PREFIX) else {
        return Err(CodecError::Magic);
    };
    if &prefix[..8] != MAGIC || prefix[10..16] != [0; 6] {
        return Err(CodecError::Magic);
    }
    let version = u16::from_le_bytes([prefix[8], prefix[9]]);
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&prefix[16..]);
    let said = u64::from_le_bytes(length);
    if said != payload.len() as u64 {
        return Err(CodecError::Length { said });
    }
    let config = bincode::config::legacy().with_limit::<LIMIT>();
    let (wire, used): (WireIndex<'_>, usize) =
        bincode::serde::borrow_decode_from_slice(payload, config)
            .map_err(|error| CodecError::Payload(error.to_string()))?;
    // bincode accepts trailing bytes.
    if used != payload.len() {
        return Err(CodecError::Length { said });
    }
    from_wire(wire)
}

fn to_wire(index: &Index) -> WireIndex<'_> {
    let pieces = |pieces: &[Piece]| {
        pieces.iter().map(|p| WirePiece { part: p.part, offset: p.offset, size: p.size }).collect()
    };
    WireIndex {
        stream: index.stream.to_bytes(),
        sequence: index.sequence.get(),
        repositories: index.repositories.iter().map(Repository::as_str).collect(),
        manifests: index
            .manifests
            .iter()
            .map(|m| WireManifest {
                digest: *m.digest.as_bytes(),
                size: m.size,
                media_type: &m.media_type,
                pieces: pieces(&m.pieces),
                repositories: m.repositories.clone(),
            })
            .collect(),
        blobs: index
            .blobs
            .iter()
            .map(|b| WireBlob {
                digest: *b.digest.as_bytes(),
                size: b.size,
                encoding: match b.encoding {
                    Encoding::Raw => 0,
                },
                pieces: pieces(&b.pieces),
                repositories: b.repositories.clone(),
            })
            .collect(),
        required: index
            .required
            .iter()
            .map(|r| WireRequired {
                digest: *r.digest.as_bytes(),
                size: r.size,
                home: r.home,
                repositories: r.repositories.clone(),
            })
            .collect(),
        references: index
            .references
            .iter()
            .map(|r| WireReference {
                repository: r.repository,
                tag: r.tag.as_ref().map(Tag::as_str),
                digest: *r.digest.as_bytes(),
                source: &r.source,
                class: r.class.code(),
            })
            .collect(),
        removals: index
            .removals
            .iter()
            .map(|r| WireRemoval {
                repository: r.repository,
                tag: r.tag.as_ref().map(Tag::as_str),
                digest: *r.digest.as_bytes(),
            })
            .collect(),
        resources: index
            .resources
            .iter()
            .map(|r| WireResource { name: &r.name, content: &r.content })
            .collect(),
    }
}

fn from_wire(wire: WireIndex<'_>) -> Result<Index, CodecError> {
    fn value<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, CodecError> {
        result.map_err(|error| CodecError::Value(error.to_string()))
    }
    let digest = Digest::from_bytes;
    let pieces = |pieces: Vec<WirePiece>| -> Vec<Piece> {
        pieces.into_iter().map(|p| Piece { part: p.part, offset: p.offset, size: p.size }).collect()
    };
    let tag = |tag: Option<&str>| value(tag.map(str::parse).transpose());
    Ok(Index {
        stream: StreamId::from_bytes(wire.stream),
        sequence: Sequence::new(wire.sequence)
            .ok_or_else(|| CodecError::Value(format!("sequence {}", wire.sequence)))?,
        repositories: wire
            .repositories
            .into_iter()
            .map(|name| value(name.parse()))
            .collect::<Result<_, _>>()?,
        manifests: wire
            .manifests
            .into_iter()
            .map(|m| ManifestEntry {
                digest: digest(m.digest),
                size: m.size,
                media_type: m.media_type.to_owned(),
                pieces: pieces(m.pieces),
                repositories: m.repositories,
            })
            .collect(),
        blobs: wire
            .blobs
            .into_iter()
            .map(|b| {
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
            })
            .collect::<Result<_, _>>()?,
        required: wire
            .required
            .into_iter()
            .map(|r| Required {
                digest: digest(r.digest),
                size: r.size,
                home: r.home,
                repositories: r.repositories,
            })
            .collect(),
        references: wire
            .references
            .into_iter()
            .map(|r| {
                Ok(ReferenceEntry {
                    repository: r.repository,
                    tag: tag(r.tag)?,
                    digest: digest(r.digest),
                    source: r.source.to_owned(),
                    class: ContentClass::from_code(r.class)
                        .ok_or_else(|| CodecError::Value(format!("content class {}", r.class)))?,
                })
            })
            .collect::<Result<_, CodecError>>()?,
        removals: wire
            .removals
            .into_iter()
            .map(|r| {
                Ok(Removal { repository: r.repository, tag: tag(r.tag)?, digest: digest(r.digest) })
            })
            .collect::<Result<_, CodecError>>()?,
        resources: wire
            .resources
            .into_iter()
            .map(|r| Resource { name: r.name.to_owned(), content: r.content.to_vec() })
            .collect(),
    })
}
