//! One manifest: what stays of it.
//!
//! In: a reference at an origin. Out: its children (those of the wanted platforms), its blobs with their
//! sizes, and its bytes while they are few. Beyond that they are fetched again for their place in the part,
//! so that memory grows neither with the size of manifests nor with their bytes in all.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use format_spec::{Digest, Tag};
use registry::manifest::{Descriptor, Manifest, ManifestError, RawManifest};
use registry::media_type::{self, essence};
use registry::reference::ManifestRef;

use crate::config::PlatformFilter;
use crate::listed::Place;
use crate::lock;
use crate::origin::{Origin, Origins};
use crate::resolve::Rules;
use crate::tree::ImageError;

/// Bytes of a manifest that is kept until it is packed: ten times the usual ones.
const KEPT_EACH: usize = 64 * 1024;

/// Bytes of all manifests kept: those of some two hundred images. What comes after them costs one request more.
const KEPT_ALL: usize = 2 * 1024 * 1024;

/// A manifest that was fetched.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, exactly as received; none when they are to be fetched again.
    pub bytes: Option<Bytes>,
    /// The media type it was received with.
    pub media_type: Arc<str>,
    /// The children that are carried.
    pub children: Box<[Digest]>,
    /// Its blobs and their sizes.
    pub blobs: Box<[(Digest, u64)]>,
}

/// A manifest that was read.
pub(crate) struct Read {
    pub(crate) digest: Digest,
    pub(crate) node: Node,
    /// Those of its children that it says are indexes.
    pub(crate) indexes: Box<[Digest]>,
    /// Whether children of the index are left out.
    pub(crate) sparse: bool,
}

/// Reads manifests of one origin.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) origins: &'a Origins,
    pub(crate) origin: &'a Origin,
    pub(crate) rules: &'a Rules,
    pub(crate) shelf: &'a Shelf,
    pub(crate) place: Place<'a>,
}

impl Reader<'_> {
    pub(crate) async fn manifest(
        &self,
        reference: &ManifestRef,
        platforms: &[PlatformFilter],
    ) -> Result<Read, ImageError> {
        let arrived = self.origins.manifest(self.origin, reference).await?;
        self.read(&arrived.raw, platforms)
    }

    pub(crate) async fn tagged(&self, tag: &Tag) -> Result<Option<Read>, ImageError> {
        let arrived = self.origins.tagged(self.origin, tag).await?;
        arrived.map(|arrived| self.read(&arrived.raw, &[])).transpose()
    }

    /// What stays of a manifest.
    pub(crate) fn read(
        &self,
        raw: &RawManifest,
        platforms: &[PlatformFilter],
    ) -> Result<Read, ImageError> {
        let manifest = self
            .shelf
            .parse(raw)
            .map_err(|error| ImageError::Manifest { digest: raw.digest, error })?;
        let (mut children, mut blobs, mut sparse) = (Vec::new(), Vec::new(), false);
        let mut indexes = Vec::new();
        match &manifest {
            Manifest::Index(index) => {
                children = choose(&index.manifests, platforms)?;
                sparse = children.len() < index.manifests.len();
                let is_index = |m: &&Descriptor| media_type::is_index(&essence(&m.media_type));
                indexes.extend(index.manifests.iter().filter(is_index).map(|m| m.digest));
            }
            Manifest::Image(_) => {
                for blob in manifest.blobs() {
                    let foreign =
                        media_type::is_foreign_layer(&blob.media_type) || !blob.urls.is_empty();
                    if foreign && !self.rules.foreign_layers {
                        return Err(ImageError::Foreign(blob.digest));
                    }
                    blobs.push((blob.digest, blob.size));
                }
            }
        }
        let node = Node {
            size: raw.bytes.len() as u64,
            bytes: self.shelf.keep(&raw.bytes),
            media_type: self.shelf.media_type(&raw.media_type),
            children: children.into(),
            blobs: blobs.into(),
        };
        Ok(Read { digest: raw.digest, node, indexes: indexes.into(), sparse })
    }
}

/// What the images share while they are resolved.
pub(crate) struct Shelf {
    /// Bytes of manifests that may still be kept.
    left: Mutex<usize>,
    /// Media types: a handful, one for each of all manifests.
    media_types: Mutex<HashSet<Arc<str>>>,
    /// A parsed document takes several times its bytes, so the large ones are parsed one after another.
    parsing: Mutex<()>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            left: Mutex::new(KEPT_ALL),
            media_types: Mutex::default(),
            parsing: Mutex::default(),
        }
    }
}

impl Shelf {
    /// The bytes in an allocation of their own, if they may be kept.
    fn keep(&self, bytes: &[u8]) -> Option<Bytes> {
        let mut left = lock(&self.left);
        if bytes.len() > KEPT_EACH || bytes.len() > *left {
            return None;
        }
        *left -= bytes.len();
        Some(Bytes::copy_from_slice(bytes))
    }

    fn media_type(&self, name: &str) -> Arc<str> {
        let mut known = lock(&self.media_types);
        if let Some(media_type) = known.get(name) {
            return Arc::clone(media_type);
        }
        let media_type: Arc<str> = name.into();
        known.insert(Arc::clone(&media_type));
        media_type
    }

    fn parse(&self, raw: &RawManifest) -> Result<Manifest, ManifestError> {
        let _one = (raw.bytes.len() > KEPT_EACH).then(|| lock(&self.parsing));
        raw.parse()
    }
}

/// The children of an index that are carried: all, or those of the wanted platforms with the
/// attestations that belong to them.
fn choose(
    manifests: &[Descriptor],
    platforms: &[PlatformFilter],
) -> Result<Vec<Digest>, ImageError> {
    if platforms.is_empty() {
        return Ok(manifests.iter().map(|m| m.digest).collect());
    }
    let wanted = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| {
            platforms.iter().any(|w| w.os == platform.os && w.architecture == platform.architecture)
        })
    };
    let mut chosen: Vec<Digest> = manifests.iter().filter(wanted).map(|m| m.digest).collect();
    // BuildKit's attestations stand beside the images, as platform unknown/unknown.
    let belongs = |descriptor: &Descriptor| {
        descriptor
            .annotations
            .get("vnd.docker.reference.digest")
            .and_then(|digest| digest.parse().ok())
            .is_some_and(|digest: Digest| chosen.contains(&digest))
    };
    let more: Vec<_> = manifests.iter().filter(|m| belongs(m)).map(|m| m.digest).collect();
    if chosen.is_empty() {
        let mut has: Vec<String> = manifests
            .iter()
            .filter_map(|m| m.platform.as_ref())
            .map(|p| format!("{}/{}", p.os, p.architecture))
            .collect();
        has.dedup();
        has.truncate(20);
        return Err(ImageError::Platforms(has.join(", ")));
    }
    for child in more {
        if !chosen.contains(&child) {
            chosen.push(child);
        }
    }
    Ok(chosen)
}
