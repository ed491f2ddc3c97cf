//! Manifests and indexes, typed.
//!
//! In: the bytes of one manifest (bounded) and the media type they came with. Out: its descriptors.
//! What must hold: a document has exactly one meaning (CVE-2021-41190), every digest is a
//! [`Digest`], every size is bounded. The bytes themselves stay as they were received; nothing here is
//! ever written back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use format_spec::Digest;
use format_spec::limits::{BLOB_MAX, DEPTH_MAX, MANIFEST_MAX, TEXT_MAX};

use crate::content::ContentDigest;
use crate::json::{Node, Object, Want};
use crate::limits::DESCRIPTORS_MAX;
use crate::media_type::{
    self, OCI_INDEX, OCI_MANIFEST, essence, is_index, is_manifest, is_schema1,
};

/// Why bytes are not a manifest that can be carried.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MANIFEST_MAX`].
    #[error("the manifest has {0} bytes, more than the limit of {MANIFEST_MAX}")]
    TooLarge(u64),
    /// Not strict JSON: syntax, a key twice, too deep, bytes after the end.
    #[error("the manifest is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// Docker schema 1.
    #[error(
        "the manifest is Docker schema 1, which is not supported (its digest does not cover the \
         document); push the image again with a current tool"
    )]
    Schema1,
    /// `schemaVersion` is missing or neither 1 nor 2.
    #[error("the manifest's `schemaVersion` is not 2")]
    SchemaVersion,
    /// Both an index and an image (CVE-2021-41190).
    #[error("the manifest has both `manifests` and `{0}`, so its digest would mean two things")]
    Ambiguous(&'static str),
    /// The media type and the document disagree.
    #[error("the manifest was sent as `{expected}` but says it is `{found}`")]
    TypeMismatch {
        /// What the transport or descriptor said.
        expected: String,
        /// What the document says or looks like.
        found: String,
    },
    /// A media type that is no manifest.
    #[error("media type is not a manifest's: `{0}`")]
    NotAManifest(String),
    /// A field that must be there is missing.
    #[error("the manifest has no `{0}`")]
    Missing(String),
    /// A field of the wrong kind, out of range or too long.
    #[error("the manifest's `{field}` is not {expected}")]
    Field {
        /// Path of the field, for example `layers[3].size`.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A digest that is malformed, or of an algorithm that is not carried here.
    #[error("the manifest's `{field}`: {error}")]
    Digest {
        /// Path of the field.
        field: String,
        /// What is wrong.
        error: String,
    },
    /// More than [`DESCRIPTORS_MAX`] descriptors.
    #[error("the manifest lists {0} descriptors, more than the limit of {DESCRIPTORS_MAX}")]
    TooMany(usize),
}

/// What a child of an index runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, as Go names it: `linux`.
    pub os: String,
    /// Processor, as Go names it: `amd64`.
    pub architecture: String,
    /// Processor variant: `v8`.
    pub variant: Option<String>,
    /// Version of the operating system (Windows images).
    pub os_version: Option<String>,
}

/// What a manifest or blob is, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor<D = Digest> {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: D,
    /// Length of the content in bytes, at most [`BLOB_MAX`].
    pub size: u64,
    /// What it runs on (children of an index).
    pub platform: Option<Platform>,
    /// Other places to get it (foreign layers). Never fetched from.
    pub urls: Vec<String>,
    /// Type of the artifact (referrers).
    pub artifact_type: Option<String>,
    /// Free text.
    pub annotations: BTreeMap<String, String>,
}

/// An image or artifact manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest<D = Digest> {
    /// Its own media type.
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor<D>,
    /// The layers, in order.
    pub layers: Vec<Descriptor<D>>,
    /// The manifest this one refers to (signatures, attestations).
    pub subject: Option<Descriptor<D>>,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// Free text.
    pub annotations: BTreeMap<String, String>,
}

/// An image index or manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexManifest<D = Digest> {
    /// Its own media type.
    pub media_type: String,
    /// The children, in order.
    pub manifests: Vec<Descriptor<D>>,
    /// The manifest this one refers to.
    pub subject: Option<Descriptor<D>>,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// Free text.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of either kind.
#[allow(clippy::large_enum_variant)] // one at a time, short-lived: a box would only cost
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest<D = Digest> {
    /// Configuration and layers.
    Image(ImageManifest<D>),
    /// Other manifests.
    Index(IndexManifest<D>),
}

/// A manifest exactly as it was received.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// The bytes; never serialised again.
    pub bytes: Bytes,
    /// Their digest, computed here.
    pub digest: Digest,
    /// What they were sent as, or what they say they are when the sender did not say.
    pub media_type: String,
}

impl RawManifest {
    /// Parses the bytes; errors as of [`Manifest::parse`].
    pub fn parse(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse(&self.bytes, Some(&self.media_type))
    }
}

impl Manifest {
    /// Parses the bytes of a manifest. `media_type` is what the transport or the parent's descriptor
    /// said (parameters allowed); general types such as `application/json` count as not said.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        Self::read(bytes, media_type)
    }
}

impl Manifest<ContentDigest> {
    /// The same, where digests may be of any kind that a registry stores.
    pub fn parse_any(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        Self::read(bytes, media_type)
    }
}

impl<D: FromStr<Err: Display>> Manifest<D> {
    fn read(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        let document = Document::read(bytes, media_type, &MANIFEST, |descriptor| descriptor)?;
        let Document { media_type, config, list, subject, artifact_type, annotations } = document;
        Ok(match config {
            Some(config) => Self::Image(ImageManifest {
                media_type,
                config,
                layers: list,
                subject,
                artifact_type,
                annotations,
            }),
            None => Self::Index(IndexManifest {
                media_type,
                manifests: list,
                subject,
                artifact_type,
                annotations,
            }),
        })
    }
}

/// A manifest of either kind, with what is kept of each of its layers or children.
pub(crate) struct Document<D, T> {
    pub(crate) media_type: String,
    /// The configuration; an index has none.
    pub(crate) config: Option<Descriptor<D>>,
    pub(crate) list: Vec<T>,
    pub(crate) subject: Option<Descriptor<D>>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl<D: FromStr<Err: Display>, T> Document<D, T> {
    /// Reads what is wanted of a manifest. `keep` gets one descriptor after the other, so that it costs no more than what is
    /// kept.
    pub(crate) fn read(
        bytes: &[u8],
        media_type: Option<&str>,
        want: &'static Want,
        keep: impl Fn(Descriptor<D>) -> T,
    ) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(ManifestError::TooLarge(bytes.len() as u64));
        }
        let said = media_type.map(essence).filter(|said| !is_general(said));
        if said.as_deref().is_some_and(is_schema1) {
            return Err(ManifestError::Schema1);
        }
        if let Some(said) = &said
            && !is_index(said)
            && !is_manifest(said)
        {
            return Err(ManifestError::NotAManifest(clip(said)));
        }
        let (layers, manifests) = (RefCell::default(), RefCell::default());
        let take = |name: &'static str, number: usize, item: &Node<'_>| {
            let list: &RefCell<List<T>> = if name == LAYERS { &layers } else { &manifests };
            list.borrow_mut().take(name, number, item, &keep);
        };
        let document = crate::json::parse_each(bytes, DEPTH_MAX, want, &take);
        let Node::Object(document) = document.map_err(ManifestError::Json)? else {
            return Err(ManifestError::Field {
                field: "document".into(),
                expected: "a JSON object",
            });
        };
        let fields = Fields { map: &document, path: "" };
        match document.get("schemaVersion").and_then(Node::as_u64) {
            Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            _ => return Err(ManifestError::SchemaVersion),
        }
        let media_type = settle_type(said, fields.text("mediaType")?, &document)?;
        let subject = fields.object("subject")?.map(|s| s.descriptor()).transpose()?;
        let artifact_type = fields.text("artifactType")?;
        let annotations = fields.annotations()?;
        let (config, list) = if is_index(&media_type) {
            (None, fields.list(MANIFESTS, manifests.into_inner())?)
        } else {
            let config = fields
                .object("config")?
                .ok_or_else(|| ManifestError::Missing("config".into()))?
                .descriptor()?;
            (Some(config), fields.list(LAYERS, layers.into_inner())?)
        };
        Ok(Self { media_type, config, list, subject, artifact_type, annotations })
    }
}

/// The list of descriptors of an image.
pub(crate) const LAYERS: &str = "layers";

/// That of an index.
pub(crate) const MANIFESTS: &str = "manifests";

/// One of these as it is read.
struct List<T> {
    kept: Vec<T>,
    count: usize,
    /// What was wrong first.
    error: Option<ManifestError>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0, error: None }
    }
}

impl<T> List<T> {
    fn take<D: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
        number: usize,
        item: &Node<'_>,
        keep: impl Fn(Descriptor<D>) -> T,
    ) {
        self.count += 1;
        if self.error.is_some() || self.count > DESCRIPTORS_MAX {
            return;
        }
        let descriptor = match item {
            Node::Object(map) => Below { map, path: format!("{name}[{number}]") }.descriptor(),
            _ => Err(ManifestError::Field { field: name.into(), expected: "a list of objects" }),
        };
        match descriptor {
            Ok(descriptor) => self.kept.push(keep(descriptor)),
            Err(error) => self.error = Some(error),
        }
    }
}

impl<D> Manifest<D> {
    /// The manifest's own media type.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => &image.media_type,
            Self::Index(index) => &index.media_type,
        }
    }

    /// The manifest this one refers to.
    pub fn subject(&self) -> Option<&Descriptor<D>> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// Configuration and layers, in order; nothing for an index.
    pub fn blobs(&self) -> Vec<&Descriptor<D>> {
        match self {
            Self::Image(image) => std::iter::once(&image.config).chain(&image.layers).collect(),
            Self::Index(_) => Vec::new(),
        }
    }

    /// The manifests of an index, in order; nothing for an image.
    pub fn children(&self) -> &[Descriptor<D>] {
        match self {
            Self::Image(_) => &[],
            Self::Index(index) => &index.manifests,
        }
    }
}

/// What is read of a manifest.
static MANIFEST: Want = Want::Fields(&[
    ("schemaVersion", Want::Scalar),
    ("mediaType", Want::Scalar),
    ("artifactType", Want::Scalar),
    ("config", DESCRIPTOR),
    (LAYERS, Want::Each(LAYERS, &DESCRIPTOR)),
    (MANIFESTS, Want::Each(MANIFESTS, &DESCRIPTOR)),
    ("fsLayers", Want::Nothing),
    ("subject", DESCRIPTOR),
    ("annotations", TEXTS),
]);

/// What is read of a descriptor.
const DESCRIPTOR: Want = Want::Fields(&[
    ("mediaType", Want::Scalar),
    ("digest", Want::Scalar),
    ("size", Want::Scalar),
    ("urls", Want::Items(&Want::Scalar)),
    ("platform", PLATFORM),
    ("artifactType", Want::Scalar),
    ("annotations", TEXTS),
]);

/// And of the platform in it.
pub(crate) const PLATFORM: Want = Want::Fields(&[
    ("os", Want::Scalar),
    ("architecture", Want::Scalar),
    ("variant", Want::Scalar),
    ("os.version", Want::Scalar),
]);

const TEXTS: Want = Want::Members(&Want::Scalar);

/// What tells one kind of manifest from another.
static SHAPE: Want = Want::Fields(&[
    ("mediaType", Want::Scalar),
    ("config", Want::Nothing),
    ("layers", Want::Nothing),
    ("manifests", Want::Nothing),
    ("fsLayers", Want::Nothing),
]);

/// Types that servers send when they do not know better.
pub(crate) fn is_general(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/json" | "text/plain" | "application/octet-stream" | "text/json"
    )
}

/// One type from three sources: what was said, the document's own field, its shape.
fn settle_type(
    said: Option<String>,
    own: Option<String>,
    document: &Object<'_>,
) -> Result<String, ManifestError> {
    // Null counts as there: another reader may not skip it.
    let has = |key: &str| document.get(key).is_some();
    if has("manifests") {
        for other in ["layers", "config", "fsLayers"] {
            if has(other) {
                return Err(ManifestError::Ambiguous(other));
            }
        }
    }
    if has("fsLayers") {
        return Err(ManifestError::Schema1);
    }
    if let Some(own) = &own
        && !is_index(own)
        && !is_manifest(own)
    {
        return Err(if is_schema1(own) {
            ManifestError::Schema1
        } else {
            ManifestError::NotAManifest(clip(own))
        });
    }
    if let (Some(said), Some(own)) = (&said, &own)
        && said != own
    {
        return Err(ManifestError::TypeMismatch { expected: said.clone(), found: own.clone() });
    }
    let shape = if has("manifests") { OCI_INDEX } else { OCI_MANIFEST };
    let settled = own.or(said).unwrap_or_else(|| shape.to_owned());
    if is_index(&settled) != has("manifests") {
        return Err(ManifestError::TypeMismatch { expected: settled, found: shape.to_owned() });
    }
    Ok(settled)
}

/// The media type that bytes claim for themselves, without judging them: the `mediaType` field, or
/// the shape. For transports that did not say; `None` when there is no telling.
pub fn own_type(bytes: &[u8]) -> Option<String> {
    let Node::Object(document) = crate::json::parse(bytes, DEPTH_MAX, &SHAPE).ok()? else {
        return None;
    };
    if let Some(Node::Text(own)) = document.get("mediaType") {
        return Some(essence(own)).filter(|own| own.len() <= 255);
    }
    let has = |key: &str| document.get(key).is_some();
    if has("fsLayers") {
        Some(media_type::DOCKER_SCHEMA1.to_owned())
    } else if has("manifests") {
        Some(OCI_INDEX.to_owned())
    } else if has("layers") || has("config") {
        Some(OCI_MANIFEST.to_owned())
    } else {
        None
    }
}

fn clip(text: &str) -> String {
    text.chars().take(crate::limits::QUOTE_MAX).collect()
}

/// One JSON object and the path that leads to it.
struct Fields<'a> {
    map: &'a Object<'a>,
    path: &'a str,
}

/// An object below another, with its own path.
struct Below<'a> {
    map: &'a Object<'a>,
    path: String,
}

impl Below<'_> {
    fn descriptor<D: FromStr<Err: Display>>(&self) -> Result<Descriptor<D>, ManifestError> {
        Fields { map: self.map, path: &self.path }.as_descriptor()
    }
}

impl<'a> Fields<'a> {
    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, key: &str, expected: &'static str) -> ManifestError {
        ManifestError::Field { field: self.at(key), expected }
    }

    /// The value, where absent and null are the same.
    fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.map.get(key).filter(|value| **value != Node::Null)
    }

    fn text(&self, key: &str) -> Result<Option<String>, ManifestError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node::Text(text)) if text.len() <= TEXT_MAX => Ok(Some(text.clone().into_owned())),
            Some(_) => Err(self.wrong(key, "a text of at most 4096 bytes")),
        }
    }

    fn object(&self, key: &str) -> Result<Option<Below<'a>>, ManifestError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node::Object(map)) => Ok(Some(Below { map, path: self.at(key) })),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// Annotation values are bounded by the manifest alone: some carry whole documents.
    fn annotations(&self) -> Result<BTreeMap<String, String>, ManifestError> {
        let Some(below) = self.object("annotations")? else { return Ok(BTreeMap::new()) };
        below
            .map
            .iter()
            .map(|(key, value)| match value {
                Node::Text(value) => Ok((key.to_owned(), value.clone().into_owned())),
                _ => Err(self.wrong("annotations", "an object of texts")),
            })
            .collect()
    }

    /// A list of descriptors, of which this was taken. Absent is an error, null is an empty list: Go writes it so.
    fn list<T>(&self, key: &'static str, taken: List<T>) -> Result<Vec<T>, ManifestError> {
        match self.map.get(key) {
            None => return Err(ManifestError::Missing(self.at(key))),
            Some(Node::Null | Node::List(_)) => {}
            Some(_) => return Err(self.wrong(key, "a list")),
        }
        if taken.count > DESCRIPTORS_MAX {
            return Err(ManifestError::TooMany(taken.count));
        }
        taken.error.map_or(Ok(taken.kept), Err)
    }

    fn as_descriptor<D: FromStr<Err: Display>>(&self) -> Result<Descriptor<D>, ManifestError> {
        let need = |key: &str| ManifestError::Missing(self.at(key));
        let media_type = self.text("mediaType")?.ok_or_else(|| need("mediaType"))?;
        let digest = self.text("digest")?.ok_or_else(|| need("digest"))?.parse().map_err(
            |error: D::Err| ManifestError::Digest {
                field: self.at("digest"),
                error: error.to_string(),
            },
        )?;
        let size = self
            .get("size")
            .ok_or_else(|| need("size"))?
            .as_u64()
            .filter(|size| *size <= BLOB_MAX)
            .ok_or_else(|| self.wrong("size", "a whole number from 0 to 2^50"))?;
        Ok(Descriptor {
            media_type,
            digest,
            size,
            platform: self.platform()?,
            urls: self.texts("urls")?,
            artifact_type: self.text("artifactType")?,
            annotations: self.annotations()?,
        })
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, ManifestError> {
        let wrong = || self.wrong(key, "a list of texts");
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Node::List(list)) => {
                list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn platform(&self) -> Result<Option<Platform>, ManifestError> {
        let Some(below) = self.object("platform")? else { return Ok(None) };
        let fields = Fields { map: below.map, path: &below.path };
        Ok(Some(Platform {
            os: fields.text("os")?.unwrap_or_default(),
            architecture: fields.text("architecture")?.unwrap_or_default(),
            variant: fields.text("variant")?.filter(|text| !text.is_empty()),
            os_version: fields.text("os.version")?.filter(|text| !text.is_empty()),
        }))
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
