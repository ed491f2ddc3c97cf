//! Indexes of which a sequence does not carry every child: not every registry takes them.
//!
//! In: a sequence whose turn it is, and the target. Out: nothing, or a refusal before the first byte. Whether a registry
//! takes such an index depends on its version and its settings, so it is asked: it gets an index of nothing but
//! the children that were left out, without a tag, and that is removed again. A setting that wants some platforms whole
//! (CNCF distribution 3: `platforms: list`) is thus asked about those that are missing, and no others.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use format_spec::index::RepositoryId;
use format_spec::{Digest, Repository, Sequence};
use registry::client::Fault;
use registry::manifest::Manifest;
use registry::media_type::is_index;
use registry::reference::ManifestRef;
use serde_json::{Value, json};

use crate::error::ImportError;
use crate::images::images_with;
use crate::paths::Destination;
use crate::verify::Verified;

/// The first such index of a sequence, and all images with one.
#[derive(Debug, Clone)]
pub(crate) struct Sparse {
    sequence: Sequence,
    place: Repository,
    media_type: String,
    /// An index of what was left out.
    probe: Bytes,
    images: Vec<String>,
}

/// Looks for them. Reads the indexes from the parts, so not on a thread of the sockets; what is damaged there is found
/// again by the import itself.
pub(crate) fn find(verified: &Verified, at: &Destination) -> Result<Option<Sparse>, ImportError> {
    let (index, content) = (&verified.index, &verified.content);
    if !index.manifests.iter().any(|entry| is_index(&entry.media_type)) {
        return Ok(None);
    }
    let places = at.places(index)?;
    let carried: HashMap<Digest, &[RepositoryId]> =
        index.manifests.iter().map(|entry| (entry.digest, &*entry.repositories)).collect();
    let mut first = None;
    let mut all = HashSet::new();
    for entry in index.manifests.iter().filter(|entry| is_index(&entry.media_type)) {
        let Ok(bytes) = content.manifest(entry) else { continue };
        let Ok(manifest) = Manifest::parse(&bytes, Some(&entry.media_type)) else { continue };
        for id in &entry.repositories {
            // A child that another repository gets is not in this one.
            let here = |child: &Digest| carried.get(child).is_some_and(|ids| ids.contains(id));
            let children = manifest.children().iter().map(|child| child.digest);
            let lacks: HashSet<String> =
                children.filter(|child| !here(child)).map(|d| d.to_string()).collect();
            if lacks.is_empty() {
                continue;
            }
            all.insert(entry.digest);
            if first.is_none()
                && let Some(probe) = probe(&bytes, &entry.media_type, &lacks)
            {
                first = Some((places[*id as usize].clone(), entry.media_type.clone(), probe));
            }
        }
    }
    let Some((place, media_type, probe)) = first else { return Ok(None) };
    let images = images_with(index, &all);
    Ok(Some(Sparse { sequence: verified.head.sequence, place, media_type, probe, images }))
}

/// An index that names what the other one names and this sequence leaves out.
fn probe(bytes: &[u8], media_type: &str, lacks: &HashSet<String>) -> Option<Bytes> {
    let index: Value = serde_json::from_slice(bytes).ok()?;
    let left_out: Vec<&Value> = index["manifests"]
        .as_array()?
        .iter()
        .filter(|child| child["digest"].as_str().is_some_and(|digest| lacks.contains(digest)))
        .collect();
    let document = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": left_out });
    Some(Bytes::from(document.to_string()))
}

impl Sparse {
    /// Asks the target whether it takes an index without its children.
    pub(crate) async fn check(&self, at: &Destination) -> Result<(), ImportError> {
        let name = ManifestRef::Digest(Digest::of(&self.probe));
        let (host, place) = (at.host(), &self.place);
        // What is there is somebody's, and its answer is known.
        if at.client.head_manifest(host, place, &name).await?.is_some() {
            return Ok(());
        }
        let sent =
            at.client.put_manifest(host, place, &name, &self.media_type, self.probe.clone()).await;
        match sent {
            Ok(_) => {
                // Without a tag, of a few hundred bytes: where nothing is deleted it may stay.
                if let Err(error) = at.client.delete_manifest(host, place, &name).await {
                    tracing::debug!(%error, "the question about indexes stays at the target");
                }
                Ok(())
            }
            Err(error) => match error.fault() {
                Fault::NotFound { detail, .. }
                | Fault::Refused { status: 400 | 404 | 409 | 412 | 422, detail, .. } => {
                    Err(ImportError::Sparse {
                        host: host.to_string(),
                        sequence: self.sequence,
                        images: self.images.clone(),
                        said: detail.clone(),
                    })
                }
                // It does not say what would become of the real one.
                fault => {
                    tracing::debug!(%fault, "no answer to the question about indexes");
                    Ok(())
                }
            },
        }
    }
}
