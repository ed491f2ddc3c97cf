//! What the next sequence carries.
//!
//! In: the resolved images and what earlier sequences carried. Out: a value that says everything:
//! which names are set and removed, which manifests and blobs are carried, from where, at which
//! place in which part, and what must be at the target already. A dry run prints it; execution takes
//! it. The same input gives the same plan, so an interrupted create finds its places again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use format_spec::head::ContentClass;
use format_spec::index::{Blob, Encoding, Index, ManifestEntry, ReferenceEntry, Removal, Required};
use format_spec::part::Layout;
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};

use crate::error::CreateError;
use crate::history::{self, Known, Name};
use crate::origin::Origin;
use crate::resolve::{Image, Resolved};

/// Origins at which a blob is tried.
pub const ORIGINS_MAX: usize = 3;

/// Where the bytes of an item come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// A blob at its origins, the first choice first.
    Blob(Vec<Origin>),
    /// A manifest, fetched when it was resolved.
    Manifest(Bytes),
}

/// Something that is carried: one manifest or blob.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes come from.
    pub content: Content,
}

/// A plan for one sequence.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the sequence will say about itself.
    pub index: Index,
    /// What is carried, in the order of the layout: manifests, then blobs by falling size.
    pub items: Vec<Item>,
    /// Where it stands.
    pub layout: Layout,
    /// For people: every reference of the configuration and its name at the target.
    pub mapping: Vec<(String, String)>,
    /// Bytes of blobs that the target has already.
    pub known_bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether the sequence would change nothing at the target.
    pub fn is_empty(&self) -> bool {
        self.index.references.is_empty() && self.index.removals.is_empty()
    }

    /// Bytes of manifests and blobs carried.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }

    /// Bytes of all parts.
    pub fn part_bytes(&self) -> u64 {
        self.layout.parts.iter().map(|part| part.bytes).sum()
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

/// What is collected while the images are walked.
#[derive(Default)]
struct Collection {
    manifests: BTreeMap<Digest, BTreeSet<Repository>>,
    /// Children before parents, in the order of the walk.
    order: Vec<Digest>,
    blobs: BTreeMap<Digest, (u64, BTreeSet<Repository>, Vec<Origin>)>,
    references: Vec<(Repository, Name, Digest, String)>,
    desired: HashSet<(Repository, Name)>,
    mapping: Vec<(String, String)>,
    warnings: Vec<String>,
}

/// Makes the plan.
pub fn make(resolved: &Resolved, basis: &Basis<'_>) -> Result<Plan, CreateError> {
    let mut found = Collection::default();
    let mut bodies = HashMap::new();
    for image in &resolved.images {
        found.image(image, basis.known);
        for (digest, node) in &image.manifests {
            bodies.insert(*digest, node);
        }
    }
    // A name whose source failed this time has not left the configuration.
    let gone: Vec<(Repository, Name, Digest)> = if resolved.failures.is_empty() {
        history::removals(basis.standing, &found.desired)
            .into_iter()
            .map(|(repository, name, digest)| (repository.clone(), name.clone(), digest))
            .collect()
    } else {
        Vec::new()
    };
    let ids = Ids::new(&found, &gone, basis.known);
    let mut index = Index {
        stream: basis.stream,
        sequence: basis.sequence,
        repositories: ids.names.clone(),
        manifests: Vec::new(),
        blobs: Vec::new(),
        required: Vec::new(),
        references: Vec::new(),
        removals: Vec::new(),
        resources: Vec::new(),
    };
    let mut items = Vec::new();
    for digest in &found.order {
        let node = bodies[digest];
        index.manifests.push(ManifestEntry {
            digest: *digest,
            size: node.bytes.len() as u64,
            media_type: node.media_type.clone(),
            pieces: Vec::new(),
            repositories: ids.of(&found.manifests[digest]),
        });
        items.push(Item {
            digest: *digest,
            size: node.bytes.len() as u64,
            content: Content::Manifest(node.bytes.clone()),
        });
    }
    let mut known_bytes = 0;
    for (digest, (size, repositories, origins)) in found.blobs {
        let repositories = ids.of(&repositories);
        if let Some(home) = basis.known.home(&digest) {
            known_bytes += size;
            index.required.push(Required { digest, size, home: ids.id(home), repositories });
        } else {
            let blob =
                Blob { digest, size, encoding: Encoding::Raw, pieces: Vec::new(), repositories };
            index.blobs.push(blob);
            items.push(Item { digest, size, content: Content::Blob(origins) });
        }
    }
    // Large blobs first: the last ones to arrive are small, so no stream is left alone at the end.
    let blobs = &mut items[found.order.len()..];
    blobs.sort_by_key(|item| (std::cmp::Reverse(item.size), item.digest));
    let sizes: Vec<u64> = items.iter().map(|item| item.size).collect();
    let layout = Layout::plan(&sizes, basis.part_bytes)
        .map_err(|error| CreateError::Layout(error.to_string()))?;
    place(&mut index, &items, &layout);
    index.references = found
        .references
        .into_iter()
        .map(|(repository, name, digest, source)| ReferenceEntry {
            repository: ids.id(&repository),
            tag: name.tag(),
            digest,
            source,
            class: ContentClass::Additional,
        })
        .collect();
    index.removals = gone
        .iter()
        .map(|(repository, name, digest)| -> Removal {
            history::removal(ids.id(repository), name, *digest)
        })
        .collect();
    Ok(Plan { index, items, layout, mapping: found.mapping, known_bytes, warnings: found.warnings })
}

/// Writes the places of the layout into the index.
fn place(index: &mut Index, items: &[Item], layout: &Layout) {
    let manifests = index.manifests.len();
    for (manifest, pieces) in index.manifests.iter_mut().zip(&layout.pieces) {
        manifest.pieces.clone_from(pieces);
    }
    let mut places: HashMap<Digest, usize> = HashMap::with_capacity(items.len());
    for (number, item) in items.iter().enumerate().skip(manifests) {
        places.insert(item.digest, number);
    }
    for blob in &mut index.blobs {
        blob.pieces.clone_from(&layout.pieces[places[&blob.digest]]);
    }
}

impl Collection {
    fn image(&mut self, image: &Image, known: &Known) {
        let repository = &image.destination.repository;
        for (number, wanted) in image.names.iter().enumerate() {
            let key = (repository.clone(), wanted.name.clone());
            if !self.desired.insert(key) {
                self.clash(repository, &wanted.name, wanted.digest);
                continue;
            }
            if number == 0 {
                let name = match &wanted.name {
                    Name::Tag(tag) => format!("{repository}:{tag}"),
                    Name::Digest(digest) => format!("{repository}@{digest}"),
                };
                self.mapping.push((wanted.source.clone(), name));
            }
            let mut closure = Vec::new();
            walk(image, wanted.digest, &mut closure, &mut HashSet::new());
            if self.stands(image, wanted, &closure, known) {
                continue;
            }
            self.references.push((
                repository.clone(),
                wanted.name.clone(),
                wanted.digest,
                wanted.source.clone(),
            ));
            for digest in &closure {
                let fresh = self.manifests.entry(*digest).or_insert_with(|| {
                    self.order.push(*digest);
                    BTreeSet::new()
                });
                fresh.insert(repository.clone());
                for (blob, size) in &image.manifests[digest].blobs {
                    let (_, repositories, origins) = self
                        .blobs
                        .entry(*blob)
                        .or_insert_with(|| (*size, BTreeSet::new(), Vec::new()));
                    repositories.insert(repository.clone());
                    if origins.len() < ORIGINS_MAX && !origins.contains(&image.origin) {
                        origins.push(image.origin.clone());
                    }
                }
            }
        }
    }

    /// Whether the target has this name with all that belongs to it.
    fn stands(
        &self,
        image: &Image,
        wanted: &crate::resolve::Wanted,
        closure: &[Digest],
        known: &Known,
    ) -> bool {
        let repository = &image.destination.repository;
        known.reference(repository, &wanted.name) == Some(wanted.digest)
            && closure.iter().all(|digest| {
                known.has_manifest(repository, digest)
                    && image.manifests[digest]
                        .blobs
                        .iter()
                        .all(|(blob, _)| known.home(blob).is_some())
            })
    }

    /// The same name a second time: images cannot clash here, what is attached to them can.
    fn clash(&mut self, repository: &Repository, name: &Name, digest: Digest) {
        let other = self
            .references
            .iter()
            .find(|(r, n, _, _)| r == repository && n == name)
            .is_some_and(|(_, _, first, _)| *first != digest);
        if other && let Name::Tag(tag) = name {
            self.warnings.push(format!(
                "`{repository}:{tag}` is attached to two images with different content: the first \
                 one is carried"
            ));
        }
    }
}

/// The manifests below `digest`, children first.
fn walk(image: &Image, digest: Digest, out: &mut Vec<Digest>, seen: &mut HashSet<Digest>) {
    // A stack of its own: a chain of nested indexes must not decide about ours.
    let mut stack = vec![(digest, false)];
    while let Some((digest, children_done)) = stack.pop() {
        if children_done {
            out.push(digest);
            continue;
        }
        let Some(node) = image.manifests.get(&digest) else { continue };
        if !seen.insert(digest) {
            continue;
        }
        stack.push((digest, true));
        for child in node.children.iter().rev() {
            stack.push((*child, false));
        }
    }
}

/// Repositories and their numbers in the index.
struct Ids {
    names: Vec<Repository>,
    ids: HashMap<Repository, u32>,
}

impl Ids {
    fn new(found: &Collection, gone: &[(Repository, Name, Digest)], known: &Known) -> Self {
        let mut names: BTreeSet<Repository> = BTreeSet::new();
        names.extend(found.references.iter().map(|(repository, ..)| repository.clone()));
        names.extend(gone.iter().map(|(repository, ..)| repository.clone()));
        names.extend(found.blobs.keys().filter_map(|blob| known.home(blob)).cloned());
        let names: Vec<Repository> = names.into_iter().collect();
        let ids = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.clone(), u32::try_from(n).expect("bounded by the index limits")))
            .collect();
        Self { names, ids }
    }

    fn id(&self, name: &Repository) -> u32 {
        self.ids[name]
    }

    fn of(&self, names: &BTreeSet<Repository>) -> Vec<u32> {
        names.iter().map(|name| self.id(name)).collect()
    }
}

/// A tag or nothing, for texts.
pub fn show(repository: &Repository, tag: Option<&Tag>, digest: &Digest) -> String {
    match tag {
        Some(tag) => format!("{repository}:{tag}"),
        None => format!("{repository}@{digest}"),
    }
}
