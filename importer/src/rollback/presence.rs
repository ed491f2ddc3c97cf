//! Whether everything that a state names is at the target: manifests, what they name, and their blobs.
//!
//! In: the names of a state. Out: what it needs of blobs, and what is missing, with the sequences whose media bring it. Only
//! questions are asked. What must hold: a child of an index that no sequence ever brought there (`platforms` leaves
//! some out) is no lack; neither is a layer that its manifest fetches from elsewhere.

use std::collections::{BTreeSet, HashMap, HashSet};

use format_spec::head::Kind;
use format_spec::index::{ReferenceEntry, Removal};
use format_spec::{Digest, Repository, Sequence};
use registry::client::ErrorKind;
use registry::manifest::Manifest;
use serde::Serialize;

use super::state::State;
use crate::cluster::records::{self, Follow};
use crate::error::ImportError;
use crate::ledger::Record;
use crate::limits::{MANIFESTS_READ, QUESTIONS};
use crate::paths::Destination;
use crate::survey::{ask, has_blob};

/// Content that a state needs and the target has no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// `host/repository@digest`.
    pub name: String,
    /// The sequences whose media bring it, ascending; none when no record says.
    pub sequences: Vec<Sequence>,
}

type Item = (Repository, Digest);

/// What was found.
#[derive(Default)]
pub(super) struct Presence {
    /// The blobs that the state needs.
    pub(super) blobs: HashSet<Digest>,
    /// What is missing.
    pub(super) missing: BTreeSet<Item>,
}

/// Asks for all of it.
pub(super) async fn look(
    at: &Destination,
    state: &State,
    stands: &Record,
) -> Result<Presence, ImportError> {
    let mut found = Presence::default();
    let mut blobs: HashMap<Item, (u64, bool)> = HashMap::new();
    let mut seen: HashSet<Item> = HashSet::new();
    let names = state.names.of(stands.stream);
    let mut next: Vec<(Item, bool)> =
        names.map(|(place, _, digest)| ((place.clone(), digest), true)).collect();
    while !next.is_empty() {
        next.retain(|(item, _)| seen.insert(item.clone()));
        let read = ask(std::mem::take(&mut next), MANIFESTS_READ, |(item, named)| {
            Box::pin(async move { Ok((manifest(at, &item).await?, item, named)) })
        });
        for (manifest, item, named) in read.await? {
            let (place, digest) = &item;
            let brought = |digest: &Digest| {
                let ever = state.names.ever.get(place);
                ever.is_some_and(|ever| ever.manifests.contains_key(digest))
            };
            let Some(manifest) = manifest else {
                if named || brought(digest) {
                    found.missing.insert(item);
                }
                continue;
            };
            for child in manifest.children() {
                next.push(((place.clone(), child.digest), false));
            }
            for blob in manifest.blobs() {
                found.blobs.insert(blob.digest);
                blobs.insert((place.clone(), blob.digest), (blob.size, blob.urls.is_empty()));
            }
        }
    }
    let asked = ask(blobs, QUESTIONS, |(item, (size, ours))| {
        Box::pin(async move {
            let there = has_blob(at, &item.0, item.1, size).await?;
            Ok((!there && ours).then_some(item))
        })
    });
    found.missing.extend(asked.await?.into_iter().flatten());
    Ok(found)
}

async fn manifest(
    at: &Destination,
    (place, digest): &Item,
) -> Result<Option<Manifest>, ImportError> {
    match at.client.get_manifest(at.host(), place, &(*digest).into()).await {
        Ok(raw) => match raw.parse() {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) => Err(ImportError::Record {
                place: format!("{}/{place}@{digest}", at.host()),
                problem: error.to_string(),
            }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Names what is missing, with the sequences whose media bring it.
pub(super) async fn carriers(
    at: &Destination,
    state: &State,
    stands: &Record,
    missing: BTreeSet<Item>,
) -> Result<Vec<Gone>, ImportError> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: HashSet<Digest> = missing.iter().map(|(_, digest)| *digest).collect();
    let mut carriers = Carriers {
        at: at.nested(stands.nested(at.nested)),
        sequence: Sequence::FIRST,
        wanted,
        carried: HashMap::new(),
        needed: HashMap::new(),
    };
    for one in &state.sequences {
        carriers.sequence = one.sequence;
        (carriers, _) = records::index(at, stands.stream, one, carriers).await?;
    }
    let gone = |item: &Item| {
        let carried = carriers.carried.get(&item.1);
        let sequences: BTreeSet<Sequence> =
            carried.into_iter().chain(carriers.needed.get(item)).copied().collect();
        let name = format!("{}/{}@{}", at.host(), item.0, item.1);
        Gone { name, sequences: sequences.into_iter().collect() }
    };
    Ok(missing.iter().map(gone).collect())
}

/// Which sequence brought what, the last one of each.
struct Carriers {
    at: Destination,
    sequence: Sequence,
    wanted: HashSet<Digest>,
    /// The last that has the bytes.
    carried: HashMap<Digest, Sequence>,
    /// The last that put it into a repository.
    needed: HashMap<Item, Sequence>,
}

impl Carriers {
    fn note(&mut self, repository: &Repository, digest: Digest, carried: bool) {
        if !self.wanted.contains(&digest) {
            return;
        }
        if carried {
            self.carried.insert(digest, self.sequence);
        }
        if let Ok(place) = self.at.place(repository) {
            self.needed.insert((place, digest), self.sequence);
        }
    }
}

impl Follow for Carriers {
    fn begin(&mut self, _: Kind, _: bool) {}

    fn carry(&mut self, repository: &Repository, (manifest, _): (Digest, bool)) {
        // Each sequence that puts a manifest somewhere has its bytes.
        self.note(repository, manifest, false);
    }

    fn set(&mut self, _: &Repository, _: ReferenceEntry) {}

    fn remove(&mut self, _: &Repository, _: Removal) {}

    fn bring(&mut self, repository: &Repository, blob: Digest, carried: bool) {
        self.note(repository, blob, carried);
    }
}

/// All sequences whose media bring something of this.
pub(super) fn media(gone: &[Gone]) -> Vec<Sequence> {
    let all: BTreeSet<Sequence> = gone.iter().flat_map(|one| &one.sequences).copied().collect();
    all.into_iter().collect()
}
