//! The names that the sequences of a target set, and those that stand.
//!
//! In: the sequences of each stream, ascending. Out: by repository of the target, what stands after the last one, and
//! what was ever set. What must hold: a name stands until a sequence takes it away. A full sequence takes away what it
//! does not name, unless its create could not have everything; what one stream takes away another may still hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use format_spec::head::Kind;
use format_spec::index::{ReferenceEntry, Removal};
use format_spec::{Digest, Repository, StreamId, Tag};
use registry::reference::ManifestRef;

use crate::cluster::records::Follow;
use crate::paths::Destination;

/// Names that stand: by repository of the target, each with the digests that streams gave it.
pub(crate) type Standing = BTreeMap<Repository, BTreeMap<ManifestRef, BTreeSet<Digest>>>;

/// What the sequences of a target set in one of its repositories, whether it stands or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ever {
    /// Tags, with every digest that they were given.
    pub(crate) tags: BTreeMap<Tag, BTreeSet<Digest>>,
    /// Manifests, and whether each is an index.
    pub(crate) manifests: BTreeMap<Digest, bool>,
}

type Stream = BTreeMap<(Repository, ManifestRef), Digest>;

/// The names of all streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    streams: BTreeMap<StreamId, Stream>,
    /// What names were ever given.
    named: BTreeSet<(Repository, Digest)>,
    /// What was ever set, by repository.
    pub(crate) ever: BTreeMap<Repository, Ever>,
}

impl Names {
    /// What stands, of all streams.
    pub(crate) fn standing(&self) -> Standing {
        let mut standing = Standing::new();
        for ((place, name), digest) in self.streams.values().flatten() {
            let names = standing.entry(place.clone()).or_default();
            names.entry(name.clone()).or_default().insert(*digest);
        }
        standing
    }

    /// What stands in one stream.
    pub(crate) fn of(
        &self,
        stream: StreamId,
    ) -> impl Iterator<Item = (&Repository, &ManifestRef, Digest)> {
        let names = self.streams.get(&stream).into_iter().flatten();
        names.map(|((place, name), digest)| (place, name, *digest))
    }

    /// A person deleted a name, whoever set it.
    pub(crate) fn forget(&mut self, place: &Repository, name: &ManifestRef) {
        let key = (place.clone(), name.clone());
        for stream in self.streams.values_mut() {
            stream.remove(&key);
        }
    }

    /// Remembers what `other` ever set; nothing of it stands because of that.
    pub(crate) fn recall(&mut self, other: Self) {
        self.named.extend(other.named);
        for (place, ever) in other.ever {
            let mine = self.ever.entry(place).or_default();
            mine.manifests.extend(ever.manifests);
            for (tag, given) in ever.tags {
                mine.tags.entry(tag).or_default().extend(given);
            }
        }
    }

    /// Whether anything that was set stands no more.
    pub(crate) fn has_left(&self) -> bool {
        let standing: BTreeSet<(&Repository, &Digest)> =
            self.streams.values().flatten().map(|((place, _), digest)| (place, digest)).collect();
        self.named.iter().any(|(place, digest)| !standing.contains(&(place, digest)))
    }

    /// Takes in the sequences of one stream, as they pass.
    pub(crate) fn follow(self, at: &Destination, stream: StreamId, nested: usize) -> Following {
        Following { names: self, stream, at: at.nested(nested), places: HashMap::new() }
    }
}

/// The names, while sequences of one stream pass.
pub(crate) struct Following {
    pub(crate) names: Names,
    stream: StreamId,
    at: Destination,
    places: HashMap<Repository, Option<Repository>>,
}

impl Following {
    /// The repository's place at the target. Into one whose name is too long nothing was imported.
    fn place(&mut self, repository: &Repository) -> Option<Repository> {
        if let Some(place) = self.places.get(repository) {
            return place.clone();
        }
        let place = self.at.place(repository).ok();
        self.places.insert(repository.clone(), place.clone());
        place
    }

    fn stream(&mut self) -> &mut Stream {
        self.names.streams.entry(self.stream).or_default()
    }
}

impl Follow for Following {
    fn begin(&mut self, kind: Kind, failed: bool) {
        if kind == Kind::Full && !failed {
            self.stream().clear();
        }
    }

    fn carry(&mut self, repository: &Repository, (manifest, is_index): (Digest, bool)) {
        let Some(place) = self.place(repository) else { return };
        self.names.ever.entry(place).or_default().manifests.insert(manifest, is_index);
    }

    fn set(&mut self, repository: &Repository, entry: ReferenceEntry) {
        let Some(place) = self.place(repository) else { return };
        let ever = self.names.ever.entry(place.clone()).or_default();
        let name = match entry.tag {
            Some(tag) => {
                ever.tags.entry(tag.clone()).or_default().insert(entry.digest);
                ManifestRef::Tag(tag)
            }
            None => ManifestRef::Digest(entry.digest),
        };
        self.names.named.insert((place.clone(), entry.digest));
        self.stream().insert((place, name), entry.digest);
    }

    fn remove(&mut self, repository: &Repository, removal: Removal) {
        let Some(place) = self.place(repository) else { return };
        let name = removal.tag.map_or(ManifestRef::Digest(removal.digest), ManifestRef::Tag);
        self.stream().remove(&(place, name));
    }
}
