//! The repositories of a store: tags, manifests, and what these name.
//!
//! In: the directories. Out: findings. What must hold: order of a push is blob, link, referrer link, manifest, tag, and of
//! a removal the other way round; so whatever names something that is not there is looked at once more, and when it is
//! gone by then, nothing was wrong.

use std::path::{Path, PathBuf};

use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};

use super::super::durable::{is_absent, read_bounded};
use super::super::lists::names;
use super::super::{Store, StoreError};
use super::bytes::Bytes;
use super::{Checking, FindingKind};
use crate::content::ContentDigest;
use crate::outline::Outline;

/// Bytes of the line before a stored manifest.
const HEADING_MAX: u64 = 512;

/// What a file of a manifest is.
pub(in crate::store) enum Stored {
    /// Not there.
    Absent,
    /// Not what it is named.
    Damaged(String),
    /// What it is named, and cannot be parsed.
    Unusable(String),
    /// Good.
    Good(Box<Outline>),
}

impl Store {
    /// Reads a manifest as it lies there, without a word in the log and without a touch.
    pub(in crate::store) fn stored(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Stored {
        let path = self.manifests(repository).join(digest.hex());
        let bytes = match read_bounded(&path, HEADING_MAX + MANIFEST_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Stored::Absent,
            Err(error) => return Stored::Damaged(error.to_string()),
        };
        let heading = bytes.iter().position(|byte| *byte == b'\n');
        let Some((end, media_type)) =
            heading.and_then(|end| Some((end, std::str::from_utf8(&bytes[..end]).ok()?)))
        else {
            return Stored::Damaged("it does not begin with a media type".to_owned());
        };
        let content = &bytes[end + 1..];
        let found = ContentDigest::of(digest.algorithm(), content);
        if found != *digest {
            return Stored::Damaged(format!("its bytes have the digest {found}"));
        }
        match Outline::parse(content, Some(media_type)) {
            Ok(manifest) => Stored::Good(Box::new(manifest)),
            Err(error) => Stored::Unusable(error.to_string()),
        }
    }

    /// The size of the file of a blob, whoever links it.
    fn blob_file(&self, digest: &ContentDigest) -> Result<Option<u64>, StoreError> {
        size_of(&self.blob_dir(digest).join(digest.hex()))
    }
}

fn size_of(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs_err::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the bytes of a blob are.
enum Whole {
    Yes,
    No(String),
    Unknown,
}

impl Checking<'_> {
    /// Looks through all repositories.
    pub(super) fn tree(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        let mut strays: Vec<PathBuf> = Vec::new();
        let mut visit = |repository: &Repository| match self.stopped() {
            true => Ok(()),
            false => self.repository(repository),
        };
        store.each_repository(&mut visit, &mut |path| {
            if strays.len() < super::FINDINGS_MAX {
                strays.push(path);
            }
        })?;
        strays.into_iter().for_each(|path| self.stray(&path));
        Ok(())
    }

    pub(super) fn stray(&mut self, path: &Path) {
        let shown = path.strip_prefix(&self.store.root).unwrap_or(path).display().to_string();
        self.note(FindingKind::Stray, shown, None, None, "");
    }

    fn repository(&mut self, repository: &Repository) -> Result<(), StoreError> {
        self.report.repositories += 1;
        let _item = self.how.progress.start(repository.as_str());
        self.tags(repository)?;
        let directory = self.store.manifests(repository);
        for name in names(&directory)? {
            if self.stopped() {
                return Ok(());
            }
            match ContentDigest::from_hex(&name) {
                Ok(digest) => self.manifest(repository, &digest)?,
                Err(_) => self.stray(&directory.join(name)),
            }
        }
        self.referrers(repository)?;
        self.links(repository)
    }

    fn tags(&mut self, repository: &Repository) -> Result<(), StoreError> {
        let directory = self.store.tags_dir(repository);
        for name in names(&directory)? {
            let Ok(tag) = name.parse::<Tag>() else {
                self.stray(&directory.join(name));
                continue;
            };
            self.report.tags += 1;
            let named = format!("{repository}:{tag}");
            let path = directory.join(&name);
            let Some(digest) = self.store.resolve_tag(repository, &tag)? else {
                if size_of(&path)?.is_some() {
                    let kind = FindingKind::TagDamaged;
                    self.note(kind, named, None, Some(repository), "it holds no digest");
                }
                continue;
            };
            let manifest = self.store.manifests(repository).join(digest.hex());
            if size_of(&manifest)?.is_none()
                && self.store.resolve_tag(repository, &tag)? == Some(digest)
                && size_of(&manifest)?.is_none()
            {
                let detail = format!("it stands for {digest}");
                let kind = FindingKind::TagDangling;
                self.note(kind, named, Some(digest), Some(repository), detail);
            }
        }
        Ok(())
    }

    fn manifest(
        &mut self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<(), StoreError> {
        let named = || format!("{repository}@{digest}");
        let manifest = match self.store.stored(repository, digest) {
            Stored::Absent => return Ok(()),
            Stored::Damaged(detail) => {
                let kind = FindingKind::ManifestDamaged;
                self.note(kind, named(), Some(*digest), Some(repository), detail);
                return Ok(());
            }
            Stored::Unusable(detail) => {
                let kind = FindingKind::ManifestUnusable;
                self.note(kind, named(), Some(*digest), Some(repository), detail);
                return Ok(());
            }
            Stored::Good(manifest) => manifest,
        };
        self.report.manifests += 1;
        let path = self.store.manifests(repository).join(digest.hex());
        for blob in manifest.needed() {
            let link = self.store.links(repository).join(blob.digest.hex());
            let (size, linked) = (self.store.blob_file(&blob.digest)?, size_of(&link)?.is_some());
            let (kind, detail) = match size {
                None => (FindingKind::BlobMissing, String::new()),
                Some(_) if !linked => (FindingKind::BlobNotLinked, String::new()),
                Some(size) if size != blob.size => match self.whole(&blob.digest)? {
                    // Its bytes are those of its digest, so it is the manifest that is wrong.
                    Whole::Yes => {
                        let text = format!("of {}: {}, and it has {size}", blob.digest, blob.size);
                        (FindingKind::BlobSize, text)
                    }
                    Whole::No(detail) => (FindingKind::BlobDamaged, detail),
                    Whole::Unknown => continue,
                },
                Some(_) => continue,
            };
            // Removed together since it was read.
            if size_of(&path)?.is_none() {
                return Ok(());
            }
            let (what, about) = match kind {
                FindingKind::BlobNotLinked => {
                    (format!("{repository}@{}", blob.digest), blob.digest)
                }
                FindingKind::BlobSize => (named(), *digest),
                _ => (blob.digest.to_string(), blob.digest),
            };
            self.note(kind, what, Some(about), Some(repository), detail);
        }
        if let Some(subject) = manifest.subject {
            let link = self.store.referrers_dir(repository, &subject).join(digest.hex());
            if size_of(&link)?.is_none() && size_of(&path)?.is_some() {
                let detail = format!("its subject is {subject}");
                let kind = FindingKind::ReferrerMissing;
                self.note(kind, named(), Some(*digest), Some(repository), detail);
            }
        }
        Ok(())
    }

    /// Whether the bytes of a blob are those of its digest, looked at once for all manifests that state another size.
    fn whole(&mut self, digest: &ContentDigest) -> Result<Whole, StoreError> {
        if self.whole.contains(digest) {
            return Ok(Whole::Yes);
        }
        let cancel = self.how.cancel;
        Ok(match self.store.hash_blob(digest, &mut |_| !cancel.is_cancelled())? {
            Some(Bytes::Good) => {
                if self.whole.len() < super::FINDINGS_MAX {
                    self.whole.insert(*digest);
                }
                Whole::Yes
            }
            Some(Bytes::Bad(_, detail)) => Whole::No(detail),
            // Gone, or the check ends.
            Some(Bytes::Absent) | None => Whole::Unknown,
        })
    }

    fn referrers(&mut self, repository: &Repository) -> Result<(), StoreError> {
        let directory = self.store.repository(repository).join("_referrers");
        for subject in names(&directory)? {
            let below = directory.join(&subject);
            let Ok(subject) = ContentDigest::from_hex(&subject) else {
                self.stray(&below);
                continue;
            };
            for name in names(&below)? {
                let Ok(digest) = ContentDigest::from_hex(&name) else {
                    self.stray(&below.join(name));
                    continue;
                };
                // A link without a manifest is what a push leaves that a crash ended; it is not shown.
                if let Stored::Good(manifest) = self.store.stored(repository, &digest)
                    && manifest.subject.is_none_or(|named| named != subject)
                {
                    let what = format!("{repository}@{digest}");
                    let detail = format!("it is listed at {subject}");
                    let kind = FindingKind::ReferrerWrong;
                    self.note(kind, what, Some(digest), Some(repository), detail);
                }
            }
        }
        Ok(())
    }

    /// Links to blobs that are not there: a client is told that they are missing, and pushes them again.
    fn links(&mut self, repository: &Repository) -> Result<(), StoreError> {
        let directory = self.store.links(repository);
        for name in names(&directory)? {
            let path = directory.join(&name);
            let Ok(digest) = ContentDigest::from_hex(&name) else {
                self.stray(&path);
                continue;
            };
            if self.store.blob_file(&digest)?.is_none() && size_of(&path)?.is_some() {
                let kind = FindingKind::BlobMissing;
                self.note(kind, digest.to_string(), Some(digest), Some(repository), "");
            }
        }
        Ok(())
    }
}
