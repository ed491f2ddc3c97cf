//! The directory that `oc image mirror` keeps images in: `v2/REPOSITORY/{blobs,manifests}/sha256:HEX`, and each tag a symbolic link
//! beside the manifests.
//!
//! In: the directory and one of its repositories. Out: tags, manifests, hashed, and sources of blobs. What must hold: only a
//! [`Digest`] or a [`Tag`] makes a name, and a link counts only for the digest that it names, so nothing in the directory leads
//! outside; special files are not opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::{Digest, Repository, Tag};

use crate::client::BlobSource;
use crate::limits::TAGS_MAX;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::shelf::Shelf;
use crate::window::{self, Window, open, read};

/// The directory of all repositories.
const ROOT: &str = "v2";

/// Repositories of a directory that are listed, and how deep they may lie.
const REPOSITORIES_MAX: usize = 1000;
const DEPTH_MAX: usize = 16;

/// One repository of such a directory.
#[derive(Clone, Debug)]
pub struct Filed {
    root: PathBuf,
    repository: Repository,
}

impl Filed {
    /// A repository, which need not be there.
    pub fn new(root: &Path, repository: Repository) -> Self {
        Self { root: root.to_owned(), repository }
    }

    /// Whether a directory is one that holds images so.
    pub fn is_one(root: &Path) -> bool {
        root.join(ROOT).is_dir()
    }

    /// The repositories of a directory.
    ///
    /// # Errors
    /// I/O; more than a thousand.
    pub fn repositories(root: &Path) -> io::Result<Vec<Repository>> {
        let base = root.join(ROOT);
        let (mut found, mut waiting) = (Vec::new(), vec![(base.clone(), 0)]);
        while let Some((directory, depth)) = waiting.pop() {
            if directory.join("manifests").is_dir() {
                let name = directory.strip_prefix(&base).ok().and_then(Path::to_str);
                found.extend(name.and_then(|name| name.parse().ok()));
            }
            if found.len() > REPOSITORIES_MAX {
                let text = format!("`{}` has more repositories than are listed", base.display());
                return Err(io::Error::other(text));
            }
            for entry in fs_err::read_dir(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let content = name == "manifests" || name == "blobs";
                if depth < DEPTH_MAX && !content && entry.file_type()?.is_dir() {
                    waiting.push((entry.path(), depth + 1));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        self.root.join(ROOT).join(self.repository.as_str())
    }

    /// Where a blob is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory().join("blobs").join(digest.to_string())
    }

    /// Where a manifest is.
    pub fn manifest_path(&self, digest: &Digest) -> PathBuf {
        self.directory().join("manifests").join(digest.to_string())
    }

    /// Where a tag is.
    pub fn tag_path(&self, tag: &Tag) -> PathBuf {
        self.directory().join("manifests").join(tag.as_str())
    }

    /// The tags, ascending.
    ///
    /// # Errors
    /// I/O; more than are listed.
    pub fn tags(&self) -> io::Result<Vec<Tag>> {
        let mut tags = Vec::new();
        for entry in fs_err::read_dir(self.directory().join("manifests"))? {
            let name = entry?.file_name();
            tags.extend(name.to_str().and_then(|name| name.parse().ok()));
            if tags.len() > TAGS_MAX {
                return Err(io::Error::other("more tags than are listed"));
            }
        }
        tags.sort();
        Ok(tags)
    }

    /// Whether a blob of this size is there.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        let found = fs_err::symlink_metadata(self.blob_path(digest));
        found.is_ok_and(|found| found.is_file() && found.len() == size)
    }
}

impl Shelf for Filed {
    fn name(&self) -> String {
        format!("`{}`", self.directory().display())
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Option<RawManifest>> {
        window::manifest(&self.manifest_path(digest), digest)
    }

    fn tagged(&self, tag: &Tag) -> io::Result<Option<Digest>> {
        let path = self.tag_path(tag);
        match fs_err::read_link(&path) {
            Ok(target) => {
                let digest = target.to_str().and_then(|text| text.parse().ok());
                let text = || format!("`{}` names no manifest", path.display());
                digest.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Copied to where there are no links: the manifest itself.
            Err(_) => match open(&path)? {
                Some((file, _)) => Ok(Some(Digest::of(&read(file)?))),
                None => Ok(None),
            },
        }
    }

    /// What is attached has a tag here.
    fn referrers(&self, subject: &Digest) -> io::Result<Vec<Descriptor>> {
        let Ok(tag) = format!("sha256-{}", subject.hex()).parse::<Tag>() else {
            return Ok(Vec::new());
        };
        let Some(digest) = self.tagged(&tag)? else { return Ok(Vec::new()) };
        let raw = self.manifest(&digest)?;
        Ok(match raw.and_then(|raw| raw.parse().ok()) {
            Some(Manifest::Index(index)) => index.manifests,
            _ => Vec::new(),
        })
    }

    fn blob(&self, digest: &Digest, size: u64) -> io::Result<Option<Arc<dyn BlobSource>>> {
        let path = self.blob_path(digest);
        match open(&path)? {
            None => Ok(None),
            Some((_, found)) if found == size => Ok(Some(Arc::new(Window::whole(path, size)))),
            Some((_, found)) => {
                let text =
                    format!("`{}` has {found} bytes, its manifest says {size}", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fs_err::os::unix::fs::symlink;
    use futures_util::StreamExt;
    use rustix::fs::{CWD, Mode};

    use super::*;
    use crate::window::PIECE;

    fn place(root: &Path) -> Filed {
        let filed = Filed::new(root, "openshift/release".parse().unwrap());
        for name in ["blobs", "manifests"] {
            fs_err::create_dir_all(filed.directory().join(name)).unwrap();
        }
        filed
    }

    fn manifest(filed: &Filed, text: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        fs_err::write(filed.manifest_path(&digest), text).unwrap();
        digest
    }

    const TEXT: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;

    #[tokio::test]
    async fn what_is_filed_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let filed = place(dir.path());
        assert!(Filed::is_one(dir.path()) && !Filed::is_one(&dir.path().join("v2")));
        assert_eq!(Filed::repositories(dir.path()).unwrap(), [filed.repository().clone()]);
        let digest = manifest(&filed, TEXT);
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        symlink(digest.to_string(), filed.tag_path(&tag("4.1-x86_64"))).unwrap();
        fs_err::write(filed.tag_path(&tag("copied")), TEXT).unwrap();
        assert_eq!(filed.tags().unwrap(), [tag("4.1-x86_64"), tag("copied")]);
        for name in ["4.1-x86_64", "copied"] {
            assert_eq!(filed.tagged(&tag(name)).unwrap(), Some(digest));
        }
        assert_eq!(filed.tagged(&tag("none")).unwrap(), None);
        let raw = filed.manifest(&digest).unwrap().unwrap();
        assert_eq!(raw.media_type, "application/vnd.oci.image.manifest.v1+json");
        let blob = vec![7; PIECE + 3];
        let digest = Digest::of(&blob);
        fs_err::write(filed.blob_path(&digest), &blob).unwrap();
        assert!(filed.has_blob(&digest, blob.len() as u64) && !filed.has_blob(&digest, 1));
        let source = filed.blob(&digest, blob.len() as u64).unwrap().unwrap();
        for from in [0, 5, PIECE as u64, blob.len() as u64] {
            let pieces: Vec<Bytes> = source.open(from).map(Result::unwrap).collect().await;
            assert_eq!(pieces.concat(), blob[usize::try_from(from).unwrap()..]);
        }
        assert!(filed.blob(&Digest::of(b"none"), 4).unwrap().is_none());
    }

    #[test]
    fn nothing_in_it_leads_outside() {
        let dir = tempfile::tempdir().unwrap();
        let filed = place(dir.path());
        let outside = dir.path().join("outside");
        fs_err::write(&outside, TEXT).unwrap();
        let digest = Digest::of(TEXT.as_bytes());
        let tag: Tag = "t".parse().unwrap();
        symlink(&outside, filed.tag_path(&tag)).unwrap();
        assert!(filed.tagged(&tag).is_err());
        symlink(&outside, filed.manifest_path(&digest)).unwrap();
        assert!(filed.manifest(&digest).is_err());
        symlink(&outside, filed.blob_path(&digest)).unwrap();
        assert!(filed.blob(&digest, TEXT.len() as u64).is_err());
        assert!(!filed.has_blob(&digest, TEXT.len() as u64));
        // What is not what it is named.
        let other = Digest::of(b"other");
        fs_err::write(filed.manifest_path(&other), TEXT).unwrap();
        let error = filed.manifest(&other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        fs_err::write(filed.blob_path(&other), "short").unwrap();
        assert!(filed.blob(&other, 6).is_err());
        rustix::fs::mknodat(
            CWD,
            filed.blob_path(&Digest::of(b"p")),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(filed.blob(&Digest::of(b"p"), 0).is_err());
    }
}
