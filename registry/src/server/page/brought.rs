//! What a sequence brought, from its index: one page of names, and how many there are of each sort.
//!
//! In: a record, and which names are asked for. Out: those that the reader may see. What must hold: the index may have
//! 512 MiB with a million names, so it is read from front to back and not kept: memory is a mark for each repository and the names of the page;
//! it ends with the browser; nothing is told before the whole file was proven, and nothing of a repository that the reader may not pull.

use std::collections::HashMap;

use format_spec::entries::Entry;
use format_spec::head::{ContentClass, Head};
use format_spec::index::RepositoryId;
use format_spec::{Digest, Repository, Tag};

use super::View;
use super::limits::BROUGHT;
use crate::record;
use crate::store::{SequenceError, SequenceRecord};

/// What a name in a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// It was set, for content of this class.
    Set(ContentClass),
    /// It left the configuration.
    Removed,
}

impl Sort {
    pub(super) const ALL: [Self; 5] = [
        Self::Set(ContentClass::Release),
        Self::Set(ContentClass::Operator),
        Self::Set(ContentClass::Additional),
        Self::Set(ContentClass::Helm),
        Self::Removed,
    ];

    /// In an address.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Set(ContentClass::Release) => "release",
            Self::Set(ContentClass::Operator) => "operator",
            Self::Set(ContentClass::Additional) => "additional",
            Self::Set(ContentClass::Helm) => "helm",
            Self::Removed => "removed",
        }
    }

    /// The one of this word.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.word() == word)
    }
}

/// Which names are asked for.
pub(super) struct Asked {
    /// A part of the repository's name.
    pub(super) wanted: String,
    /// Only those of this sort.
    pub(super) only: Option<Sort>,
    /// How many of them go before.
    pub(super) from: u64,
}

/// A name.
pub(super) struct Name {
    pub(super) sort: Sort,
    /// As it is called here.
    pub(super) repository: Repository,
    pub(super) tag: Option<Tag>,
    pub(super) digest: Digest,
    /// Where the content came from; empty for what was removed.
    pub(super) source: String,
}

/// A page of names.
#[derive(Default)]
pub(super) struct Brought {
    pub(super) names: Vec<Name>,
    /// How many there are of each of [`Sort::ALL`].
    pub(super) counts: [u64; Sort::ALL.len()],
    /// How many of those that were asked for.
    pub(super) matching: u64,
}

/// Reads the index. `depth` is that of the names at this registry.
pub(super) fn walk(
    view: &View,
    (record, head): (&SequenceRecord, &Head),
    depth: usize,
    asked: &Asked,
) -> Result<Brought, SequenceError> {
    let shown = |repository: &Repository| {
        record::place(&record.repository, repository, depth)
            .filter(|place| place.as_str().contains(&asked.wanted) && view.sees(place.as_str()))
    };
    let mut marks = Vec::new();
    let index = view.store().sequence_index(record, head)?;
    let mut entries = index.entries(|repository| marks.push(shown(&repository).is_some()))?;
    let mut brought = Brought::default();
    let mut picked = Vec::new();
    while let Some(entry) = entries.next().transpose().map_err(|error| record.broken(&error))? {
        if view.gone.is_cancelled() {
            return Ok(Brought::default());
        }
        let (id, sort) = match &entry {
            Entry::Reference(reference) => (reference.repository, Sort::Set(reference.class)),
            Entry::Removal(removal) => (removal.repository, Sort::Removed),
            Entry::Manifest(_) | Entry::Blob(_) | Entry::Required(_) => continue,
        };
        if !marks.get(id as usize).is_some_and(|mark| *mark) {
            continue;
        }
        for (count, _) in brought.counts.iter_mut().zip(Sort::ALL).filter(|(_, all)| *all == sort) {
            *count += 1;
        }
        if asked.only.is_none_or(|only| only == sort) {
            if brought.matching >= asked.from && picked.len() < BROUGHT {
                picked.push((id, sort, entry));
            }
            brought.matching += 1;
        }
    }
    entries.into_inner().prove()?;
    // A list of all repositories may be most of the index, so the few of this page are looked up now.
    let mut places: HashMap<RepositoryId, Option<Repository>> =
        picked.iter().map(|(id, ..)| (*id, None)).collect();
    let mut number = 0;
    view.store().sequence_index(record, head)?.entries(|repository| {
        if let Some(place) = places.get_mut(&number) {
            *place = shown(&repository);
        }
        number += 1;
    })?;
    brought.names = picked
        .into_iter()
        .filter_map(|(id, sort, entry)| {
            let repository = places.get(&id)?.clone()?;
            let (tag, digest, source) = match entry {
                Entry::Reference(one) => (one.tag, one.digest, one.source),
                Entry::Removal(one) => (one.tag, one.digest, String::new()),
                Entry::Manifest(_) | Entry::Blob(_) | Entry::Required(_) => return None,
            };
            Some(Name { sort, repository, tag, digest, source })
        })
        .collect();
    Ok(brought)
}
