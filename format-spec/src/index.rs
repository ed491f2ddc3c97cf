//! The index: everything that a sequence carries, needs, sets and removes.
//!
//! In: a value made by create, or decoded by [`crate::codec`] from bytes whose digest stands in a
//! signed head. Out: a value in which every number points to something and every name is valid.

use std::collections::HashSet;

use crate::digest::{Digest, clip};
use crate::head::{ContentClass, Head};
use crate::limits::{
    BLOB_MAX, BLOBS_MAX, BLOCK, INTEGER_MAX, MANIFEST_MAX, MEDIA_TYPE_MAX, PIECE_MAX, PIECES_MAX,
    REFERENCES_MAX, TEXT_MAX,
};
use crate::names::{Repository, Sequence, StreamId, Tag};
use crate::part::{END, PartLayout, Piece, padded};

/// How the bytes of a blob stand in the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
}

/// The number of a repository in [`Index::repositories`].
pub type RepositoryId = u32;

/// A blob that the sequence carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it stands in the parts.
    pub encoding: Encoding,
    /// Where it stands, in order.
    pub pieces: Vec<Piece>,
    /// The repositories that need it, ascending; at least one.
    pub repositories: Vec<RepositoryId>,
}

/// A manifest that the sequence carries: an image manifest, an index or an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, at most [`MANIFEST_MAX`].
    pub size: u64,
    /// The media type it was received with.
    pub media_type: String,
    /// Where it stands, in order.
    pub pieces: Vec<Piece>,
    /// The repositories that need it, ascending; at least one.
    pub repositories: Vec<RepositoryId>,
}

/// A blob that must be at the target already, because an earlier sequence carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// A repository in which an earlier sequence put it.
    pub home: RepositoryId,
    /// The repositories of this sequence that need it, ascending; at least one.
    pub repositories: Vec<RepositoryId>,
}

/// A name that the sequence sets: a tag, or a digest in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceEntry {
    /// The repository at the target, below the target's namespace.
    pub repository: RepositoryId,
    /// The tag; none for content that is only reached by digest.
    pub tag: Option<Tag>,
    /// The manifest it names, which the sequence carries.
    pub digest: Digest,
    /// The reference it came from.
    pub source: String,
    /// The class of content it belongs to.
    pub class: ContentClass,
}

/// A name that left the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The repository at the target.
    pub repository: RepositoryId,
    /// The tag; none for content that is only reached by digest.
    pub tag: Option<Tag>,
    /// The manifest it named.
    pub digest: Digest,
}

/// Something from which the importer makes cluster resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Everything that a sequence carries, needs, sets and removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The stream, as in the head.
    pub stream: StreamId,
    /// The sequence, as in the head.
    pub sequence: Sequence,
    /// The repositories that the rest points to, ascending.
    pub repositories: Vec<Repository>,
    /// The manifests carried: every child before the indexes that name it.
    pub manifests: Vec<ManifestEntry>,
    /// The blobs carried, ascending by digest.
    pub blobs: Vec<Blob>,
    /// The blobs that must be there already, ascending by digest.
    pub required: Vec<Required>,
    /// The names set, images before their signatures.
    pub references: Vec<ReferenceEntry>,
    /// The names removed.
    pub removals: Vec<Removal>,
    /// Inputs of cluster resources.
    pub resources: Vec<Resource>,
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The index belongs to another head.
    #[error("the index is of sequence {sequence} of stream {stream}, not of its head's")]
    OtherSequence {
        /// The stream of the index.
        stream: StreamId,
        /// The sequence of the index.
        sequence: Sequence,
    },
    /// A list is longer than its limit.
    #[error("the index has {count} {what}, at most {limit} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A list is not in its order, or names something twice.
    #[error("the index's {0} are not in order or not unique")]
    Order(&'static str),
    /// A number points to nothing, or a size is over its limit.
    #[error("the index's entry for {digest} is not valid: {problem}")]
    Entry {
        /// The digest of the entry.
        digest: Digest,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something stands in a part where nothing or something else should stand.
    #[error("part {part} is not filled without holes or overlaps, at offset {offset}")]
    Placement {
        /// The part.
        part: u32,
        /// Where it goes wrong.
        offset: u64,
    },
    /// A text is longer than its limit or not valid.
    #[error("the index holds a text that is not valid: `{0}`")]
    Text(String),
}

/// A piece of a part and whose it is: what a reader of the part meets, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Whose bytes.
    pub digest: Digest,
    /// The number of the piece, when there are several.
    pub piece: Option<usize>,
    /// Where.
    pub place: Piece,
}

impl Index {
    /// Checks the index against itself and against the head that names it.
    pub fn validate(&self, head: &Head) -> Result<(), IndexError> {
        if self.stream != head.stream || self.sequence != head.sequence {
            return Err(IndexError::OtherSequence { stream: self.stream, sequence: self.sequence });
        }
        self.validate_lists()?;
        self.validate_names()?;
        let parts: Vec<PartLayout> =
            head.parts.iter().map(|part| PartLayout { bytes: part.bytes }).collect();
        self.validate_places(&parts)
    }

    fn validate_lists(&self) -> Result<(), IndexError> {
        let bounded = |what, count, limit| {
            if count > limit { Err(IndexError::TooMany { what, count, limit }) } else { Ok(()) }
        };
        let carried = self.blobs.len() + self.manifests.len();
        bounded("blobs and manifests", carried, BLOBS_MAX)?;
        bounded("required blobs", self.required.len(), BLOBS_MAX)?;
        bounded("references", self.references.len(), REFERENCES_MAX)?;
        bounded("removals", self.removals.len(), REFERENCES_MAX)?;
        bounded("repositories", self.repositories.len(), REFERENCES_MAX)?;
        bounded("resources", self.resources.len(), REFERENCES_MAX)?;
        if !self.repositories.is_sorted_by(|a, b| a < b) {
            return Err(IndexError::Order("repositories"));
        }
        if !self.blobs.is_sorted_by(|a, b| a.digest < b.digest) {
            return Err(IndexError::Order("blobs"));
        }
        if !self.required.is_sorted_by(|a, b| a.digest < b.digest) {
            return Err(IndexError::Order("required blobs"));
        }
        let mut seen = HashSet::with_capacity(self.manifests.len());
        if !self.manifests.iter().all(|manifest| seen.insert(manifest.digest)) {
            return Err(IndexError::Order("manifests"));
        }
        Ok(())
    }

    fn validate_names(&self) -> Result<(), IndexError> {
        let known = |id: RepositoryId| (id as usize) < self.repositories.len();
        let ids = |ids: &[RepositoryId]| {
            !ids.is_empty() && ids.is_sorted_by(|a, b| a < b) && ids.iter().all(|id| known(*id))
        };
        let entry = |ok: bool, digest: Digest, problem| {
            if ok { Ok(()) } else { Err(IndexError::Entry { digest, problem }) }
        };
        for blob in &self.blobs {
            entry(ids(&blob.repositories), blob.digest, "repositories")?;
            entry(blob.size <= BLOB_MAX, blob.digest, "size")?;
        }
        for manifest in &self.manifests {
            entry(ids(&manifest.repositories), manifest.digest, "repositories")?;
            entry(manifest.size <= MANIFEST_MAX, manifest.digest, "size")?;
            media_type(&manifest.media_type)?;
        }
        let carried: HashSet<Digest> = self.manifests.iter().map(|m| m.digest).collect();
        let mut total = 0_u64;
        for required in &self.required {
            entry(ids(&required.repositories), required.digest, "repositories")?;
            entry(known(required.home), required.digest, "home")?;
            // The sum is bounded here, so that nobody who adds the sizes up can overflow.
            total = total.saturating_add(required.size);
            entry(total <= INTEGER_MAX, required.digest, "size")?;
            let blob = self.blobs.binary_search_by(|blob| blob.digest.cmp(&required.digest));
            entry(
                blob.is_err() && !carried.contains(&required.digest),
                required.digest,
                "required and carried",
            )?;
        }
        let mut names = HashSet::with_capacity(self.references.len() + self.removals.len());
        for reference in &self.references {
            entry(known(reference.repository), reference.digest, "repository")?;
            entry(carried.contains(&reference.digest), reference.digest, "manifest not carried")?;
            text(&reference.source)?;
            // Two digests under one tag would make the result depend on the order of the writes.
            let name = name(reference.repository, &reference.tag, &reference.digest);
            entry(names.insert(name), reference.digest, "reference set twice")?;
        }
        for removal in &self.removals {
            entry(known(removal.repository), removal.digest, "repository")?;
            let name = name(removal.repository, &removal.tag, &removal.digest);
            entry(names.insert(name), removal.digest, "removed twice, or set and removed")?;
        }
        self.resources.iter().try_for_each(|resource| text(&resource.name))
    }

    /// Every byte of every part belongs to exactly one member, header, padding or end.
    fn validate_places(&self, parts: &[PartLayout]) -> Result<(), IndexError> {
        let entry = |digest, problem| IndexError::Entry { digest, problem };
        let carried = self
            .blobs
            .iter()
            .map(|b| (b.digest, b.size, &b.pieces))
            .chain(self.manifests.iter().map(|m| (m.digest, m.size, &m.pieces)));
        for (digest, size, pieces) in carried {
            let sum = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.size));
            let whole = sum == Some(size) && !pieces.is_empty() && pieces.len() <= PIECES_MAX;
            // In this order one pass over the parts meets the bytes of a blob from first to last.
            let ordered = pieces.is_sorted_by(|a, b| (a.part, a.offset) < (b.part, b.offset));
            // A header has no room for a larger size; an empty piece is only there for empty content.
            let each = |piece: &Piece| piece.size <= PIECE_MAX && (piece.size > 0 || size == 0);
            if !whole || !ordered || !pieces.iter().all(each) || (size == 0 && pieces.len() > 1) {
                return Err(entry(digest, "pieces"));
            }
        }
        // Within each of the two lists a digest stands once, as was looked at before.
        let is_blob = |manifest: &&ManifestEntry| self.blob(&manifest.digest).is_some();
        if let Some(both) = self.manifests.iter().find(is_blob) {
            return Err(entry(both.digest, "carried twice"));
        }
        let mut places: Vec<&Piece> = self.pieces().map(|(_, _, piece)| piece).collect();
        if let Some(place) = places.iter().find(|place| place.part as usize >= parts.len()) {
            return Err(IndexError::Placement { part: place.part, offset: place.offset });
        }
        places.sort_unstable_by_key(|place| (place.part, place.offset));
        let mut places = places.into_iter().peekable();
        for (number, part) in (0_u32..).zip(parts) {
            let wrong = |offset| IndexError::Placement { part: number, offset };
            let mut at = part.data_offset().ok_or(wrong(0))?;
            while let Some(place) = places.next_if(|place| place.part == number) {
                if place.offset != at + BLOCK {
                    return Err(wrong(at));
                }
                at = at
                    .checked_add(BLOCK + padded(place.size))
                    .filter(|end| *end <= part.bytes)
                    .ok_or(wrong(at))?;
            }
            if at + END != part.bytes {
                return Err(wrong(at));
            }
        }
        Ok(())
    }

    /// Every piece: whose it is, its number when there are several, and where it stands.
    fn pieces(&self) -> impl Iterator<Item = (Digest, Option<usize>, &Piece)> {
        let blobs = self.blobs.iter().map(|b| (b.digest, &b.pieces));
        let manifests = self.manifests.iter().map(|m| (m.digest, &m.pieces));
        blobs.chain(manifests).flat_map(|(digest, pieces)| {
            let number = move |number| (pieces.len() > 1).then_some(number);
            pieces.iter().enumerate().map(move |(n, place)| (digest, number(n), place))
        })
    }

    /// The members of each part, in the order in which they stand.
    pub fn members(&self, parts: usize) -> Result<Vec<Vec<Member>>, IndexError> {
        let mut counts = vec![0; parts];
        for (_, _, place) in self.pieces() {
            *counts
                .get_mut(place.part as usize)
                .ok_or(IndexError::Placement { part: place.part, offset: place.offset })? += 1;
        }
        let mut by_part: Vec<_> = counts.into_iter().map(Vec::with_capacity).collect();
        for (digest, piece, place) in self.pieces() {
            by_part[place.part as usize].push(Member { digest, piece, place: *place });
        }
        for members in &mut by_part {
            members.sort_unstable_by_key(|member| member.place.offset);
        }
        Ok(by_part)
    }

    /// The blob of this digest, if it is carried.
    pub fn blob(&self, digest: &Digest) -> Option<&Blob> {
        let at = self.blobs.binary_search_by_key(digest, |blob| blob.digest).ok()?;
        Some(&self.blobs[at])
    }

    /// The blob of this digest, if it is required from earlier sequences.
    pub fn required_blob(&self, digest: &Digest) -> Option<&Required> {
        let at = self.required.binary_search_by_key(digest, |required| required.digest).ok()?;
        Some(&self.required[at])
    }

    /// The repository with this number.
    pub fn repository(&self, id: RepositoryId) -> &Repository {
        &self.repositories[id as usize]
    }
}

/// A tag names itself; without one the digest is the name.
type Name<'a> = (RepositoryId, Result<&'a Tag, &'a Digest>);

fn name<'a>(repository: RepositoryId, tag: &'a Option<Tag>, digest: &'a Digest) -> Name<'a> {
    (repository, tag.as_ref().ok_or(digest))
}

/// A media type becomes a field of an HTTP request: printable ASCII, with room for parameters.
fn media_type(text: &str) -> Result<(), IndexError> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.trim().is_empty() || text.len() > MEDIA_TYPE_MAX || !printable {
        return Err(IndexError::Text(clip(text)));
    }
    Ok(())
}

fn text(text: &str) -> Result<(), IndexError> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(IndexError::Text(clip(text)));
    }
    Ok(())
}
