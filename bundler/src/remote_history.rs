//! The history in a registry: `storageConfig.registry` of a v1alpha2 configuration.
//!
//! In: the image that the configuration names. Out: a workspace that knows every sequence that the
//! image knows, and after a create an image that knows the new one. It is an OCI artifact with three
//! layers a sequence: head, signatures, index, exactly as on the medium. A workspace that was lost is
//! so made again; two workspaces that wrote the same number are found out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use format_spec::limits::{HEAD_MAX, INDEX_MAX, SEAL_MAX};
use format_spec::{Digest, Sequence};
use registry::client::{BlobSource, Client, ErrorKind as WireKind};
use registry::manifest::{Descriptor, Manifest};
use registry::media_type::{OCI_EMPTY, OCI_MANIFEST};
use registry::reference::{ManifestRef, Reference};

use crate::config::ImageSetConfig;
use crate::error::CreateError;
use crate::history::{History, Record};

const ARTIFACT: &str = "application/vnd.bundle.history.v1";
const LAYER: &str = "application/vnd.bundle.history.file.v1";
const TITLE: &str = "org.opencontainers.image.title";

/// The history in a registry.
pub struct RemoteHistory {
    client: Client,
    image: Reference,
    /// The manifest that was there when the history was read.
    seen: Mutex<Option<Digest>>,
    /// Whether the registry lacks a sequence that the workspace has.
    behind: AtomicBool,
}

impl RemoteHistory {
    /// The one that `config` names, if it names one.
    pub fn of(config: &ImageSetConfig, client: &Client) -> Option<Self> {
        let registry = config.storage.registry.as_ref()?;
        Some(Self {
            client: client.clone(),
            image: registry.image.clone(),
            seen: Mutex::new(None),
            behind: AtomicBool::new(false),
        })
    }

    fn tag(&self) -> ManifestRef {
        match &self.image.tag {
            Some(tag) => ManifestRef::Tag(tag.clone()),
            None => ManifestRef::Tag("latest".parse().expect("a valid tag")),
        }
    }

    fn damaged(&self, problem: impl Into<String>) -> CreateError {
        CreateError::History { path: self.image.to_string().into(), problem: problem.into() }
    }

    /// Adds to `history` what only the registry knows.
    pub async fn pull(&self, history: &mut History) -> Result<(), CreateError> {
        let (host, repository) = (&self.image.registry, &self.image.repository);
        let raw = match self.client.get_manifest(host, repository, &self.tag()).await {
            Ok(raw) => raw,
            Err(error) if error.kind() == WireKind::NotFound => {
                self.behind.store(history.last().is_some(), Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        *crate::lock(&self.seen) = Some(raw.digest);
        let manifest = raw.parse().map_err(|error| self.damaged(error.to_string()))?;
        let Manifest::Image(manifest) = manifest else {
            return Err(self.damaged("it is an index, not a history"));
        };
        if manifest.artifact_type.as_deref() != Some(ARTIFACT) {
            return Err(self.damaged("the image is no history of bundle"));
        }
        let mut files: BTreeMap<Sequence, BTreeMap<String, Descriptor>> = BTreeMap::new();
        for layer in manifest.layers {
            let named = layer.annotations.get(TITLE).and_then(|title| {
                let (number, suffix) = title.strip_prefix("seq")?.split_once('.')?;
                Some((Sequence::new(number.parse().ok()?)?, suffix.to_owned()))
            });
            let Some((sequence, suffix)) = named else { continue };
            files.entry(sequence).or_default().insert(suffix, layer);
        }
        let local: BTreeMap<Sequence, Digest> =
            history.links().map(|link| (link.sequence, link.digest)).collect();
        let behind = local.keys().any(|sequence| !files.contains_key(sequence));
        self.behind.store(behind, Ordering::Relaxed);
        for (sequence, files) in files {
            let file = |suffix: &str| {
                files
                    .get(suffix)
                    .ok_or_else(|| self.damaged(format!("seq{sequence}.{suffix} is missing")))
            };
            match local.get(&sequence) {
                Some(digest) if *digest == file("json")?.digest => {}
                Some(_) => {
                    return Err(CreateError::Fork { place: self.image.to_string(), sequence });
                }
                None => {
                    let record = Record {
                        sequence,
                        head: self.file(file("json")?, HEAD_MAX).await?,
                        seal: self.file(file("sig")?, SEAL_MAX).await?,
                        index: self.file(file("index")?, INDEX_MAX).await?,
                    };
                    history.adopt(&record)?;
                }
            }
        }
        Ok(())
    }

    async fn file(&self, layer: &Descriptor, max: u64) -> Result<Vec<u8>, CreateError> {
        let (host, repository) = (&self.image.registry, &self.image.repository);
        let bytes =
            self.client.get_blob_bytes(host, repository, &layer.digest, layer.size, max).await?;
        Ok(bytes.to_vec())
    }

    /// Writes what a run before could not write any more.
    pub async fn catch_up(&self, history: &History) -> Result<(), CreateError> {
        if self.behind.load(Ordering::Relaxed) { self.push(history).await } else { Ok(()) }
    }

    /// Writes everything that `history` knows.
    pub async fn push(&self, history: &History) -> Result<(), CreateError> {
        let (host, repository) = (&self.image.registry, &self.image.repository);
        let mut layers = Vec::new();
        for link in history.links() {
            let record = history.record(link.sequence)?;
            for (suffix, bytes) in
                [("json", record.head), ("sig", record.seal), ("index", record.index)]
            {
                let bytes = Bytes::from(bytes);
                let digest = Digest::of(&bytes);
                let size = bytes.len() as u64;
                self.blob(bytes, digest).await?;
                layers.push(serde_json::json!({
                    "mediaType": LAYER, "digest": digest.to_string(), "size": size,
                    "annotations": { TITLE: format!("seq{}.{suffix}", link.sequence) },
                }));
            }
        }
        let empty = Bytes::from_static(b"{}");
        let config = Digest::of(&empty);
        self.blob(empty, config).await?;
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": ARTIFACT,
            "config": { "mediaType": OCI_EMPTY, "digest": config.to_string(), "size": 2 },
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest).expect("text keys only");
        // Registries have no compare-and-swap: this narrows the race of two writers to the moment
        // between the two requests, and `pull` finds out what slips through.
        let now = match self.client.get_manifest(host, repository, &self.tag()).await {
            Ok(raw) => Some(raw.digest),
            Err(error) if error.kind() == WireKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if now != *crate::lock(&self.seen) {
            return Err(CreateError::Moved {
                image: self.image.to_string(),
                stream: history.stream().expect("a sequence was written"),
            });
        }
        self.client
            .put_manifest(host, repository, &self.tag(), OCI_MANIFEST, Bytes::from(bytes))
            .await?;
        Ok(())
    }

    async fn blob(&self, bytes: Bytes, digest: Digest) -> Result<(), CreateError> {
        let (host, repository) = (&self.image.registry, &self.image.repository);
        let size = bytes.len() as u64;
        if self.client.head_blob(host, repository, &digest).await? == Some(Some(size)) {
            return Ok(());
        }
        let source: Arc<dyn BlobSource> = Arc::new(bytes);
        self.client.push_blob(host, repository, &digest, size, source, None).await?;
        Ok(())
    }
}
