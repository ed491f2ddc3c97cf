//! What stands behind a name: manifests and configurations, read within a budget.
//!
//! In: digests in one repository. Out: what a page shows of them. What must hold: a page reads a bounded number of
//! bytes, whatever was pushed; what is not understood is left out, never an error.

use std::collections::BTreeMap;

use format_spec::Repository;
use format_spec::limits::DEPTH_MAX;
use jiff::Timestamp;

use super::limits::{CONFIG, READ};
use crate::content::ContentDigest;
use crate::json::{Node, Want};
use crate::manifest::{Descriptor, ImageManifest, Manifest, Platform};
use crate::store::{Store, StoreError};

/// Reads in one repository.
pub(super) struct Look<'a> {
    pub(super) store: &'a Store,
    repository: &'a Repository,
    left: u64,
    spent: bool,
}

/// A manifest that is stored.
pub(super) struct Seen {
    pub(super) media_type: String,
    pub(super) manifest: Manifest<ContentDigest>,
    /// Bytes of the manifest itself.
    pub(super) bytes: u64,
}

/// An image in one line.
pub(super) struct Summary {
    pub(super) media_type: String,
    pub(super) platforms: Vec<String>,
    /// Bytes of all that is pulled for it, of all platforms; `None` when that was too much to read.
    pub(super) bytes: Option<u64>,
    pub(super) created: Option<Timestamp>,
}

/// What an image says of how it runs.
#[derive(Default)]
pub(super) struct Config {
    pub(super) created: Option<Timestamp>,
    pub(super) platform: Option<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) user: String,
    pub(super) directory: String,
    pub(super) ports: Vec<String>,
    pub(super) volumes: Vec<String>,
    /// What made each layer, as far as the history says.
    pub(super) history: Vec<String>,
}

/// What is read of a configuration.
static CONFIGURATION: Want = Want::Fields(&[
    ("created", Want::Scalar),
    ("os", Want::Scalar),
    ("architecture", Want::Scalar),
    ("variant", Want::Scalar),
    (
        "config",
        Want::Fields(&[
            ("Entrypoint", Want::Items(&Want::Scalar)),
            ("Cmd", Want::Items(&Want::Scalar)),
            ("Env", Want::Items(&Want::Scalar)),
            ("Labels", Want::Members(&Want::Scalar)),
            ("User", Want::Scalar),
            ("WorkingDir", Want::Scalar),
            ("ExposedPorts", Want::Members(&Want::Nothing)),
            ("Volumes", Want::Members(&Want::Nothing)),
        ]),
    ),
    (
        "history",
        Want::Items(&Want::Fields(&[("empty_layer", Want::Scalar), ("created_by", Want::Scalar)])),
    ),
]);

impl<'a> Look<'a> {
    pub(super) fn new(store: &'a Store, repository: &'a Repository) -> Self {
        Self { store, repository, left: READ, spent: false }
    }

    /// Whether something was not read because the budget was used up.
    pub(super) fn spent(&self) -> bool {
        self.spent
    }

    fn pay(&mut self, bytes: u64) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                self.spent = true;
                false
            }
        }
    }

    /// The manifest, when it is there.
    pub(super) fn manifest(&mut self, digest: &ContentDigest) -> Result<Option<Seen>, StoreError> {
        if !self.pay(1) {
            return Ok(None);
        }
        let Some(stored) = self.store.get_manifest(self.repository, digest)? else {
            return Ok(None);
        };
        let bytes = stored.bytes.len() as u64;
        // What was begun is finished: one manifest more than the budget at most.
        self.pay(bytes);
        // It was parsed before it was stored.
        let manifest = Manifest::parse_any(&stored.bytes, Some(&stored.media_type)).ok();
        Ok(manifest.map(|manifest| Seen { media_type: stored.media_type, manifest, bytes }))
    }

    /// The configuration of an image, when it is one.
    pub(super) fn config(
        &mut self,
        image: &ImageManifest<ContentDigest>,
    ) -> Result<Option<Config>, StoreError> {
        let config = &image.config;
        if config.size > CONFIG || !self.pay(config.size) {
            return Ok(None);
        }
        let Some(bytes) = self.store.small_blob(self.repository, &config.digest, CONFIG)? else {
            return Ok(None);
        };
        let value = crate::json::parse(&bytes, DEPTH_MAX, &CONFIGURATION).ok();
        Ok(value.as_ref().and_then(Config::read))
    }

    /// An image in one line; `None` when it is not there or the budget is used up.
    pub(super) fn summary(
        &mut self,
        digest: &ContentDigest,
    ) -> Result<Option<Summary>, StoreError> {
        let Some(seen) = self.manifest(digest)? else { return Ok(None) };
        Ok(Some(self.summarize(&seen)?))
    }

    pub(super) fn summarize(&mut self, seen: &Seen) -> Result<Summary, StoreError> {
        let media_type = seen.media_type.clone();
        let index = match &seen.manifest {
            Manifest::Image(image) => {
                let config = self.config(image)?;
                let created = config.as_ref().and_then(|config| config.created);
                let platforms = config.and_then(|config| config.platform).into_iter().collect();
                let bytes = Some(pulled(image, seen.bytes));
                return Ok(Summary { media_type, platforms, bytes, created });
            }
            Manifest::Index(index) => index,
        };
        let mut summary =
            Summary { media_type, platforms: Vec::new(), bytes: Some(seen.bytes), created: None };
        for child in &index.manifests {
            if let Some(platform) = platform(child) {
                summary.platforms.push(platform);
            }
            let Some(below) = self.manifest(&child.digest)? else {
                if self.spent {
                    summary.bytes = None;
                    break;
                }
                // Left out by whoever mirrored it.
                continue;
            };
            let Manifest::Image(image) = &below.manifest else { continue };
            summary.bytes =
                summary.bytes.map(|bytes| bytes.saturating_add(pulled(image, below.bytes)));
            if summary.created.is_none() && !is_attestation(child) {
                summary.created = self.config(image)?.and_then(|config| config.created);
            }
        }
        summary.platforms.dedup();
        Ok(summary)
    }
}

/// Bytes of all layers, as they were pushed: 20,000 of the largest are more than there are numbers for.
pub(super) fn layers(image: &ImageManifest<ContentDigest>) -> u64 {
    image.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
}

/// Bytes of an image: layers, configuration, manifest.
pub(super) fn pulled(image: &ImageManifest<ContentDigest>, manifest: u64) -> u64 {
    layers(image).saturating_add(image.config.size).saturating_add(manifest)
}

/// The platform that an index gives a child; `None` for what runs on none.
pub(super) fn platform(child: &Descriptor<ContentDigest>) -> Option<String> {
    let platform = child.platform.as_ref()?;
    (!is_attestation(child)).then(|| platform_name(platform))
}

/// A child that build tools put beside the images (buildkit: platform `unknown/unknown`).
pub(super) fn is_attestation(child: &Descriptor<ContentDigest>) -> bool {
    child.annotations.contains_key("vnd.docker.reference.type")
        || child.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

pub(super) fn platform_name(platform: &Platform) -> String {
    let parts = [Some(&platform.os), Some(&platform.architecture), platform.variant.as_ref()];
    let parts: Vec<&str> =
        parts.into_iter().flatten().map(String::as_str).filter(|part| !part.is_empty()).collect();
    super::show::clip(&parts.join("/"), 60)
}

impl Config {
    fn read(document: &Node<'_>) -> Option<Self> {
        let Node::Object(_) = document else { return None };
        let text = |value: &Node<'_>, key: &str| {
            value.get(key).and_then(Node::as_str).unwrap_or_default().to_owned()
        };
        let inner = document.get("config").unwrap_or(&Node::Null);
        let keys = |key: &str| match inner.get(key) {
            Some(Node::Object(map)) => map.iter().map(|(key, _)| key.to_owned()).collect(),
            _ => Vec::new(),
        };
        let labels = match inner.get("Labels") {
            Some(Node::Object(map)) => map
                .iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())))
                .collect(),
            _ => BTreeMap::new(),
        };
        let (os, architecture) = (text(document, "os"), text(document, "architecture"));
        let variant = Some(text(document, "variant")).filter(|variant| !variant.is_empty());
        let platform = Platform { os, architecture, variant, os_version: None };
        let platform = Some(platform_name(&platform)).filter(|name| !name.is_empty());
        let history = match document.get("history") {
            // A step without a layer of its own has no row.
            Some(Node::List(steps)) => steps
                .iter()
                .filter(|step| step.get("empty_layer") != Some(&Node::Bool(true)))
                .map(|step| text(step, "created_by"))
                .collect(),
            _ => Vec::new(),
        };
        Some(Self {
            created: text(document, "created").parse().ok(),
            platform,
            entrypoint: texts(inner.get("Entrypoint")),
            command: texts(inner.get("Cmd")),
            environment: texts(inner.get("Env")),
            labels,
            user: text(inner, "User"),
            directory: text(inner, "WorkingDir"),
            ports: keys("ExposedPorts"),
            volumes: keys("Volumes"),
            history,
        })
    }
}

fn texts(value: Option<&Node<'_>>) -> Vec<String> {
    match value {
        Some(Node::List(list)) => {
            list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}
