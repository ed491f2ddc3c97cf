//! Images of every shape, made of bytes at hand and pushed by [`Registry`].

use format_spec::Digest;
use serde_json::{Value, json};

use super::wire::Registry;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub const MANIFEST_TYPES: &[&str] = &[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A manifest that stands in a registry.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub repo: String,
    pub media_type: &'static str,
    pub digest: Digest,
    pub size: usize,
    pub bytes: Vec<u8>,
}

impl Pushed {
    /// `sha256-<hex>`, with which names beside an image begin.
    pub fn tag_stem(&self) -> String {
        format!("sha256-{}", self.digest.hex())
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.size})
    }
}

impl Registry {
    fn descriptor(&self, repo: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = self.put_blob(repo, bytes);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Puts a document as a manifest, under `tag` or its digest.
    #[track_caller]
    pub fn document(
        &self,
        repo: &str,
        tag: Option<&str>,
        type_: &'static str,
        value: &Value,
    ) -> Pushed {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = Digest::of(&bytes);
        let reference = tag.map_or_else(|| digest.to_string(), ToOwned::to_owned);
        self.put_manifest(repo, &reference, type_, &bytes);
        Pushed { repo: repo.to_owned(), media_type: type_, digest, size: bytes.len(), bytes }
    }

    /// An OCI image for `arch`.
    #[track_caller]
    pub fn image_for(&self, repo: &str, tag: Option<&str>, arch: &str, layers: &[&[u8]]) -> Pushed {
        let diffs: Vec<String> = layers.iter().map(|bytes| Digest::of(bytes).to_string()).collect();
        let config = json!({"architecture": arch, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diffs}});
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<Value> =
            layers.iter().map(|bytes| self.descriptor(repo, OCI_LAYER, bytes)).collect();
        let value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.descriptor(repo, OCI_CONFIG, &config), "layers": layers});
        self.document(repo, tag, OCI_MANIFEST, &value)
    }

    /// An OCI image.
    #[track_caller]
    pub fn image(&self, repo: &str, tag: &str, layers: &[&[u8]]) -> Pushed {
        self.image_for(repo, Some(tag), "amd64", layers)
    }

    /// A Docker schema 2 image.
    #[track_caller]
    pub fn docker_image(&self, repo: &str, tag: &str, layers: &[&[u8]]) -> Pushed {
        let config = serde_json::to_vec(&json!({"architecture": "amd64", "os": "linux"})).unwrap();
        let layers: Vec<Value> =
            layers.iter().map(|bytes| self.descriptor(repo, DOCKER_LAYER, bytes)).collect();
        let value = json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
            "config": self.descriptor(repo, DOCKER_CONFIG, &config), "layers": layers});
        self.document(repo, Some(tag), DOCKER_MANIFEST, &value)
    }

    /// An index over images with platforms.
    #[track_caller]
    pub fn index(&self, repo: &str, tag: Option<&str>, children: &[(&Pushed, &str)]) -> Pushed {
        let children: Vec<Value> = children
            .iter()
            .map(|(child, arch)| {
                let mut value = child.descriptor();
                value["platform"] = json!({"architecture": arch, "os": "linux"});
                value
            })
            .collect();
        let value = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        self.document(repo, tag, OCI_INDEX, &value)
    }

    /// An artifact with the empty config; with `subject` a referrer.
    #[track_caller]
    pub fn artifact(
        &self,
        repo: &str,
        tag: Option<&str>,
        type_: &str,
        content: &[u8],
        subject: Option<&Pushed>,
    ) -> Pushed {
        let mut value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": type_,
            "config": self.descriptor(repo, OCI_EMPTY, b"{}"),
            "layers": [self.descriptor(repo, type_, content)]});
        if let Some(subject) = subject {
            value["subject"] = subject.descriptor();
        }
        self.document(repo, tag, OCI_MANIFEST, &value)
    }

    /// The referrer and, as clients do at registries without the referrers API, the fallback tag.
    #[track_caller]
    pub fn referrer_by_tag(&self, subject: &Pushed, type_: &str, content: &[u8]) -> Pushed {
        let referrer = self.artifact(&subject.repo, None, type_, content, Some(subject));
        let mut entry = referrer.descriptor();
        entry["artifactType"] = json!(type_);
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
        self.document(&subject.repo, Some(&subject.tag_stem()), OCI_INDEX, &list);
        referrer
    }
}
