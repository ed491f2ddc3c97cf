//! One sequence as a store has it: its head, who signed it, and its index, hashed while it is read from front to back.
//!
//! In: a record. Out: what it says, and the entries of its index. What must hold: memory is that of the head, of one entry
//! and of a piece of the index; nothing of the index counts before [`SequenceIndex::prove`] has looked at all of it.

use std::io::{self, Read};

use format_spec::entries::Entries;
use format_spec::hash::Hasher;
use format_spec::head::Head;
use format_spec::limits::{INDEX_MAX, SIGNATURES_MAX};
use format_spec::{Digest, Repository, Sequence, StreamId};

use super::sequences::{Records, SequenceError, SequenceRecord};
use super::{Store, StoreError};
use crate::record;

/// Bytes of an index that are read at a time.
const STEP: usize = 256 * 1024;

/// The index file of a sequence.
pub(crate) struct SequenceIndex {
    record: SequenceRecord,
    pub(super) digest: Digest,
    reader: io::BufReader<Hashing<io::Take<Box<dyn Read>>>>,
}

impl Store {
    /// The record of one sequence.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn sequence(
        &self,
        repository: &Repository,
        (stream, sequence): (StreamId, Sequence),
    ) -> Result<SequenceRecord, StoreError> {
        let manifest = self.resolve_tag(repository, &record::sequence_tag(stream, sequence))?;
        Ok(SequenceRecord { repository: repository.clone(), stream, sequence, manifest })
    }

    /// The head of a sequence, and its digest. One of more than `most` bytes is not read.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(crate) fn sequence_head(
        &self,
        record: &SequenceRecord,
        most: u64,
    ) -> Result<(Head, Digest), SequenceError> {
        let records = self as &dyn Records;
        let [digest, _] = records.layers(record)?;
        Ok((records.sequence_head(record, most)?, digest))
    }

    /// The head of a sequence, as far as `left` bytes reach, from which those that are read are taken; `None` beyond them.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(crate) fn sequence_head_within(
        &self,
        record: &SequenceRecord,
        left: &mut u64,
    ) -> Result<Option<Head>, SequenceError> {
        let mut reaches = |bytes: u64| {
            let rest = left.checked_sub(bytes);
            *left = rest.unwrap_or(*left);
            rest.is_some()
        };
        let own = record.manifest.map(|manifest| self.manifest_size(&record.repository, &manifest));
        if !reaches(own.transpose()?.unwrap_or(0)) {
            return Ok(None);
        }
        let records = self as &dyn Records;
        let [head, _] = records.layers(record)?;
        let size = self.blob_size(&head)?.unwrap_or(0);
        match reaches(size) {
            true => Ok(Some(records.sequence_head(record, size)?)),
            false => Ok(None),
        }
    }

    /// The keys whose signatures the import of a sequence went by, as its record says; none when it says nothing.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(crate) fn sequence_signers(
        &self,
        record: &SequenceRecord,
    ) -> Result<Vec<Digest>, SequenceError> {
        let manifest = (self as &dyn Records).record_manifest(record)?;
        let signers = manifest.annotations.get(record::SIGNERS).map(String::as_str);
        let ids = signers.unwrap_or_default().split_whitespace();
        Ok(ids.take(SIGNATURES_MAX).filter_map(|id| id.parse().ok()).collect())
    }

    /// The index of a sequence, to be read from front to back. It is the one that the head names.
    ///
    /// # Errors
    /// The record is not whole, or I/O.
    pub(crate) fn sequence_index(
        &self,
        record: &SequenceRecord,
        head: &Head,
    ) -> Result<SequenceIndex, SequenceError> {
        let index = (self as &dyn Records).sequence_index(record)?;
        match index.digest == head.index.digest {
            true => Ok(index),
            false => Err(record.unusable("its index is not the one of its head".to_owned())),
        }
    }
}

impl SequenceIndex {
    pub(super) fn new(record: SequenceRecord, digest: Digest, file: Box<dyn Read>) -> Self {
        let hashing = Hashing { file: file.take(INDEX_MAX), hasher: Hasher::new() };
        Self { record, digest, reader: io::BufReader::with_capacity(STEP, hashing) }
    }

    /// Its entries; `each` gets the repositories before them, to whose places their numbers point.
    pub(crate) fn entries(
        self,
        each: impl FnMut(Repository),
    ) -> Result<Entries<Self>, SequenceError> {
        let record = self.record.clone();
        let entries = Entries::open_with(self, each).map_err(|error| record.broken(&error))?;
        match (entries.stream, entries.sequence) == (record.stream, record.sequence) {
            true => Ok(entries),
            false => Err(record.unusable("its index is of another sequence".to_owned())),
        }
    }

    /// Reads what is left, and compares the digest of all with the one that the record names.
    pub(crate) fn prove(mut self) -> Result<(), SequenceError> {
        io::copy(&mut self.reader, &mut io::sink()).map_err(StoreError::from)?;
        match self.reader.into_inner().hasher.finish() == self.digest {
            true => Ok(()),
            false => Err(self.record.unusable("its index is damaged".to_owned())),
        }
    }
}

impl Read for SequenceIndex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }

    // Values of some bytes each: most of them are at hand.
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)
    }
}

/// A file that is hashed while it is read.
struct Hashing<R> {
    file: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
