//! One image: its manifests, from the first down to the last child.
//!
//! In: a manifest that was read. Out: all that it reaches, each once, level by level. What must hold: an
//! image has a bounded number of manifests, and they do not contradict each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use format_spec::Digest;
use futures_util::StreamExt;
use registry::limits::REFERRERS_MAX;
use registry::manifest::ManifestError;
use registry::media_type;
use registry::reference::ManifestRef;

use crate::config::PlatformFilter;
use crate::error::reason;
use crate::node::{Node, Read, Reader};
use crate::origin::{Loss, OriginError};

/// Manifests that one image may consist of, attached ones included.
const MANIFESTS_MAX: usize = 10_000;

/// Why one image cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error("manifest {digest} is not valid: {error}")]
    Manifest { digest: Digest, error: ManifestError },
    #[error("it has a foreign layer {0}, which may not be redistributable")]
    Foreign(Digest),
    #[error("none of its platforms is asked for; it has {0}")]
    Platforms(String),
    #[error("its manifests disagree about the size of blob {digest}: {first} and {second} bytes")]
    Size { digest: Digest, first: u64, second: u64 },
    #[error("its manifest says {size} bytes for blob {digest}, that of `{other}` says {others}")]
    Dispute { digest: Digest, size: u64, other: String, others: u64 },
    #[error("it consists of more than {MANIFESTS_MAX} manifests")]
    Manifests,
    #[error("manifest {0} has more than {REFERRERS_MAX} referrers")]
    Referrers(Digest),
    #[error(
        "its index says that manifest {child} is {said}, and it is not: one digest would mean two things"
    )]
    Kind { child: Digest, said: &'static str },
    #[error("manifest {0} is named as a blob too")]
    Both(Digest),
    #[error("blob {0} is larger than {max} bytes", max = format_spec::limits::BLOB_MAX)]
    Blob(Digest),
}

impl From<ImageError> for Loss {
    fn from(error: ImageError) -> Self {
        let kind = match &error {
            ImageError::Origin(origin) => origin.kind(),
            _ => None,
        };
        let hint = match &error {
            ImageError::Foreign(_) => {
                Some("`--foreign-layers` carries it, where its publisher allows that".to_owned())
            }
            ImageError::Origin(origin) => origin.hint(),
            _ => None,
        };
        Self { kind, reason: reason(&error), hint }
    }
}

/// The manifests of one image, in the order of their digests. Most images have one: a map would take ten
/// times its size.
#[derive(Debug, Clone)]
pub struct Manifests(Box<[(Digest, Node)]>);

impl Manifests {
    /// The manifest of this digest.
    pub fn get(&self, digest: &Digest) -> Option<&Node> {
        let at = self.0.binary_search_by_key(digest, |(digest, _)| *digest).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Node)> {
        self.0.iter().map(|(digest, node)| (digest, node))
    }
}

/// The manifests of one image, as they are found.
pub(crate) struct Tree<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) manifests: BTreeMap<Digest, Node>,
    /// Whether children of an index are left out.
    pub(crate) sparse: bool,
}

impl<'a> Tree<'a> {
    /// None yet.
    pub(crate) fn new(reader: Reader<'a>) -> Self {
        Self { reader, manifests: BTreeMap::new(), sparse: false }
    }

    /// Adds a manifest and everything below it, each manifest once.
    pub(crate) async fn add(
        &mut self,
        root: Read,
        platforms: &[PlatformFilter],
    ) -> Result<(), ImageError> {
        let reader = self.reader;
        let mut queued = HashSet::new();
        let mut level = self.insert(root, &mut queued)?;
        while !level.is_empty() {
            let mut fetched = futures_util::stream::iter(level)
                .map(|(child, is_index)| async move {
                    let read = reader.manifest(&ManifestRef::Digest(child), platforms).await?;
                    // CVE-2021-41190: what reads by the descriptor sees one thing, what reads by the
                    // document another.
                    if media_type::is_index(&read.node.media_type) != is_index {
                        let said = if is_index { "an index" } else { "an image" };
                        return Err(ImageError::Kind { child, said });
                    }
                    Ok(read)
                })
                .buffer_unordered(8);
            let mut below = Vec::new();
            while let Some(child) = fetched.next().await {
                below.extend(self.insert(child?, &mut queued)?);
            }
            level = below;
        }
        Ok(())
    }

    /// Takes in one manifest. Returns those of its children that nobody has asked for yet, and whether it says that
    /// they are indexes.
    fn insert(
        &mut self,
        read: Read,
        queued: &mut HashSet<Digest>,
    ) -> Result<Vec<(Digest, bool)>, ImageError> {
        queued.remove(&read.digest);
        self.sparse |= read.sparse;
        let node = self.manifests.entry(read.digest).or_insert(read.node);
        let children = node.children.clone();
        let mut missing = Vec::new();
        for child in children {
            if !self.manifests.contains_key(&child) && queued.insert(child) {
                missing.push((child, read.indexes.contains(&child)));
            }
        }
        if self.manifests.len() + queued.len() > MANIFESTS_MAX {
            return Err(ImageError::Manifests);
        }
        Ok(missing)
    }

    /// All of them, unless they contradict each other.
    pub(crate) fn finish(self) -> Result<Manifests, ImageError> {
        check(&self.manifests)?;
        Ok(Manifests(self.manifests.into_iter().collect()))
    }
}

/// What no honest image does: one digest as manifest and blob, or with two sizes.
fn check(manifests: &BTreeMap<Digest, Node>) -> Result<(), ImageError> {
    let mut sizes = HashMap::new();
    for (digest, size) in manifests.values().flat_map(|node| node.blobs.iter()) {
        if manifests.contains_key(digest) {
            return Err(ImageError::Both(*digest));
        }
        if *size > format_spec::limits::BLOB_MAX {
            return Err(ImageError::Blob(*digest));
        }
        let first = *sizes.entry(*digest).or_insert(*size);
        if first != *size {
            return Err(ImageError::Size { digest: *digest, first, second: *size });
        }
    }
    Ok(())
}
