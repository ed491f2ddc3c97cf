//! Images that are made here: each an OCI layout in the workspace, some on a base whose blobs stay where they are.
//!
//! In: documents and layers, the base. Out: a layout, and where the blobs are that it does not have. What must hold: what an
//! earlier run made stays in the layout, so that its sequence can be written again; the index comes last.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use format_spec::Digest;
use registry::lasting;
use registry::layout::Layout;
use registry::media_type::OCI_INDEX;
use registry::reference::Reference;
use serde_json::{Value, json};

use crate::durable;
use crate::origin::Origin;

/// The directory of a workspace that all of them are in.
const DIRECTORY: &str = "made";

/// The annotations of the OCI image specification that name a base image.
pub(crate) const BASE_NAME: &str = "org.opencontainers.image.base.name";
pub(crate) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// How a base is named that is a directory.
const LAYOUT: &str = "oci://";

/// The layout of an image that is called `name` here: one component, or two.
pub(crate) fn place(workspace: &Path, name: &[&str]) -> PathBuf {
    let mut path = workspace.join(DIRECTORY);
    path.extend(name);
    path
}

/// How the base is named in a layout.
pub(crate) fn base_name(base: &Origin) -> Option<String> {
    match base {
        Origin::Registry(host, repository) => Some(format!("{host}/{repository}")),
        Origin::Layout(path) => {
            Some(format!("{LAYOUT}{}", std::path::absolute(path).ok()?.display()))
        }
        Origin::Shelf(_) => None,
    }
}

/// Where the blobs are that a layout of ours does not have.
pub(crate) fn base_of(origin: &Origin) -> Option<Origin> {
    let Origin::Layout(path) = origin else { return None };
    // Of a layout of somebody else nothing is asked anywhere.
    if !path.ancestors().skip(1).take(2).any(|above| above.file_name() == Some(DIRECTORY.as_ref()))
    {
        return None;
    }
    let layout = Layout::open(path).ok()?;
    let entry = layout.index().manifests.first()?;
    let name = entry.annotations.get(BASE_NAME)?;
    if let Some(path) = name.strip_prefix(LAYOUT) {
        return Some(Origin::Layout(path.into()));
    }
    let base: Reference = name.parse().ok()?;
    Some(Origin::Registry(base.registry, base.repository))
}

/// The documents of an image, by their digests.
#[derive(Debug, Default)]
pub(crate) struct Documents(BTreeMap<Digest, Bytes>);

impl Documents {
    /// Takes a document in and gives its descriptor.
    pub(crate) fn put(&mut self, kind: &str, document: &Value) -> Value {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::of(&bytes);
        let descriptor =
            json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() });
        self.0.insert(digest, bytes);
        descriptor
    }

    /// Takes in what is no document, as a small layer.
    pub(crate) fn put_bytes(&mut self, digest: Digest, bytes: Bytes) {
        self.0.insert(digest, bytes);
    }
}

/// Everything of an image that its base does not have.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its documents and small layers.
    pub(crate) documents: Documents,
    /// The descriptor of the image, or of the index of images.
    pub(crate) root: Value,
    /// How its base is named, if it has one.
    pub(crate) base: Option<String>,
}

impl Made {
    /// The digest of the image, or of the index of images.
    pub(crate) fn digest(&self) -> Digest {
        self.root["digest"].as_str().and_then(|text| text.parse().ok()).expect("just made")
    }

    /// Writes the layout, its index last. Large layers are there before.
    pub(crate) fn write(&self, path: &Path, name: &str) -> io::Result<()> {
        let blobs = blobs(path);
        lasting::make(&blobs)?;
        for (digest, bytes) in &self.documents.0 {
            let blob = blobs.join(digest.hex());
            if !is_there(&blob, bytes)? {
                durable::write(&blob, bytes)?;
            }
        }
        durable::write(&path.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut entry = self.root.clone();
        entry["annotations"] = json!({ registry::layout::REF_NAME: name });
        if let Some(base) = &self.base {
            entry["annotations"][BASE_NAME] = json!(base);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        durable::write(&path.join("index.json"), index.to_string().as_bytes())
    }
}

/// The directory of a layout that its blobs are in.
pub(crate) fn blobs(layout: &Path) -> PathBuf {
    layout.join("blobs").join("sha256")
}

/// Whether a file has these bytes.
fn is_there(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    file.take(bytes.len() as u64 + 1).read_to_end(&mut found)?;
    Ok(found == bytes)
}
