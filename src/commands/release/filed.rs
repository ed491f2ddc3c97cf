//! A release in a directory of `oc image mirror`, as `release mirror --to-dir` makes it.
//!
//! In: the directory, and which image of it. Out: the release, and the signatures that lie beside it in `config/`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::filed::Filed;
use ::registry::shelf::Shelf as _;
use bundler::origin::Held;
use bundler::release::config_map::{self, Signatures};
use bundler::release::named::Named;
use bundler::release::store::Store;
use format_spec::{Repository, Tag};

use super::from::{Found, Signed};
use crate::failure::{Failure, Kind};
use crate::output::plain;
use crate::typed::quoted;

/// Where releases lie when nothing is said.
pub const REPOSITORY: &str = "openshift/release";

/// The directory with files for clusters.
pub const CONFIG: &str = "config";

/// Bytes of such a file, and how many are read.
const FILE_MAX: u64 = 16 * 1024 * 1024;
const FILES_MAX: usize = 1000;

/// An image of a directory, as `REPOSITORY:TAG`.
#[derive(Debug, Clone)]
pub struct Image {
    repository: Repository,
    tag: Option<Tag>,
}

impl Image {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("`file://{text}` names no image of a directory: {error}"))
                .with_hint(
                    "name one as `--from file://openshift/release:4.18.5-x86_64 --from-dir DIR`",
                )
        };
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (text, None),
        };
        let repository = repository.trim_matches('/').parse().map_err(|error| wrong(&error))?;
        let tag = tag.map(str::parse).transpose().map_err(|error| wrong(&error))?;
        Ok(Self { repository, tag })
    }
}

/// Finds the release in a directory.
pub async fn find(
    directory: &Path,
    image: Option<Image>,
    wanted: Option<&str>,
    signed: Signed,
) -> Result<Found, Failure> {
    let (directory, wanted) = (directory.to_owned(), wanted.map(ToOwned::to_owned));
    let looking = move || look(&directory, image, wanted.as_deref());
    let looked = tokio::task::spawn_blocking(looking).await;
    let (named, beside) = looked.map_err(|error| Failure::new(Kind::Failed, error))??;
    Ok(Found { named, trust: signed.trust_or(|| vec![beside])? })
}

fn look(
    directory: &Path,
    image: Option<Image>,
    wanted: Option<&str>,
) -> Result<(Named, Store), Failure> {
    let io =
        |error: std::io::Error| Failure::io(Kind::Failed, "cannot look for the release", &error);
    let (repository, tag) = match image {
        Some(Image { repository, tag }) => (repository, tag),
        None => (repository_of(directory)?, None),
    };
    let filed = Filed::new(directory, repository);
    let tag = match tag {
        Some(tag) => tag,
        None => choose(&filed.tags().map_err(io)?, wanted)?,
    };
    let Some(digest) = filed.tagged(&tag).map_err(io)? else {
        let shown = filed.directory().display().to_string();
        return Err(Failure::usage(format!("there is no image `{tag}` in `{}`", plain(&shown)))
            .with_hint("name one that is there: `--release TAG`"));
    };
    let files = signatures(&directory.join(CONFIG)).map_err(io)?;
    let name = directory.join(CONFIG).display().to_string();
    let named = Named::held(Held(Arc::new(filed)), digest, tag.to_string(), None);
    Ok((named, Store::Beside { name, files }))
}

/// The repository with the release.
fn repository_of(directory: &Path) -> Result<Repository, Failure> {
    let found = Filed::repositories(directory);
    let mut found =
        found.map_err(|error| Failure::io(Kind::Failed, "cannot look for the release", &error))?;
    if let Some(usual) = found.iter().position(|one| one.as_str() == REPOSITORY) {
        return Ok(found.swap_remove(usual));
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(Failure::new(Kind::Incomplete, "the directory has no image")
            .with_hint("name the directory that `release mirror --to-dir` was given")),
        _ => {
            let all: Vec<_> = found.iter().map(|one| format!("`{one}`")).collect();
            let directory = quoted(&directory.display().to_string());
            Err(Failure::usage(format!("several repositories are there: {}", all.join(", ")))
                .with_hint(format!(
                    "name one: `--from file://{} --from-dir {directory}`",
                    found[0]
                )))
        }
    }
}

/// The tag of the release: tags of its components begin with it.
fn choose(tags: &[Tag], wanted: Option<&str>) -> Result<Tag, Failure> {
    let begins = |tag: &Tag, with: &Tag| {
        let rest = tag.as_str().strip_prefix(with.as_str());
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    let attached = |tag: &Tag| tag.as_str().starts_with("sha256-");
    let is_release = |tag: &&Tag| !attached(tag) && !tags.iter().any(|other| begins(tag, other));
    let mut releases: Vec<Tag> = tags.iter().filter(is_release).cloned().collect();
    let all: Vec<_> = releases.iter().map(|tag| format!("`{tag}`")).collect();
    let first = releases.first().map_or("TAG", Tag::as_str);
    let hint = format!("name one by its tag: `--release {}`", quoted(first));
    if let Some(wanted) = wanted {
        releases.retain(|tag| {
            tag.as_str() == wanted
                || tag.as_str().strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'))
        });
    }
    match (releases.len(), wanted) {
        (1, _) => Ok(releases.swap_remove(0)),
        (0, None) => Err(Failure::new(Kind::Incomplete, "the directory has no release")
            .with_hint("name the directory that `release mirror --to-dir` was given")),
        (0, Some(wanted)) => {
            let error = format!("no release is `{}`; there are {}", plain(wanted), all.join(", "));
            Err(Failure::usage(error).with_hint(hint))
        }
        (_, _) => Err(Failure::usage(format!("several releases are there: {}", all.join(", ")))
            .with_hint(hint)),
    }
}

/// The signatures of all files for clusters. What is none is passed over: it proves nothing.
fn signatures(directory: &Path) -> std::io::Result<Signatures> {
    use std::io::Read as _;
    let mut all = Signatures::new();
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        Err(error) => return Err(error),
    };
    for entry in entries.take(FILES_MAX) {
        let path: PathBuf = entry?.path();
        let kind = path.extension().and_then(std::ffi::OsStr::to_str);
        if !matches!(kind, Some("json" | "yaml")) {
            continue;
        }
        let mut bytes = Vec::new();
        ::registry::regular::open(&path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
        let shown = path.display().to_string();
        match config_map::read(&bytes, &shown) {
            Ok(found) => all.extend(found),
            Err(why) => tracing::warn!("`{}` holds no signatures: {}", plain(&shown), plain(&why)),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_tag_with_which_the_others_begin() {
        let tags =
            |list: &[&str]| list.iter().map(|tag| tag.parse().unwrap()).collect::<Vec<Tag>>();
        let one = tags(&[
            "4.1.0-x86_64",
            "4.1.0-x86_64-cli",
            "4.1.0-x86_64-kube-x86_64",
            "sha256-ab.sig",
        ]);
        assert_eq!(choose(&one, None).unwrap().as_str(), "4.1.0-x86_64");
        let mut two = one;
        two.extend(tags(&["4.1.1-rc.1-x86_64", "4.1.1-rc.1-x86_64-cli"]));
        let text = format!("{:?}", choose(&two, None).unwrap_err());
        assert!(text.contains("4.1.0-x86_64") && text.contains("4.1.1-rc.1-x86_64"), "{text}");
        for wanted in ["4.1.1-rc.1", "4.1.1-rc.1-x86_64"] {
            assert_eq!(choose(&two, Some(wanted)).unwrap().as_str(), "4.1.1-rc.1-x86_64");
        }
        assert!(choose(&two, Some("4.1")).is_err());
        assert!(choose(&[], None).is_err());
    }

    #[test]
    fn images_are_written_with_or_without_a_tag() {
        let image = Image::parse("openshift/release:4.1-x86_64").unwrap();
        assert_eq!(image.tag.unwrap().as_str(), "4.1-x86_64");
        assert!(Image::parse("/openshift/release").unwrap().tag.is_none());
        for bad in ["", "a b", "x:", "UPPER"] {
            assert!(Image::parse(bad).is_err(), "{bad}");
        }
    }
}
