//! What an image is called at the target.
//!
//! In: where it comes from and what the configuration says. Out: a repository and a tag below the
//! target's namespace. The rules are those that users of oc-mirror have in their manifests: the host
//! is dropped, a reference by digest alone gets the tag `sha256-<hex>`.

use std::collections::HashMap;
use std::path::Path;

use format_spec::names::NameError;
use format_spec::{Digest, Repository, Tag};

use crate::config::AdditionalImage;
use crate::error::CreateError;
use crate::layout::Choice;
use crate::origin::Source;

/// A name at the target, below its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
}

/// The repository of an additional image that comes from `source`.
pub fn repository_of(
    image: &AdditionalImage,
    source: &Source<'_>,
    max_nested_paths: usize,
) -> Result<Repository, CreateError> {
    repository(image.target_repo.as_ref(), source, max_nested_paths)
        .map_err(|problem| wrong(image, problem))
}

fn wrong(image: &AdditionalImage, problem: String) -> CreateError {
    CreateError::Destination { source_reference: image.source.to_string(), problem }
}

/// The repository of what comes from `source`, unless the configuration names one. Errors say what is wrong with it.
pub fn repository(
    configured: Option<&Repository>,
    source: &Source<'_>,
    max_nested_paths: usize,
) -> Result<Repository, String> {
    let repository = match (configured, source) {
        (Some(repository), _) => repository.clone(),
        (None, Source::Registry(reference)) => reference.repository.clone(),
        (None, Source::Layout(layout) | Source::Made { image: layout, .. }) => {
            directory_name(&layout.path)?
        }
        // No configuration names one.
        (None, Source::Shelf(..)) => return Err("it has no name of its own".to_owned()),
    };
    nest(&repository, max_nested_paths).map_err(|error| error.to_string())
}

/// The tag of an additional image that comes from `source`; `None` is that of the digest it will have.
pub fn tag_of(image: &AdditionalImage, source: &Source<'_>) -> Result<Option<Tag>, CreateError> {
    if let Some(tag) = &image.target_tag {
        return Ok(Some(tag.clone()));
    }
    tag(source).map_err(|error| wrong(image, error.to_string()))
}

/// The tag of what comes from `source`; `None` is that of the digest it will have.
pub fn tag(source: &Source<'_>) -> Result<Option<Tag>, NameError> {
    Ok(match source {
        Source::Registry(reference) => match (&reference.tag, &reference.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, digest) => digest.as_ref().map(digest_tag),
        },
        Source::Layout(layout) | Source::Made { image: layout, .. } => Some(match &layout.choice {
            Choice::Only => "latest".parse().expect("a valid tag"),
            Choice::Name(name) => name.parse()?,
            Choice::Digest(digest) => digest_tag(digest),
        }),
        Source::Shelf(_, digest) => Some(digest_tag(digest)),
    })
}

/// The tag of content that is only known by its digest: `sha256-<hex>`.
pub fn digest_tag(digest: &Digest) -> Tag {
    format!("sha256-{}", digest.hex()).parse().expect("71 characters of the tag's grammar")
}

fn directory_name(path: &Path) -> Result<Repository, String> {
    let name = path
        .components()
        .next_back()
        .and_then(|component| component.as_os_str().to_str())
        .ok_or_else(|| "the directory has no name".to_owned())?;
    name.to_ascii_lowercase().parse().map_err(|error| format!("{error}"))
}

/// Keeps the first `max - 1` components and joins the rest with `-`; 0 means no limit. For registries
/// that allow no deeper names.
pub fn nest(repository: &Repository, max: usize) -> Result<Repository, NameError> {
    let components: Vec<&str> = repository.components().collect();
    if max == 0 || components.len() <= max {
        return Ok(repository.clone());
    }
    let (kept, joined) = components.split_at(max - 1);
    let mut parts: Vec<String> = kept.iter().map(ToString::to_string).collect();
    parts.push(joined.join("-"));
    parts.join("/").parse()
}

/// Finds two sources that would land on one name.
#[derive(Default)]
pub struct Claims(HashMap<Destination, String>);

impl Claims {
    /// Claims a name for a source; `false` when the same source has it already.
    pub fn claim(&mut self, destination: &Destination, source: &str) -> Result<bool, CreateError> {
        match self.0.get(destination) {
            Some(first) if first != source => Err(CreateError::Collision {
                first: first.clone(),
                second: source.to_owned(),
                destination: format!("{}:{}", destination.repository, destination.tag),
            }),
            Some(_) => Ok(false),
            None => {
                self.0.insert(destination.clone(), source.to_owned());
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ImageSource;
    use crate::layout::LayoutImage;

    fn image(source: &str) -> AdditionalImage {
        let source = match source.strip_prefix("oci://") {
            Some(path) => ImageSource::OciLayout(path.into()),
            None => ImageSource::Registry(source.parse().unwrap()),
        };
        AdditionalImage {
            source,
            target_repo: None,
            target_tag: None,
            platforms: Vec::new(),
            line: 1,
        }
    }

    fn name(image: &AdditionalImage, max: usize) -> String {
        let source = Source::of(&image.source);
        let repository = repository_of(image, &source, max).unwrap();
        format!("{repository}:{}", tag_of(image, &source).unwrap().unwrap())
    }

    #[test]
    fn the_host_is_dropped_and_digests_become_tags() {
        assert_eq!(name(&image("quay.io/acme/app:1.0"), 0), "acme/app:1.0");
        let digest = Digest::of(b"x");
        let by_digest = format!("quay.io/acme/app@{digest}");
        assert_eq!(name(&image(&by_digest), 0), format!("acme/app:sha256-{}", digest.hex()));
        assert_eq!(name(&image(&format!("quay.io/acme/app:2@{digest}")), 0), "acme/app:2");
        assert_eq!(name(&image("oci:///srv/My-App"), 0), "my-app:latest");
        let layout = image("oci:///srv/My-App:x");
        let chosen = |choice| {
            let source = Source::Layout(LayoutImage { path: "/srv/My-App".into(), choice });
            tag_of(&layout, &source).map(|tag| tag.unwrap().to_string())
        };
        assert_eq!(chosen(Choice::Name("1.0".to_owned())).unwrap(), "1.0");
        assert_eq!(chosen(Choice::Digest(digest)).unwrap(), digest_tag(&digest).to_string());
        assert!(chosen(Choice::Name("host/x:1".to_owned())).is_err());
        let mut renamed = image("quay.io/acme/app:1.0");
        renamed.target_repo = Some("mine/x".parse().unwrap());
        renamed.target_tag = Some("t".parse().unwrap());
        assert_eq!(name(&renamed, 0), "mine/x:t");
    }

    #[test]
    fn paths_are_joined_beyond_the_limit() {
        let deep = image("q.io/team/sub/unit/app:1");
        assert_eq!(name(&deep, 0), "team/sub/unit/app:1");
        assert_eq!(name(&deep, 1), "team-sub-unit-app:1");
        assert_eq!(name(&deep, 2), "team/sub-unit-app:1");
        assert_eq!(name(&deep, 4), "team/sub/unit/app:1");
        assert_eq!(name(&deep, 9), "team/sub/unit/app:1");
    }

    #[test]
    fn two_sources_on_one_name_are_found() {
        let mut claims = Claims::default();
        let destination =
            Destination { repository: "x/y".parse().unwrap(), tag: "1".parse().unwrap() };
        assert!(claims.claim(&destination, "a.io/x/y:1").unwrap());
        assert!(!claims.claim(&destination, "a.io/x/y:1").unwrap());
        let error = claims.claim(&destination, "b.io/x/y:1").unwrap_err();
        assert!(error.to_string().contains("a.io/x/y:1") && error.to_string().contains("b.io"));
    }
}
