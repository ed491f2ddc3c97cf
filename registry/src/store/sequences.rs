//! What imported sequences brought, from the records that imports leave in the ledger repositories of a store.
//!
//! In: a store, in files or in a bucket (`Records`). Out: the sequences of each stream, their heads, the entries of their indexes one by
//! one (`sequence`); which contents they still need, for garbage collection; which part of which sequence holds a good copy, for a check. No signature
//! is looked at: this is history, not trust, and nothing is let in on the strength of it. What must hold: memory is that
//! of one entry and the list of sequences; a record that cannot be read is told, never an empty one, as its contents
//! would count as garbage. Whoever may push to one repository can write records there, so they speak for their own
//! namespace alone (`record::ledger_of`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;

use format_spec::codec::CodecError;
use format_spec::entries::Entry;
use format_spec::head::{Head, Kind};
use format_spec::limits::{HEAD_MAX, INDEX_MAX};
use format_spec::part::FileName;
use format_spec::{Digest, Repository, Sequence, StreamId, Tag, json};
use serde::{Deserialize, Serialize};

use super::durable::is_absent;
use super::sequence::SequenceIndex;
use super::{Store, StoreError, StoredManifest};
use crate::content::ContentDigest;
use crate::manifest::{ImageManifest, Manifest};
use crate::record::{self, STREAM_PREFIX};

/// Bytes of the record of a stream; the importer writes less than 16 KiB.
const STREAM_MAX: u64 = 64 * 1024;

/// Why the records of a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not whole.
    #[error(
        "the record of sequence {sequence} of stream {stream} in `{repository}` cannot be used: {problem}"
    )]
    Record {
        /// The repository with the records.
        repository: Repository,
        /// The stream.
        stream: StreamId,
        /// The sequence.
        sequence: Sequence,
        /// What is wrong with it.
        problem: String,
    },
}

/// The record of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceRecord {
    /// The repository with the records.
    pub repository: Repository,
    /// The stream.
    pub stream: StreamId,
    /// The sequence.
    pub sequence: Sequence,
    /// The manifest that is the record; `None` when the tag leads to none.
    pub(super) manifest: Option<ContentDigest>,
}

/// The sequences of one stream whose contents the store must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The repository with the records.
    pub repository: Repository,
    /// The stream.
    pub stream: StreamId,
    /// The last `full` sequence, or the first that has a record.
    pub from: Sequence,
    /// The last sequence.
    pub to: Sequence,
    /// Records between them that are not there although a later sequence rests on them: what they brought is not
    /// known, so nothing in the namespace can be called garbage.
    pub gaps: Vec<Sequence>,
    /// What is wrong with a record: the same holds of what it brought.
    pub problem: Option<String>,
}

impl Pinned {
    /// Why it is not known what the stream needs, if it is not.
    pub fn unknown(&self) -> Option<String> {
        self.problem.clone().or_else(|| {
            let (gap, Self { repository, stream, .. }) = (self.gaps.first()?, self);
            Some(format!(
                "there is no record of sequence {gap} of stream {stream} in `{repository}`"
            ))
        })
    }
}

/// Where a good copy of some content is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The repository with its record.
    pub ledger: Repository,
    /// The stream.
    pub stream: StreamId,
    /// The sequence.
    pub sequence: Sequence,
    /// The file of the medium, the first one when there are several.
    pub part: String,
    /// Where it begins in that file.
    pub offset: u64,
    /// Whether the registry stands at this sequence, so that importing it again puts back what is missing.
    pub last: bool,
}

/// The bytes of a blob, and how many they are.
pub(crate) type Content = (Box<dyn Read>, u64);

/// What keeps records: files, or a bucket.
pub(crate) trait Records {
    /// Calls `visit` for each repository.
    fn repositories(
        &self,
        visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The names of the tags of a repository.
    fn tag_names(&self, repository: &Repository) -> Result<Vec<String>, StoreError>;

    /// The manifest a tag stands for.
    fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<ContentDigest>, StoreError>;

    /// The manifest with this digest.
    fn manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<StoredManifest>, StoreError>;

    /// A blob that the repository holds, and its size.
    fn content(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<Content>, StoreError>;
}

impl Records for Store {
    fn repositories(
        &self,
        visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each_repository(visit, &mut |_| {})
    }

    fn tag_names(&self, repository: &Repository) -> Result<Vec<String>, StoreError> {
        Ok(super::lists::names(&self.tags_dir(repository))?.collect())
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<ContentDigest>, StoreError> {
        self.resolve_tag(repository, tag)
    }

    fn manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        self.get_manifest(repository, digest)
    }

    fn content(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<Content>, StoreError> {
        match self.open_blob(repository, digest) {
            Ok(opened) => Ok(opened.map(|(file, size)| (Box::new(file) as Box<dyn Read>, size))),
            Err(StoreError::Io(error)) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// The records of sequences, by stream and number.
    ///
    /// # Errors
    /// I/O.
    pub fn sequences(&self) -> Result<Vec<SequenceRecord>, StoreError> {
        (self as &dyn Records).sequences()
    }

    /// Calls `visit` for every blob and manifest that imported sequences still need: those that are named by the last
    /// `full` sequence of each stream and those after it, with the repository of the records. May call it more than once
    /// for one of them. The caller keeps everything in the namespace of a stream of which something is unknown.
    ///
    /// # Errors
    /// I/O.
    pub fn pinned(
        &self,
        visit: impl FnMut(&Repository, Digest),
    ) -> Result<Vec<Pinned>, StoreError> {
        (self as &dyn Records).pinned(visit)
    }

    /// Which sequence holds a good copy of each of these contents; the latest that does. A record that cannot be read
    /// is passed over.
    ///
    /// # Errors
    /// I/O.
    pub fn holders(&self, wanted: &HashSet<Digest>) -> Result<HashMap<Digest, Holder>, StoreError> {
        (self as &dyn Records).holders(wanted)
    }

    /// Takes away the tags of records of which something is missing, so that the next import of the sequence sees that
    /// it has none and writes it again; returns how many.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn drop_broken_records(&self) -> Result<usize, StoreError> {
        let mut dropped = 0;
        for (repository, tag) in (self as &dyn Records).broken()? {
            dropped += usize::from(self.delete_tag(&repository, &tag)?);
        }
        Ok(dropped)
    }
}

impl dyn Records + '_ {
    /// The records of sequences, by stream and number.
    pub(crate) fn sequences(&self) -> Result<Vec<SequenceRecord>, StoreError> {
        let mut found = Vec::new();
        self.each_ledger(&mut |repository| {
            for tag in self.tag_names(repository)? {
                let Some((stream, sequence)) = record::sequence_of(&tag) else { continue };
                let tag = record::sequence_tag(stream, sequence);
                let manifest = self.tag(repository, &tag)?;
                let repository = repository.clone();
                found.push(SequenceRecord { repository, stream, sequence, manifest });
            }
            Ok(())
        })?;
        found.sort_by(|a, b| {
            (a.stream, a.sequence, &a.repository).cmp(&(b.stream, b.sequence, &b.repository))
        });
        Ok(found)
    }

    /// Calls `visit` for each repository with records.
    fn each_ledger(
        &self,
        visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.repositories(&mut |repository| match record::ledger_of(repository.as_str()) {
            Some(_) => visit(repository),
            None => Ok(()),
        })
    }

    /// The head of a sequence. One of more than `most` bytes is not read.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(crate) fn sequence_head(
        &self,
        record: &SequenceRecord,
        most: u64,
    ) -> Result<Head, SequenceError> {
        let [head, _] = self.layers(record)?;
        let (file, size) = self.layer(record, &head)?;
        if size > most {
            return Err(record.unusable(format!("a head of {size} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(StoreError::from)?;
        if Digest::of(&bytes) != head {
            return Err(record.unusable("its head is damaged".to_owned()));
        }
        let parsed = Head::parse(&bytes).map_err(|error| record.unusable(error.to_string()))?;
        if (parsed.stream, parsed.sequence) != (record.stream, record.sequence) {
            return Err(record.unusable("its head is of another sequence".to_owned()));
        }
        Ok(parsed)
    }

    /// The index of a sequence, to be read from front to back.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(super) fn sequence_index(
        &self,
        record: &SequenceRecord,
    ) -> Result<SequenceIndex, SequenceError> {
        let [_, index] = self.layers(record)?;
        let (file, size) = self.layer(record, &index)?;
        if size > INDEX_MAX {
            return Err(record.unusable(format!("an index of {size} bytes")));
        }
        Ok(SequenceIndex::new(record.clone(), index, file))
    }

    /// Calls `visit` for each entry of the index of a sequence. What was visited is proven only when this returns
    /// without an error.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    fn sequence_entries(
        &self,
        record: &SequenceRecord,
        mut visit: impl FnMut(Entry),
    ) -> Result<(), SequenceError> {
        let mut entries = self.sequence_index(record)?.entries(|_| {})?;
        while let Some(entry) = entries.next().transpose().map_err(|e| record.broken(&e))? {
            visit(entry);
        }
        entries.into_inner().prove()
    }

    /// Calls `visit` for every blob and manifest that imported sequences still need, see [`Store::pinned`].
    pub(crate) fn pinned(
        &self,
        mut visit: impl FnMut(&Repository, Digest),
    ) -> Result<Vec<Pinned>, StoreError> {
        // The standings first: an import that is at work writes its record before them, so none is missed.
        let (standings, mut records) = (self.standings()?, self.sequences()?);
        let mut pinned = Vec::new();
        let same = |a: &SequenceRecord, b: &SequenceRecord| {
            (a.stream, &a.repository) == (b.stream, &b.repository)
        };
        records.sort_by(|a, b| {
            (&a.repository, a.stream, a.sequence).cmp(&(&b.repository, b.stream, b.sequence))
        });
        for stream in records.chunk_by(same) {
            let (repository, stream_id) = (&stream[0].repository, stream[0].stream);
            let of = |one: &&(Repository, StreamId, _)| (&one.0, one.1) == (repository, stream_id);
            let standing = standings.iter().find(of).and_then(|(_, _, standing)| *standing);
            pinned.push(self.pin_stream(stream, standing, &mut visit)?);
        }
        for (repository, stream, standing) in standings {
            // Unreadable, it may be anywhere.
            let at = standing.unwrap_or(Sequence::FIRST);
            let of = |one: &SequenceRecord| (&one.repository, one.stream) == (&repository, stream);
            if !records.iter().any(of) {
                let (from, to, gaps) = (at, at, vec![at]);
                pinned.push(Pinned { repository, stream, from, to, gaps, problem: None });
            }
        }
        Ok(pinned)
    }

    /// The streams that the store follows: in which repository, and where it stands.
    fn standings(&self) -> Result<Vec<(Repository, StreamId, Option<Sequence>)>, StoreError> {
        let mut found = Vec::new();
        self.each_ledger(&mut |repository| {
            for tag in self.tag_names(repository)? {
                let stream = tag.strip_prefix(STREAM_PREFIX).and_then(|text| text.parse().ok());
                let Some(stream) = stream else { continue };
                found.push((repository.clone(), stream, self.standing(repository, stream)?));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The tags of records of which something is missing.
    pub(crate) fn broken(&self) -> Result<Vec<(Repository, Tag)>, StoreError> {
        let mut broken = Vec::new();
        for record in self.sequences()? {
            let whole = match self.layers(&record) {
                Ok(layers) => {
                    let mut whole = true;
                    for layer in &layers {
                        whole &= self
                            .content(&record.repository, &ContentDigest::from(layer))?
                            .is_some();
                    }
                    whole
                }
                Err(SequenceError::Store(error)) => return Err(error),
                Err(SequenceError::Record { .. }) => false,
            };
            if !whole {
                let tag = record::sequence_tag(record.stream, record.sequence);
                broken.push((record.repository, tag));
            }
        }
        Ok(broken)
    }

    /// The same for the records of one stream, ascending.
    fn pin_stream(
        &self,
        records: &[SequenceRecord],
        standing: Option<Sequence>,
        visit: &mut impl FnMut(&Repository, Digest),
    ) -> Result<Pinned, StoreError> {
        let (first, last) = (&records[0], &records[records.len() - 1]);
        let (repository, stream) = (last.repository.clone(), last.stream);
        let (from, to) = (first.sequence, last.sequence);
        let mut pinned = Pinned { repository, stream, from, to, gaps: Vec::new(), problem: None };
        // A record is written a moment before the stream's own: what stands behind that one is not yet the state.
        let settled = |sequence| standing.is_none_or(|standing| sequence <= standing);
        let mut bases: BTreeMap<Sequence, Option<Sequence>> = BTreeMap::new();
        for record in records.iter().rev() {
            let (full, base) = match self.pin(record, visit) {
                Ok(read) => read,
                Err(SequenceError::Store(error)) => return Err(error),
                Err(error @ SequenceError::Record { .. }) => {
                    pinned.problem = Some(error.to_string());
                    return Ok(pinned);
                }
            };
            bases.insert(record.sequence, base);
            pinned.from = record.sequence;
            if full && settled(record.sequence) {
                break;
            }
        }
        // Each rests on one at its base or later, and before itself.
        let gaps = bases.iter().filter_map(|(sequence, base)| {
            let base = (*base)?;
            bases.range(base..*sequence).next().is_none().then_some(base)
        });
        // And what the stream's own record says must have one.
        pinned.gaps = gaps.chain(standing.filter(|standing| *standing > to)).collect();
        Ok(pinned)
    }

    /// The same for one record: whether it is of a `full` sequence, and else on which one it rests.
    fn pin(
        &self,
        record: &SequenceRecord,
        visit: &mut impl FnMut(&Repository, Digest),
    ) -> Result<(bool, Option<Sequence>), SequenceError> {
        let head = self.sequence_head(record, HEAD_MAX)?;
        let full = head.kind == Kind::Full;
        let base = (!full).then(|| head.base.or(head.previous).map(|link| link.sequence));
        let mut visit = |digest| visit(&record.repository, digest);
        self.sequence_entries(record, |entry| match entry {
            Entry::Manifest(manifest) => visit(manifest.digest),
            Entry::Blob(blob) => visit(blob.digest),
            Entry::Required(required) => visit(required.digest),
            Entry::Reference(_) | Entry::Removal(_) => {}
        })?;
        Ok((full, base.flatten()))
    }

    /// The last sequence of a stream that is wholly there, by the stream's own record.
    fn standing(
        &self,
        repository: &Repository,
        stream: StreamId,
    ) -> Result<Option<Sequence>, StoreError> {
        #[derive(Deserialize)]
        struct Standing {
            sequence: Sequence,
        }
        let Ok(tag) = format!("{STREAM_PREFIX}{stream}").parse() else { return Ok(None) };
        let Some(digest) = self.tag(repository, &tag)? else { return Ok(None) };
        let Some(image) = self.image(repository, &digest)? else { return Ok(None) };
        let [layer] = image.layers.as_slice() else { return Ok(None) };
        let layer = self.content(repository, &ContentDigest::from(&layer.digest))?;
        let Some((file, _)) = layer else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(STREAM_MAX).read_to_end(&mut bytes)?;
        Ok(json::parse::<Standing>(&bytes).ok().map(|standing| standing.sequence))
    }

    /// Which sequence holds a good copy of each of these contents; the latest that does. A record that cannot be read
    /// is passed over.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn holders(
        &self,
        wanted: &HashSet<Digest>,
    ) -> Result<HashMap<Digest, Holder>, StoreError> {
        let mut held = HashMap::new();
        let mut records = self.sequences()?;
        records.sort_by_key(|record| std::cmp::Reverse(record.sequence));
        for record in records {
            if held.len() == wanted.len() {
                break;
            }
            let last = self.standing(&record.repository, record.stream)? == Some(record.sequence);
            let (stream, sequence) = (record.stream, record.sequence);
            let mut found = HashMap::new();
            let holder = |part: FileName, offset| Holder {
                ledger: record.repository.clone(),
                stream,
                sequence,
                part: part.to_string(),
                offset,
                last,
            };
            if let Ok([head, index]) = self.layers(&record) {
                found.insert(head, holder(FileName::Head(sequence), 0));
                found.insert(index, holder(FileName::Index(sequence), 0));
                found.retain(|digest, _| wanted.contains(digest));
            }
            let read = self.sequence_entries(&record, |entry| {
                let (digest, pieces) = match entry {
                    Entry::Manifest(manifest) => (manifest.digest, manifest.pieces),
                    Entry::Blob(blob) => (blob.digest, blob.pieces),
                    _ => return,
                };
                if wanted.contains(&digest)
                    && let Some(piece) = pieces.first()
                {
                    found
                        .insert(digest, holder(FileName::Part(sequence, piece.part), piece.offset));
                }
            });
            match read {
                Ok(()) => {}
                Err(SequenceError::Store(error)) => return Err(error),
                Err(error) => tracing::warn!(%error, "a record of a sequence is no help"),
            }
            for (digest, holder) in found {
                held.entry(digest).or_insert(holder);
            }
        }
        Ok(held)
    }

    /// The digests of a record's head and index.
    pub(super) fn layers(&self, record: &SequenceRecord) -> Result<[Digest; 2], SequenceError> {
        let layers: Vec<Digest> =
            self.record_manifest(record)?.layers.iter().map(|layer| layer.digest).collect();
        layers.try_into().map_err(|_| record.unusable("it has not two layers".to_owned()))
    }

    pub(super) fn record_manifest(
        &self,
        record: &SequenceRecord,
    ) -> Result<ImageManifest, SequenceError> {
        let absent = || record.unusable("its manifest is not there".to_owned());
        let manifest = record.manifest.ok_or_else(absent)?;
        self.image(&record.repository, &manifest)?.ok_or_else(absent)
    }

    fn image(
        &self,
        repository: &Repository,
        manifest: &ContentDigest,
    ) -> Result<Option<ImageManifest>, StoreError> {
        let Some(stored) = self.manifest(repository, manifest)? else { return Ok(None) };
        Ok(match Manifest::parse(&stored.bytes, Some(&stored.media_type)) {
            Ok(Manifest::Image(image)) => Some(image),
            _ => None,
        })
    }

    fn layer(
        &self,
        record: &SequenceRecord,
        digest: &Digest,
    ) -> Result<(Box<dyn Read>, u64), SequenceError> {
        let opened = self.content(&record.repository, &digest.into())?;
        opened.ok_or_else(|| record.unusable(format!("{digest} is not there")))
    }
}

impl SequenceRecord {
    pub(super) fn unusable(&self, problem: String) -> SequenceError {
        let Self { repository, stream, sequence, .. } = self;
        let (repository, stream, sequence) = (repository.clone(), *stream, *sequence);
        SequenceError::Record { repository, stream, sequence, problem }
    }

    /// The index cannot be read.
    pub(crate) fn broken(&self, error: &CodecError) -> SequenceError {
        self.unusable(error.to_string())
    }
}

#[cfg(test)]
#[path = "sequences_tests.rs"]
pub(super) mod tests;
