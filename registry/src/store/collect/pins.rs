//! What imported sequences gave, by the namespaces of their ledgers.
//!
//! In: the records of a store or a bucket. Out: what stays in a repository, and which records are not known. What must
//! hold: a record speaks for the repositories of its own namespace and no others, whatever it says; where one cannot be
//! used, everything in its namespace stays. So whoever may push to one repository stops no collection elsewhere.

use std::collections::{BTreeMap, HashSet};

use super::KeptFor;
use super::mark::{Key, Unreadable};
use crate::record;
use crate::store::{Pinned, Records, StoreError};

/// What stays because sequences gave it.
#[derive(Default)]
pub(crate) struct Pins {
    /// By what the names of the repositories begin with.
    namespaces: BTreeMap<String, Namespace>,
    /// Of which streams something is known.
    pub(crate) sequences: Vec<KeptFor>,
    /// Why it is not known of others what they need.
    pub(crate) unknown: Vec<Unreadable>,
}

#[derive(Default)]
struct Namespace {
    given: HashSet<Key>,
    /// Something else was given, and it is not known what.
    unknown: bool,
}

/// What stays in one repository.
pub(crate) struct Here<'a>(Vec<&'a Namespace>);

impl Pins {
    /// Reads the records.
    pub(crate) fn read(records: &dyn Records) -> Result<Self, StoreError> {
        let mut pins = Self::default();
        let streams = records.pinned(|ledger, digest| {
            if let Some(namespace) = pins.namespace(ledger.as_str()) {
                namespace.given.insert(Key::of(&digest.into()));
            }
        })?;
        for stream in streams {
            let Some(problem) = stream.unknown() else {
                let Pinned { stream, from, to, .. } = stream;
                pins.sequences.push(KeptFor { stream, from, to });
                continue;
            };
            if let Some(namespace) = pins.namespace(stream.repository.as_str()) {
                namespace.unknown = true;
            }
            pins.unknown.push(Unreadable(problem));
        }
        Ok(pins)
    }

    /// The same contents in every repository.
    #[cfg(test)]
    pub(super) fn everywhere(given: impl Iterator<Item = Key>) -> Self {
        let namespace = Namespace { given: given.collect(), unknown: false };
        Self { namespaces: [(String::new(), namespace)].into(), ..Self::default() }
    }

    fn namespace(&mut self, ledger: &str) -> Option<&mut Namespace> {
        let before = record::ledger_of(ledger)?;
        if !self.namespaces.contains_key(before) {
            self.namespaces.insert(before.to_owned(), Namespace::default());
        }
        self.namespaces.get_mut(before)
    }

    /// What stays in this repository.
    pub(crate) fn of(&self, repository: &str) -> Here<'_> {
        let ends = repository.char_indices().filter(|(_, c)| matches!(c, '/' | '-'));
        let befores = ends.map(|(at, _)| &repository[..=at]).chain([""]);
        Here(befores.filter_map(|before| self.namespaces.get(before)).collect())
    }
}

impl Here<'_> {
    /// Whether this content does.
    pub(crate) fn holds(&self, content: &Key) -> bool {
        self.0.iter().any(|namespace| namespace.unknown || namespace.given.contains(content))
    }
}
