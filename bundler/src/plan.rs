//! What the next sequence carries.
//!
//! In: the resolved images and what earlier sequences carried. Out: a value that says everything:
//! which names are set and removed, which manifests and blobs are carried, from where, at which
//! place in which part, and what must be at the target already. A dry run prints it; execution takes
//! it. The same input gives the same plan, so an interrupted create finds its places again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use bytes::Bytes;
use format_spec::index::{Blob, Encoding, Index, ManifestEntry, ReferenceEntry, Removal, Required};
use format_spec::part::{Layout, PartLayout, Piece};
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};
use smallvec::SmallVec;

use crate::error::CreateError;
use crate::helm::left::left;
use crate::history::{self, Known, Name};
use crate::node::Node;
use crate::origin::Origin;
use crate::resolve::{Image, Resolved, Wanted};

/// Origins at which a blob is tried.
pub const ORIGINS_MAX: usize = 3;

/// A few numbers, usually one: there may be a million lists of them.
pub type Few = SmallVec<[u32; 4]>;

/// What an item is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A blob.
    Blob,
    /// A manifest, with its bytes when they were kept.
    Manifest(Option<Bytes>),
}

/// Something that is carried: one manifest or blob.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub content: Content,
    /// The places of its origins in [`Plan::origins`], the first choice first.
    pub origins: Few,
    /// Its place among the manifests or the blobs of the index.
    pub(crate) entry: u32,
}

/// A plan for one sequence.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the sequence will say about itself.
    pub index: Index,
    /// What is carried, in the order of the layout: manifests, then blobs by falling size.
    pub items: Vec<Item>,
    /// Where their bytes come from.
    pub origins: Vec<Origin>,
    /// Whether the last sequence stated the same resources.
    pub resources_stand: bool,
    /// The parts in which they stand.
    pub parts: Vec<PartLayout>,
    /// Bytes of blobs that the target has already.
    pub known_bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether the sequence would change nothing at the target.
    pub fn is_empty(&self) -> bool {
        self.index.references.is_empty() && self.index.removals.is_empty() && self.resources_stand
    }

    /// The plan of a sequence that carries the manifests alone: the target has the blobs by the time that matters.
    pub(crate) fn without_blobs(&self, part_bytes: u64) -> Result<Self, CreateError> {
        let is_manifest = |item: &&Item| matches!(item.content, Content::Manifest(_));
        let items: Vec<Item> = self.items.iter().filter(is_manifest).cloned().collect();
        let sizes: Vec<u64> = items.iter().map(|item| item.size).collect();
        let layout = Layout::plan(&sizes, part_bytes)
            .map_err(|error| CreateError::Layout(error.to_string()))?;
        let mut index = self.index.clone();
        for (item, pieces) in items.iter().zip(layout.pieces) {
            index.manifests[item.entry as usize].pieces = pieces;
        }
        index.required.extend(index.blobs.drain(..).map(|blob| Required {
            digest: blob.digest,
            size: blob.size,
            home: blob.repositories[0],
            repositories: blob.repositories,
        }));
        index.required.sort_unstable_by_key(|required| required.digest);
        Ok(Self { index, items, parts: layout.parts, ..self.clone() })
    }

    /// Bytes of manifests and blobs carried.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }

    /// Bytes of all parts.
    pub fn part_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Where an item stands.
    pub fn pieces(&self, item: &Item) -> &[Piece] {
        let entry = item.entry as usize;
        match item.content {
            Content::Manifest(_) => &self.index.manifests[entry].pieces,
            Content::Blob => &self.index.blobs[entry].pieces,
        }
    }
}

/// What a plan is made from besides the images.
pub struct Basis<'a> {
    /// The stream.
    pub stream: StreamId,
    /// The sequence to make.
    pub sequence: Sequence,
    /// What the target has; empty for a full sequence.
    pub known: &'a Known,
    /// Which names the target has, for removals.
    pub standing: &'a Known,
    /// The most bytes of a part.
    pub part_bytes: u64,
}

/// What is collected while the images are walked. It borrows: there may be ten thousand images.
#[derive(Default)]
struct Collection<'a> {
    /// The repositories at the target and the origins: thousands of items are in each of them.
    repositories: Numbers<'a, Repository>,
    origins: Numbers<'a, Origin>,
    manifests: HashMap<Digest, (&'a Node, Carried)>,
    /// Children before parents, in the order of the walk.
    order: Vec<Digest>,
    blobs: BTreeMap<Digest, (u64, Carried)>,
    references: Vec<(&'a Image, &'a Wanted)>,
    desired: HashSet<(&'a Repository, &'a Name)>,
    warnings: Vec<String>,
}

/// Values and the number of each, in the order in which they came.
struct Numbers<'a, T> {
    values: Vec<&'a T>,
    numbers: HashMap<&'a T, u32>,
}

impl<T> Default for Numbers<'_, T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

impl<'a, T: Eq + Hash> Numbers<'a, T> {
    fn of(&mut self, value: &'a T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = number(self.values.len());
        self.values.push(value);
        self.numbers.insert(value, number);
        number
    }
}

/// Where an item goes and where it comes from.
#[derive(Default)]
struct Carried {
    repositories: Few,
    origins: Few,
}

impl Carried {
    fn add(&mut self, repository: u32, origin: u32) {
        // Most come from one image; what comes twice is settled at the end.
        if self.repositories.last() != Some(&repository) {
            self.repositories.push(repository);
        }
        if self.origins.len() < ORIGINS_MAX && !self.origins.contains(&origin) {
            self.origins.push(origin);
        }
    }
}

/// Makes the plan.
pub fn make(resolved: &Resolved, basis: &Basis<'_>) -> Result<Plan, CreateError> {
    let mut found = Collection::default();
    for image in &resolved.images {
        found.image(image, basis.known);
    }
    // A name whose source failed this time has not left the configuration.
    let gone = if resolved.failures.is_empty() {
        history::removals(basis.standing, &found.desired)
    } else {
        Vec::new()
    };
    found.warnings.extend(left(basis.standing, &resolved.resources, &gone));
    let (repositories, ids) = Ids::new(&found, &gone, basis.known);
    let mut index = Index {
        stream: basis.stream,
        sequence: basis.sequence,
        repositories,
        manifests: Vec::with_capacity(found.order.len()),
        blobs: Vec::with_capacity(found.blobs.len()),
        required: Vec::new(),
        references: Vec::new(),
        removals: Vec::new(),
        resources: resolved.resources.clone(),
    };
    let mut items = Vec::with_capacity(found.order.len() + found.blobs.len());
    for digest in &found.order {
        let (node, carried) = &found.manifests[digest];
        items.push(Item {
            digest: *digest,
            size: node.size,
            content: Content::Manifest(node.bytes.clone()),
            origins: carried.origins.clone(),
            entry: number(index.manifests.len()),
        });
        index.manifests.push(ManifestEntry {
            digest: *digest,
            size: node.size,
            media_type: node.media_type.to_string(),
            pieces: Vec::new(),
            repositories: ids.of(&carried.repositories),
        });
    }
    let mut known_bytes = 0;
    for (digest, (size, carried)) in found.blobs {
        let repositories = ids.of(&carried.repositories);
        if let Some(home) = basis.known.home(&digest) {
            known_bytes += size;
            index.required.push(Required { digest, size, home: ids.id(home), repositories });
        } else {
            let (origins, entry) = (carried.origins, number(index.blobs.len()));
            items.push(Item { digest, size, content: Content::Blob, origins, entry });
            let (encoding, pieces) = (Encoding::Raw, Vec::new());
            index.blobs.push(Blob { digest, size, encoding, pieces, repositories });
        }
    }
    // Large blobs first: the last ones to arrive are small, so no stream is left alone at the end.
    let blobs = &mut items[found.order.len()..];
    blobs.sort_unstable_by_key(|item| (std::cmp::Reverse(item.size), item.digest));
    let sizes: Vec<u64> = items.iter().map(|item| item.size).collect();
    let layout = Layout::plan(&sizes, basis.part_bytes)
        .map_err(|error| CreateError::Layout(error.to_string()))?;
    for (item, pieces) in items.iter().zip(layout.pieces) {
        let entry = item.entry as usize;
        match item.content {
            Content::Manifest(_) => index.manifests[entry].pieces = pieces,
            Content::Blob => index.blobs[entry].pieces = pieces,
        }
    }
    index.references = found
        .references
        .into_iter()
        .map(|(image, wanted)| ReferenceEntry {
            repository: ids.id(&image.destination.repository),
            tag: wanted.name.tag(),
            digest: wanted.digest,
            source: wanted.source.clone(),
            class: image.class,
        })
        .collect();
    index.removals = gone
        .iter()
        .map(|(repository, name, digest)| -> Removal {
            history::removal(ids.id(repository), name, *digest)
        })
        .collect();
    Ok(Plan {
        index,
        items,
        origins: found.origins.values.into_iter().cloned().collect(),
        resources_stand: resolved.resources == basis.standing.resources(),
        parts: layout.parts,
        known_bytes,
        warnings: found.warnings,
    })
}

/// A number in the index.
fn number(number: usize) -> u32 {
    u32::try_from(number).expect("bounded by the index limits")
}

impl<'a> Collection<'a> {
    fn image(&mut self, image: &'a Image, known: &Known) {
        let repository = &image.destination.repository;
        for wanted in &image.names {
            if !self.desired.insert((repository, &wanted.name)) {
                self.clash(repository, &wanted.name, wanted.digest);
                continue;
            }
            let closure = walk(image, wanted.digest);
            if self.stands(image, wanted, &closure, known) {
                continue;
            }
            self.references.push((image, wanted));
            let to = self.repositories.of(repository);
            let from = self.origins.of(&image.origin);
            let base = image.base.as_ref().map(|base| self.origins.of(base));
            for (digest, node) in closure {
                let (_, carried) = self.manifests.entry(digest).or_insert_with(|| {
                    self.order.push(digest);
                    (node, Carried::default())
                });
                carried.add(to, from);
                for (blob, size) in &node.blobs {
                    let (_, carried) =
                        self.blobs.entry(*blob).or_insert_with(|| (*size, Carried::default()));
                    carried.add(to, from);
                    if let Some(base) = base {
                        carried.add(to, base);
                    }
                }
            }
        }
    }

    /// Whether the target has this name with all that belongs to it.
    fn stands(
        &self,
        image: &Image,
        wanted: &Wanted,
        closure: &[(Digest, &Node)],
        known: &Known,
    ) -> bool {
        let repository = &image.destination.repository;
        known.reference(repository, &wanted.name) == Some(wanted.digest)
            && closure.iter().all(|(digest, node)| {
                known.has_manifest(repository, digest)
                    && node.blobs.iter().all(|(blob, _)| known.home(blob).is_some())
            })
    }

    /// The same name a second time: images cannot clash here, what is attached to them can.
    fn clash(&mut self, repository: &Repository, name: &Name, digest: Digest) {
        let other = self
            .references
            .iter()
            .find(|(i, first)| i.destination.repository == *repository && first.name == *name)
            .is_some_and(|(_, first)| first.digest != digest);
        if other && let Name::Tag(tag) = name {
            self.warnings.push(format!(
                "`{repository}:{tag}` is attached to two images with different content: the first \
                 one is carried"
            ));
        }
    }
}

/// The manifests below `digest`, children first.
fn walk(image: &Image, digest: Digest) -> Vec<(Digest, &Node)> {
    let (mut out, mut seen) = (Vec::new(), HashSet::new());
    // A stack of its own: a chain of nested indexes must not decide about ours.
    let mut stack = vec![(digest, false)];
    while let Some((digest, children_done)) = stack.pop() {
        let Some(node) = image.manifests.get(&digest) else { continue };
        if children_done {
            out.push((digest, node));
            continue;
        }
        if !seen.insert(digest) {
            continue;
        }
        stack.push((digest, true));
        for child in node.children.iter().rev() {
            stack.push((*child, false));
        }
    }
    out
}

/// Repositories and their numbers in the index.
struct Ids<'a> {
    ids: HashMap<&'a Repository, u32>,
    /// The number in the index of each repository of the collection.
    collected: Vec<u32>,
}

impl<'a> Ids<'a> {
    /// All repositories that the index names, in its order, and their numbers.
    fn new(
        found: &Collection<'a>,
        gone: &[(&'a Repository, &Name, Digest)],
        known: &'a Known,
    ) -> (Vec<Repository>, Self) {
        let mut names: BTreeSet<&Repository> = BTreeSet::new();
        names.extend(&found.repositories.values);
        names.extend(gone.iter().map(|(repository, ..)| repository));
        names.extend(found.blobs.keys().filter_map(|blob| known.home(blob)));
        let ids: HashMap<_, _> = names.iter().enumerate().map(|(n, id)| (*id, number(n))).collect();
        let collected = found.repositories.values.iter().map(|name| ids[name]).collect();
        (names.into_iter().cloned().collect(), Self { ids, collected })
    }

    fn id(&self, name: &Repository) -> u32 {
        self.ids[name]
    }

    /// The numbers in the index of repositories of the collection, in order, each once.
    fn of(&self, numbers: &[u32]) -> Vec<u32> {
        let mut ids: Vec<u32> = numbers.iter().map(|n| self.collected[*n as usize]).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// A tag or nothing, for texts.
pub fn show(repository: &Repository, tag: Option<&Tag>, digest: &Digest) -> String {
    match tag {
        Some(tag) => format!("{repository}:{tag}"),
        None => format!("{repository}@{digest}"),
    }
}
