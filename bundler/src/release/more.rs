//! What a configuration would add to releases that were carried: what was switched on since.
//!
//! In: the stanza, what earlier sequences stated and which names they set. Out: [`More`], one for each thing. What must hold:
//! no layer is read for it; that a release has a boot image is therefore only supposed.

use std::borrow::Cow;
use std::collections::HashMap;

use format_spec::head::ContentClass;
use format_spec::index::Resource;
use format_spec::{Digest, Repository, Tag};
use registry::client::Client;
use registry::reference::Reference;
use serde::{Deserialize, Serialize};

use super::carry::{self, RELEASE, RELEASE_IMAGES};
use super::proven::{self, Trust};
use super::{graph_image, store};
use crate::config::ReleaseStanza;
use crate::destination;
use crate::history::{Known, Name};
use crate::origin::Source;
use crate::resolve::Image;
use crate::wish::Wish;

/// Something that would be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct More {
    /// The release, by its tag at the target; none for the graph image.
    pub release: Option<Tag>,
    /// What it is.
    pub what: String,
}

/// A release that an earlier sequence stated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Carried {
    digest: Digest,
    tag: Tag,
    architecture: String,
    signed: bool,
}

/// The releases that earlier sequences stated, by their digests.
pub fn carried(resources: &[Resource]) -> HashMap<Digest, Carried> {
    let releases = resources.iter().filter(|resource| resource.name.starts_with("release/"));
    let told = releases.filter_map(|one| serde_json::from_slice::<Carried>(&one.content).ok());
    told.map(|told| (told.digest, told)).collect()
}

/// The graph image, when there was none.
pub fn graph(stanza: &ReleaseStanza, resources: &[Resource]) -> Option<More> {
    let none = !resources.iter().any(|resource| resource.name == graph_image::RESOURCE);
    let what = "the graph image".to_owned();
    (stanza.graph && none).then_some(More { release: None, what })
}

impl Carried {
    /// Its tag at the target.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The release image, to be looked at again: it may have further platforms or signatures.
    pub fn wish<'a>(
        &self,
        image: &Reference,
        stanza: &'a ReleaseStanza,
        max_nested_paths: usize,
    ) -> Option<Wish<'a>> {
        let image = Reference { tag: None, digest: Some(self.digest), ..image.clone() };
        Some(Wish {
            name: image.to_string(),
            source: Source::Registry(Cow::Owned(image)),
            class: ContentClass::Release,
            platforms: Cow::Borrowed(&stanza.platforms),
            repository: repository(RELEASE_IMAGES, max_nested_paths)?,
            tag: Some(self.tag.clone()),
        })
    }

    /// What its image has that no sequence carried.
    pub fn image(&self, image: &Image, known: &Known) -> Vec<More> {
        let repository = &image.destination.repository;
        let attached = image.names.iter().skip(1);
        let fresh = attached
            .filter(|wanted| known.reference(repository, &wanted.name) != Some(wanted.digest));
        let fresh = fresh.map(|wanted| wanted.digest).collect::<Vec<_>>();
        let mut children = image.manifests.iter().map(|(digest, _)| digest);
        let platforms = children
            .any(|digest| !known.has_manifest(repository, digest) && !fresh.contains(digest));
        let mut more = Vec::new();
        if platforms {
            more.push(self.more("further platforms".to_owned()));
        }
        if !fresh.is_empty() {
            let count = fresh.len();
            more.push(self.more(format!("{count} of the signatures and referrers of its image")));
        }
        more
    }

    /// Boot images that no sequence carried.
    pub fn boot_images(
        &self,
        stanza: &ReleaseStanza,
        known: &Known,
        max_nested_paths: usize,
    ) -> Vec<More> {
        let there = |end: &str| -> Option<bool> {
            let name = Name::Tag(format!("{}-{end}", self.tag).parse().ok()?);
            Some(known.reference(&repository(RELEASE, max_nested_paths)?, &name).is_some())
        };
        let ends = carry::boot_ends(stanza, &self.architecture);
        let missing = ends.into_iter().filter(|(_, end)| there(end) == Some(false));
        let told = missing.map(|(architecture, _)| {
            self.more(format!("the boot image of KubeVirt for {architecture}, if it has one"))
        });
        told.collect()
    }

    /// A signature, when there was none that counts. The text is why that cannot be said.
    pub async fn signature(&self, client: &Client, trust: &Trust) -> Result<Option<More>, String> {
        if self.signed {
            return Ok(None);
        }
        let proof =
            store::prove(client, &trust.stores, &trust.keys, &self.digest, proven::now()).await;
        if !proof.valid.is_empty() {
            return Ok(Some(self.more("a valid signature".to_owned())));
        }
        match proof.kind {
            None => Ok(None),
            Some(_) => Err(format!(
                "{}: whether it is signed by now is not known: {}",
                self.tag,
                proof.refused.join("; ")
            )),
        }
    }

    fn more(&self, what: String) -> More {
        More { release: Some(self.tag.clone()), what }
    }
}

/// A repository at the target; `None` when no release can stand there.
fn repository(name: &str, max_nested_paths: usize) -> Option<Repository> {
    destination::nest(&name.parse().ok()?, max_nested_paths).ok()
}
