//! Referrers at a registry that keeps no list of them.
//!
//! In: the manifests with a `subject` that the registry took without answering `OCI-Subject`. Out:
//! for each subject the index under its referrers tag, `sha256-<hex>`, names them, so that clients
//! find signatures and SBOMs there (OCI distribution specification 1.1, "Pushing manifests with
//! subject"). What the index names already stays. A tag that the sequence itself carries is left to
//! the sequence.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use format_spec::index::{Index, ManifestEntry, RepositoryId};
use format_spec::{Digest, Repository, Tag};
use registry::client::ErrorKind;
use registry::limits::REFERRERS_MAX;
use registry::manifest::Manifest;
use registry::media_type::OCI_INDEX;
use registry::reference::ManifestRef;
use serde_json::{Value, json};

use crate::error::ImportError;
use crate::paths::Destination;

/// The referrers whose list is ours to keep: by repository and subject.
#[derive(Debug, Default)]
pub(crate) struct Subjects(Mutex<BTreeMap<(RepositoryId, Digest), BTreeMap<Digest, Value>>>);

impl Subjects {
    /// Notes a manifest that the registry took without indexing a subject. Most have none.
    pub(crate) fn note(&self, repository: RepositoryId, entry: &ManifestEntry, bytes: &[u8]) {
        let Ok(manifest) = Manifest::parse(bytes, Some(&entry.media_type)) else { return };
        let Some(subject) = manifest.subject() else { return };
        let (artifact_type, annotations) = match &manifest {
            Manifest::Image(image) => (
                image.artifact_type.as_ref().unwrap_or(&image.config.media_type).clone(),
                &image.annotations,
            ),
            Manifest::Index(index) => {
                (index.artifact_type.clone().unwrap_or_default(), &index.annotations)
            }
        };
        let mut descriptor = json!({
            "mediaType": entry.media_type,
            "digest": entry.digest.to_string(),
            "size": entry.size,
        });
        if !artifact_type.is_empty() {
            descriptor["artifactType"] = artifact_type.into();
        }
        if !annotations.is_empty() {
            descriptor["annotations"] = json!(annotations);
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((repository, subject.digest))
            .or_default()
            .insert(entry.digest, descriptor);
    }

    /// Brings the indexes under the referrers tags up to date.
    pub(crate) async fn write(
        &self,
        at: &Destination,
        places: &[Repository],
        index: &Index,
    ) -> Result<(), ImportError> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let carried: HashSet<(RepositoryId, &Tag)> =
            index.references.iter().filter_map(|r| Some((r.repository, r.tag.as_ref()?))).collect();
        for ((repository, subject), referrers) in noted {
            let tag: Tag = format!("sha256-{}", subject.hex()).parse().expect("71 characters");
            if !carried.contains(&(repository, &tag)) {
                add(at, &places[repository as usize], tag, referrers).await?;
            }
        }
        Ok(())
    }
}

async fn add(
    at: &Destination,
    place: &Repository,
    tag: Tag,
    mut referrers: BTreeMap<Digest, Value>,
) -> Result<(), ImportError> {
    let reference = ManifestRef::Tag(tag);
    let mut list = match at.client.get_manifest(at.host(), place, &reference).await {
        Ok(raw) => match raw.parse() {
            Ok(Manifest::Index(index)) => {
                for entry in &index.manifests {
                    referrers.remove(&entry.digest);
                }
                serde_json::from_slice::<Value>(&raw.bytes).unwrap_or_default()
            }
            // Somebody gave an image this tag: it is not ours to replace.
            _ => return Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error.into()),
    };
    if referrers.is_empty() {
        return Ok(());
    }
    if !list.is_object() {
        list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    }
    if let Some(manifests) = list["manifests"].as_array_mut() {
        let room = REFERRERS_MAX.saturating_sub(manifests.len());
        manifests.extend(referrers.into_values().take(room));
    }
    let bytes = Bytes::from(list.to_string());
    at.client.put_manifest(at.host(), place, &reference, OCI_INDEX, bytes).await?;
    Ok(())
}
