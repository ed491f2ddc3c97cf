//! A release that a person named.
//!
//! In: an image at a registry, or one on a medium or in a directory. Out: where its image is, where those of its components
//! are, and what clusters call it.

use std::borrow::Cow;

use format_spec::Digest;
use registry::reference::Reference;
use serde::Serialize;

use super::proven::Proven;
use super::references::Component;
use crate::origin::{Held, Source};

/// A release, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its version.
    pub version: String,
    /// The architecture as Go names it, or `multi`.
    pub architecture: String,
    /// The digest of its image.
    pub digest: format_spec::Digest,
    /// Its image by digest, as clusters ask for it; `None` where nobody says it.
    pub image: Option<String>,
    /// Whether it has a valid signature.
    pub signed: bool,
}

/// A release that a person named.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its image.
    pub source: Source<'static>,
    /// As messages call it.
    pub name: String,
    /// What it was called at its source, where that is known.
    origin: Option<Reference>,
    /// The place that has its components too.
    held: Option<Held>,
}

impl Named {
    /// A release at a registry.
    pub fn registry(image: Reference) -> Self {
        let name = image.to_string();
        let source = Source::Registry(Cow::Owned(image.clone()));
        Self { source, name, origin: Some(image), held: None }
    }

    /// One on a medium or in a directory, which has its components too. `origin` is its source, where that is stated.
    pub fn held(held: Held, digest: Digest, name: String, origin: Option<Reference>) -> Self {
        let source = Source::Shelf(held.clone(), digest);
        Self { source, name, origin, held: Some(held) }
    }

    /// Where an image of the release is that has this digest.
    pub(crate) fn at(&self, digest: Digest) -> Source<'static> {
        match (&self.source, &self.held) {
            (_, Some(held)) => Source::Shelf(held.clone(), digest),
            (Source::Registry(image), None) => {
                let by_digest = Reference { tag: None, digest: Some(digest), ..(**image).clone() };
                Source::Registry(Cow::Owned(by_digest))
            }
            (source, None) => source.clone(),
        }
    }

    /// Where a component is.
    pub(crate) fn component<'a>(&self, component: &'a Component) -> Source<'a> {
        match (&self.held, component.image.digest) {
            (Some(held), Some(digest)) => Source::Shelf(held.clone(), digest),
            _ => Source::Registry(Cow::Borrowed(&component.image)),
        }
    }

    /// The release image by digest, as clusters ask for it: at its source, or where its signature says that it is.
    pub(crate) fn reference(&self, proven: &Proven) -> Option<Reference> {
        let digest = Some(proven.image.digest);
        let at = |image: &Reference| Reference { tag: None, digest, ..image.clone() };
        if let Some(image) = &self.origin {
            return Some(at(image));
        }
        let mut claims = proven.proof.valid.iter().map(|(_, claim)| claim.reference.parse());
        claims.find_map(|claim| Some(at(&claim.ok()?)))
    }

    /// What people and programs are told of the release.
    pub(crate) fn told(&self, proven: &Proven) -> Release {
        Release {
            version: proven.payload.references.version.clone(),
            architecture: proven.payload.architecture.clone(),
            digest: proven.image.digest,
            image: self.reference(proven).map(|reference| reference.to_string()),
            signed: proven.unsigned.is_none(),
        }
    }
}
