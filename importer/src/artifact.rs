//! Small OCI artifacts in which this program keeps its records at the target: any registry stores
//! them, they are read with the rights of a pull and written with those of a push.
//!
//! In: a record as JSON. Out: an image manifest with the empty configuration (OCI image
//! specification 1.1, "Guidelines for artifact usage"), the record as its layer or annotation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use format_spec::{Digest, Tag};
use futures_util::future::try_join_all;
use registry::client::{ClientError, ErrorKind};
use registry::manifest::{ImageManifest, Manifest};
use registry::media_type::{OCI_CONFIG, OCI_EMPTY, OCI_LAYER, OCI_MANIFEST};
use registry::reference::ManifestRef;
use serde_json::{Value, json};

use crate::error::ImportError;
use crate::paths::Destination;
use crate::settled::{is_of_a_kind, settle};

/// The empty configuration.
const EMPTY: &[u8] = b"{}";

/// A layer of an artifact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) kind: &'static str,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Layer {
    fn of(kind: &'static str, bytes: &[u8]) -> Self {
        Self { kind, digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({ "mediaType": kind, "digest": self.digest.to_string(), "size": self.size })
    }
}

/// Writes an artifact under a tag: `layer` as its content, or nothing, and annotations. Returns the
/// digest of its manifest.
pub(crate) async fn put(
    at: &Destination,
    tag: &Tag,
    kind: &'static str,
    layer: Option<Bytes>,
    annotations: &[(&str, String)],
) -> Result<Digest, ImportError> {
    let content = match &layer {
        Some(layer) => Layer::of(kind, layer),
        None => Layer::of(OCI_EMPTY, EMPTY),
    };
    // The empty configuration is no blob of an image.
    let empty = (layer.is_none() || !at.plain.load(Ordering::Relaxed)).then_some(EMPTY);
    let blobs = empty.map(Bytes::from_static).into_iter().chain(layer);
    try_join_all(blobs.map(|blob| blob_there(at, blob))).await?;
    name(at, tag, kind, &[content], annotations).await
}

/// Writes the manifest of an artifact whose layers, and whose empty configuration, are at the target. A registry that
/// takes images only (Artifactory, GoogleContainerTools/jib#3281) gets the same in the form of one: what is read of it
/// is the same in both.
pub(crate) async fn name(
    at: &Destination,
    tag: &Tag,
    kind: &str,
    layers: &[Layer],
    annotations: &[(&str, String)],
) -> Result<Digest, ImportError> {
    let reference = ManifestRef::Tag(tag.clone());
    let settled = async |digest, error| {
        settle(at, &at.ledger, &reference, digest, error).await.map(|()| digest)
    };
    if !at.plain.load(Ordering::Relaxed) {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": Layer::of(OCI_EMPTY, EMPTY).descriptor(OCI_EMPTY),
            "layers": layers.iter().map(|layer| layer.descriptor(layer.kind)).collect::<Vec<_>>(),
            "annotations": notes(annotations),
        });
        let (digest, sent) = document(at, &reference, &manifest).await;
        match sent {
            Ok(()) => return Ok(digest),
            Err(error) if is_of_a_kind(&error) => {
                tracing::debug!(%error, "the records take the form of images here");
            }
            Err(error) => return settled(digest, error).await,
        }
    }
    let (digest, sent) = send_plain(at, &reference, layers, annotations).await?;
    match sent {
        Ok(()) => {
            at.plain.store(true, Ordering::Relaxed);
            Ok(digest)
        }
        Err(error) => settled(digest, error).await,
    }
}

type Sent = (Digest, Result<(), ClientError>);

/// As an image.
async fn send_plain(
    at: &Destination,
    reference: &ManifestRef,
    layers: &[Layer],
    annotations: &[(&str, String)],
) -> Result<Sent, ImportError> {
    let digests: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let config = Bytes::from(config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Layer::of(OCI_CONFIG, &config).descriptor(OCI_CONFIG),
        "layers": layers.iter().map(|layer| layer.descriptor(OCI_LAYER)).collect::<Vec<_>>(),
        "annotations": notes(annotations),
    });
    blob_there(at, config).await?;
    Ok(document(at, reference, &manifest).await)
}

fn notes(annotations: &[(&str, String)]) -> serde_json::Map<String, Value> {
    annotations.iter().map(|(k, v)| ((*k).to_owned(), Value::from(v.as_str()))).collect()
}

/// Sends a manifest. What the registry says of it is the caller's to understand.
async fn document(at: &Destination, reference: &ManifestRef, manifest: &Value) -> Sent {
    let bytes = Bytes::from(manifest.to_string());
    let digest = Digest::of(&bytes);
    let sent = at.client.put_manifest(at.host(), &at.ledger, reference, OCI_MANIFEST, bytes).await;
    (digest, sent.map(drop))
}

/// Brings a blob of an artifact to the target, unless it is there.
pub(crate) async fn blob_there(at: &Destination, blob: Bytes) -> Result<(), ImportError> {
    let (digest, size) = (Digest::of(&blob), blob.len() as u64);
    if at.client.head_blob(at.host(), &at.ledger, &digest).await?.is_none() {
        at.client.push_blob(at.host(), &at.ledger, &digest, size, Arc::new(blob), None).await?;
    }
    Ok(())
}

/// Reads the artifact under a tag; `None` when there is none.
pub(crate) async fn get(at: &Destination, tag: &Tag) -> Result<Option<ImageManifest>, ImportError> {
    let reference = ManifestRef::Tag(tag.clone());
    let raw = match at.client.get_manifest(at.host(), &at.ledger, &reference).await {
        Ok(raw) => raw,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match raw.parse() {
        Ok(Manifest::Image(manifest)) => Ok(Some(manifest)),
        Ok(Manifest::Index(_)) => Err(unusable(at, tag, "it is an index".to_owned())),
        Err(error) => Err(unusable(at, tag, error.to_string())),
    }
}

/// The content of an artifact that has one layer, of at most `max` bytes; `None` when the target has lost it.
pub(crate) async fn content(
    at: &Destination,
    tag: &Tag,
    manifest: &ImageManifest,
    max: u64,
) -> Result<Option<Bytes>, ImportError> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(unusable(at, tag, format!("{} layers instead of one", manifest.layers.len())));
    };
    if layer.size > max {
        return Err(unusable(at, tag, format!("{} bytes, at most {max}", layer.size)));
    }
    let (digest, size) = (&layer.digest, layer.size);
    match at.client.get_blob_bytes(at.host(), &at.ledger, digest, size, max).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The error for a record at the target that this program did not write.
pub(crate) fn unusable(at: &Destination, tag: &Tag, problem: String) -> ImportError {
    ImportError::Record { place: format!("{}/{}:{tag}", at.host(), at.ledger), problem }
}
