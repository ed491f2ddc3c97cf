//! What one `--images PATH` is: a file with a list, a directory or an archive with images.
//!
//! In: the path, as it was typed. Out: lines of a list, or images that are there, each with a name to be told by. What must hold:
//! a directory is what its files say, whatever it is called.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::{Digest, Repository, Tag};
use registry::filed::Filed;
use registry::manifest::Manifest;
use registry::reference::{Reference, RegistryHost};
use registry::shelf::Shelf;

use super::ListError;
use super::archive::Archive;
use super::dir::{self, Dir};
use super::file::{self, Line, Name};
use super::limits::{ENTRIES_MAX, LIST_MAX};

/// The list in the directory that `oc adm catalog mirror` leaves, and what of it is no list.
const MAPPING: &str = "mapping.txt";
const CATALOG_SOURCE: &str = "catalogSource.yaml";

/// An image that is at hand.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What it is called in messages and in the index.
    pub(super) text: String,
    pub(super) shelf: Arc<dyn Shelf>,
    pub(super) digest: Digest,
    /// Its name at the target, or why it can have none. Without a tag it is called by its digest.
    pub(super) name: Result<Name, String>,
}

/// What a path turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    /// A list, and the directory that its `file://` means.
    List { file: PathBuf, lines: Vec<Line> },
    /// Images.
    Images(Vec<Found>),
    /// An OCI layout, to be named as an additional image.
    Layout(String),
}

/// Looks what a path is. Warnings are added.
pub(super) fn open(path: &Path, warnings: &mut Vec<String>) -> Result<Content, ListError> {
    let text = path.to_string_lossy();
    let wrong = |problem: String| ListError { path: path.to_owned(), problem };
    let failed = |error: io::Error| wrong(error.to_string());
    for (scheme, is_archive) in [("docker-archive:", true), ("oci-archive:", true), ("dir:", false)]
    {
        let Some(rest) = text.strip_prefix(scheme) else { continue };
        let rest = Path::new(rest.strip_prefix("//").unwrap_or(rest));
        return match is_archive {
            true => archive(rest).map_err(failed),
            false => directory(rest, warnings).map_err(failed),
        };
    }
    if let Some(rest) = text.strip_prefix("oci:") {
        return Ok(Content::Layout(rest.strip_prefix("//").unwrap_or(rest).to_owned()));
    }
    let rest = text.strip_prefix("file://").map_or(path, Path::new);
    if rest.is_dir() {
        return match rest.join(MAPPING) {
            mapping if mapping.is_file() => {
                if rest.join(CATALOG_SOURCE).is_file() {
                    warnings.push(format!(
                        "`{}`: only its `{MAPPING}` is used; a catalog in `operators` of a configuration gets its \
                         `{CATALOG_SOURCE}` anew at each import",
                        rest.display()
                    ));
                }
                list(&mapping).map_err(|problem| ListError { path: mapping, problem })
            }
            _ => directory(rest, warnings).map_err(failed),
        };
    }
    if is_tar(rest).map_err(failed)? {
        archive(rest).map_err(failed)
    } else {
        list(rest).map_err(wrong)
    }
}

/// Whether a file is a tar, or a compressed one.
fn is_tar(path: &Path) -> io::Result<bool> {
    let mut block = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(registry::regular::open(path)?, 512), &mut block)?;
    let packed = [&[0x1f_u8, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, b'7', b'z']];
    let is_packed = packed.iter().any(|magic| block.starts_with(magic));
    Ok(is_packed || block.get(257..262).is_some_and(|magic| magic == b"ustar"))
}

fn list(path: &Path) -> Result<Content, String> {
    let mut bytes = Vec::new();
    let file = registry::regular::open(path).map_err(|error| error.to_string())?;
    io::Read::read_to_end(&mut io::Read::take(file, LIST_MAX + 1), &mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LIST_MAX {
        return Err(format!("it is larger than {LIST_MAX} bytes: no list of images"));
    }
    Ok(Content::List { file: path.to_owned(), lines: file::read(&bytes)? })
}

fn archive(path: &Path) -> io::Result<Content> {
    let archive = Arc::new(Archive::open(path)?);
    let transport = if archive.is_layout { "oci-archive" } else { "docker-archive" };
    let mut found = Vec::new();
    for image in &archive.images {
        let shelf = || Arc::clone(&archive) as Arc<dyn Shelf>;
        if image.names.is_empty() {
            let (text, name) =
                (path.display().to_string(), of_directory(path.with_extension("").file_name()));
            found.push(Found { text, shelf: shelf(), digest: image.digest, name });
        }
        for written in &image.names {
            let text = format!("{transport}:{}:{written}", path.display());
            found.push(Found { text, shelf: shelf(), digest: image.digest, name: tagged(written) });
        }
    }
    Ok(Content::Images(found))
}

fn directory(root: &Path, warnings: &mut Vec<String>) -> io::Result<Content> {
    if Filed::is_one(root) {
        let mut found = Vec::new();
        for repository in Filed::repositories(root)? {
            found.extend(filed(root, &repository, |_| true, true)?);
        }
        let mut beside = Vec::new();
        for entry in fs_err::read_dir(root)?.take(ENTRIES_MAX) {
            beside.push(PathBuf::from(entry?.file_name()));
        }
        beside.retain(|name| name != Path::new("v2"));
        beside.sort();
        warnings.extend(passed_over(root, &beside));
        return Ok(Content::Images(found));
    }
    if root.join("oci-layout").is_file() {
        return Ok(Content::Layout(root.display().to_string()));
    }
    let mut found = Vec::new();
    let dir::Below { images, beside } = dir::below(root)?;
    for path in images {
        let here = root.join(&path);
        let Some(dir) = Dir::open(&here)? else {
            warnings
                .push(format!("`{}` is passed over: its `version` is not known", here.display()));
            continue;
        };
        if dir.is_signed() {
            warnings.push(format!(
                "`{}`: its `signature-1` stays behind: signatures of that kind have no place in a registry",
                here.display()
            ));
        }
        let name = match path.components().next() {
            None => of_directory(fs_err::canonicalize(root)?.file_name()),
            Some(_) => synced(&path.to_string_lossy()),
        };
        let text = format!("dir:{}", here.display());
        found.push(Found { text, digest: dir.digest(), shelf: Arc::new(dir), name });
    }
    match found.is_empty() {
        false => {
            warnings.extend(passed_over(root, &beside));
            Ok(Content::Images(found))
        }
        true => Err(io::Error::other(
            "there are no images in it: expected a list in `mapping.txt`, `v2` of `oc image mirror`, an OCI layout, or \
             directories as `skopeo copy` and `skopeo sync` write them",
        )),
    }
}

/// What lies beside the images of a directory, and is none of them.
fn passed_over(root: &Path, beside: &[PathBuf]) -> Option<String> {
    let first = root.join(beside.first()?);
    let shown: Vec<_> = beside.iter().take(3).map(|path| format!("`{}`", path.display())).collect();
    let more = match beside.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "`{}`: what lies beside the images is passed over: {}{more}; a list or an archive is named by itself: `--images {}`",
        root.display(),
        shown.join(", "),
        first.display()
    ))
}

/// The images of a repository of a `v2` directory whose tags are meant; with those that have no tag and belong to no other, if
/// they are asked for.
pub(super) fn filed(
    root: &Path,
    repository: &Repository,
    is_meant: impl Fn(&Tag) -> bool,
    and_untagged: bool,
) -> io::Result<Vec<Found>> {
    let filed = Filed::new(root, repository.clone());
    let shelf: Arc<dyn Shelf> = Arc::new(filed.clone());
    let place = format!("file://{}/{repository}", root.display());
    let mut found = Vec::new();
    let mut named = std::collections::HashSet::new();
    for tag in filed.tags()? {
        let Some(digest) = filed.tagged(&tag)? else { continue };
        named.insert(digest);
        if is_meant(&tag) {
            let (text, shelf) = (format!("{place}:{tag}"), Arc::clone(&shelf));
            let name = Ok(Name { repository: repository.clone(), tag: Some(tag) });
            found.push(Found { text, shelf, digest, name });
        }
    }
    if !and_untagged {
        return Ok(found);
    }
    let mut others = Vec::new();
    for entry in fs_err::read_dir(filed.directory().join("manifests"))? {
        let digest = entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        others.extend(digest);
        if others.len() > ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} manifests")));
        }
    }
    others.sort();
    for digest in &others {
        if let Some(raw) = filed.manifest(digest)?
            && let Ok(Manifest::Index(index)) = raw.parse()
        {
            named.extend(index.manifests.iter().map(|child| child.digest));
        }
    }
    for digest in others.into_iter().filter(|digest| !named.contains(digest)) {
        let (text, shelf) = (format!("{place}@{digest}"), Arc::clone(&shelf));
        let name = Ok(Name { repository: repository.clone(), tag: None });
        found.push(Found { text, shelf, digest, name });
    }
    Ok(found)
}

/// The name of an image by that of its directory or file: `NAME` or `NAME:TAG`.
fn of_directory(name: Option<&std::ffi::OsStr>) -> Result<Name, String> {
    let name = name.and_then(|name| name.to_str()).ok_or("it has no name of its own")?;
    let mut name = synced(&name.to_ascii_lowercase())?;
    name.tag = name.tag.or_else(|| "latest".parse().ok());
    Ok(name)
}

/// The name of an image that `skopeo sync` has written to `[HOST/]PATH:TAG` or `PATH@DIGEST`.
fn synced(path: &str) -> Result<Name, String> {
    let bare = match path.split_once('/') {
        // With `--scoped` the registry's host comes first. A component of a repository has no upper case and no colon.
        Some((host, rest)) if host.contains(['.', ':']) && host.parse::<RegistryHost>().is_ok() => {
            rest
        }
        _ => path,
    };
    let bare = bare.split_once('@').map_or(bare, |(name, _)| name);
    let (repository, tag) = match bare.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (bare, None),
    };
    let wrong = |error: format_spec::names::NameError| format!("{error} in `{path}`");
    let tag = tag.map(str::parse).transpose().map_err(wrong)?;
    Ok(Name { repository: repository.parse().map_err(wrong)?, tag })
}

/// The name of an image by what an archive calls it. Without a host it is one of Docker Hub.
fn tagged(written: &str) -> Result<Name, String> {
    let first = written.split('/').next().unwrap_or_default();
    let hosted = written.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if hosted { written.to_owned() } else { format!("docker.io/{written}") };
    let reference: Reference = full.parse().map_err(|error| format!("{error}"))?;
    let tag = reference.tag.or_else(|| "latest".parse().ok());
    Ok(Name { repository: reference.repository, tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_and_archives() {
        let shown = |name: Result<Name, String>| {
            let name = name.unwrap();
            format!(
                "{}:{}",
                name.repository,
                name.tag.map_or_else(|| "-".to_owned(), |tag| tag.to_string())
            )
        };
        for (path, expected) in [
            ("busybox:1.36", "busybox:1.36"),
            ("quay.io/acme/app:1", "acme/app:1"),
            ("localhost:5000/acme/app:1", "acme/app:1"),
            ("team/app:1", "team/app:1"),
        ] {
            assert_eq!(shown(synced(path)), expected);
        }
        assert!(synced("A:1").is_err());
        assert_eq!(shown(of_directory(Some("My-App".as_ref()))), "my-app:latest");
        for (written, expected) in [
            ("busybox:1.36", "library/busybox:1.36"),
            ("acme/app:1", "acme/app:1"),
            ("quay.io/acme/app:1", "acme/app:1"),
            ("localhost/app:latest", "app:latest"),
            ("quay.io/acme/app", "acme/app:latest"),
        ] {
            assert_eq!(shown(tagged(written)), expected);
        }
    }
}
