//! Which images a blob belongs to: asked only when something is wrong with it, so that the message
//! can name them.
//!
//! In: digests of blobs or manifests. Out: `repository:tag` of the references that reach them. The
//! index does not list the blobs of an image, its manifests do; manifests that are damaged
//! themselves are passed over, and then the names of the repositories have to do.

use std::collections::HashSet;

use format_spec::Digest;
use format_spec::index::{Index, ReferenceEntry};
use registry::manifest::Manifest;

use crate::limits::IMAGES_NAMED;
use crate::unpack::{Content, repositories_of};

/// The images that need any of `wanted`, at most a handful.
pub(crate) fn images_of(content: &Content, index: &Index, wanted: &[Digest]) -> Vec<String> {
    let mut reached: HashSet<Digest> = wanted.iter().copied().collect();
    // Children stand before their parents, so one pass reaches every ancestor.
    for entry in &index.manifests {
        let Ok(bytes) = content.manifest(entry) else { continue };
        let Ok(manifest) = Manifest::parse(&bytes, Some(&entry.media_type)) else { continue };
        if manifest
            .blobs()
            .into_iter()
            .chain(manifest.children())
            .any(|d| reached.contains(&d.digest))
        {
            reached.insert(entry.digest);
        }
    }
    let names = index.references.iter().filter(|r| reached.contains(&r.digest));
    let mut images: Vec<String> = names.map(|r| name(index, r)).collect();
    if images.is_empty() {
        let ids: HashSet<u32> =
            wanted.iter().flat_map(|digest| repositories_of(index, digest)).copied().collect();
        let references = index.references.iter().filter(|r| ids.contains(&r.repository));
        images = references.map(|r| name(index, r)).collect();
    }
    bounded(images)
}

/// The images with one of these digests as their own, at most a handful.
pub(crate) fn images_with(index: &Index, digests: &HashSet<Digest>) -> Vec<String> {
    let named = index.references.iter().filter(|r| digests.contains(&r.digest));
    bounded(named.map(|r| name(index, r)).collect())
}

fn bounded(mut images: Vec<String>) -> Vec<String> {
    let more = images.len().saturating_sub(IMAGES_NAMED);
    images.truncate(IMAGES_NAMED);
    if more > 0 {
        images.push(format!("{more} more"));
    }
    images
}

fn name(index: &Index, reference: &ReferenceEntry) -> String {
    let repository = index.repository(reference.repository);
    match &reference.tag {
        Some(tag) => format!("{repository}:{tag}"),
        None => format!("{repository}@{}", reference.digest),
    }
}
