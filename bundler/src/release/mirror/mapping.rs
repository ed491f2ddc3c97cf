//! Which image of a release gets which name at the other end.
//!
//! In: a release, and where it goes. Out: one pair for each image, the release image first. The names are those of
//! `oc adm release mirror`: everything in one repository, under tags that begin with the version and the architecture.

use format_spec::Tag;
use format_spec::names::NameError;

use crate::origin::Source;
use crate::release::named::Named;
use crate::release::proven::{Proven, machine};

/// One image on its way.
#[derive(Debug, Clone)]
pub(super) struct Pair<'a> {
    /// What it is in the release; `None` is the release image.
    pub(super) component: Option<&'a str>,
    /// Where it is.
    pub(super) source: Source<'a>,
    /// As it is called there.
    pub(super) from: String,
    /// Its tag at the other end.
    pub(super) tag: Tag,
}

/// The tag of the release image.
pub(super) fn release_tag(proven: &Proven) -> Result<Tag, NameError> {
    let version = &proven.payload.references.version;
    // A `+` can stand in a version, and not in a tag.
    let version = version.replace('+', "_");
    format!("{version}-{}", machine(&proven.payload.architecture)).parse()
}

/// All images of a release.
pub(super) fn pairs<'a>(from: &'a Named, proven: &'a Proven) -> Result<Vec<Pair<'a>>, NameError> {
    let tag = release_tag(proven)?;
    let digest = proven.image.digest;
    let release = Pair {
        component: None,
        source: from.at(digest),
        from: from
            .reference(proven)
            .map_or_else(|| format!("{}@{digest}", from.name), |reference| reference.to_string()),
        tag: tag.clone(),
    };
    let components = proven.payload.references.components.iter().map(|component| {
        Ok(Pair {
            component: Some(&component.name),
            source: from.component(component),
            from: component.image.to_string(),
            tag: format!("{tag}-{}", component.name).parse()?,
        })
    });
    std::iter::once(Ok(release)).chain(components).collect()
}
