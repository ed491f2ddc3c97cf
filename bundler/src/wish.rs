//! What is to be carried, before anybody was asked: one image each.
//!
//! In: the additional images of a configuration; the stages for releases and the like make theirs. Out: where an image
//! comes from, which of its platforms, and what it is called at the target, as far as that can be known before it is read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use format_spec::head::ContentClass;
use format_spec::{Repository, Tag};

use crate::config::{AdditionalImage, ImageSetConfig, PlatformFilter};
use crate::destination;
use crate::error::CreateError;
use crate::origin::Source;

/// One image that is to be carried.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// As it is named to people and in the index.
    pub name: String,
    /// Where it comes from.
    pub source: Source<'a>,
    /// The class of content that it belongs to.
    pub class: ContentClass,
    /// The platforms to carry; empty means all.
    pub platforms: Cow<'a, [PlatformFilter]>,
    /// Its repository at the target, below the target's namespace.
    pub repository: Repository,
    /// Its tag there; `None` is the digest that it will turn out to have.
    pub tag: Option<Tag>,
}

impl Wish<'_> {
    /// Asks for these platforms too; empty means all.
    pub(crate) fn also_for(&mut self, platforms: &[PlatformFilter]) {
        if platforms.is_empty() || self.platforms.is_empty() {
            self.platforms = Cow::Borrowed(&[]);
        } else if platforms.iter().any(|one| !self.platforms.contains(one)) {
            let all: BTreeSet<_> = self.platforms.iter().chain(platforms).cloned().collect();
            self.platforms = all.into_iter().collect();
        }
    }
}

/// The additional images of a configuration, in its order.
pub fn additional(
    config: &ImageSetConfig,
    max_nested_paths: usize,
) -> Result<Vec<Wish<'_>>, CreateError> {
    config.additional_images.iter().map(|image| of_image(image, max_nested_paths)).collect()
}

fn of_image(image: &AdditionalImage, max_nested_paths: usize) -> Result<Wish<'_>, CreateError> {
    let source = Source::of(&image.source);
    Ok(Wish {
        name: image.source.to_string(),
        repository: destination::repository_of(image, &source, max_nested_paths)?,
        tag: destination::tag_of(image, &source)?,
        source,
        class: ContentClass::Additional,
        platforms: Cow::Borrowed(&image.platforms),
    })
}
