//! The repositories of a bucket: tags, manifests, and what these name.
//!
//! In: names of repositories. Out: findings. What must hold: order of a push is blob, link, referrer entry, manifest, tag,
//! and of a removal the other way round; so whatever names something that is not there is looked at once more, and when it
//! is gone by then, nothing was wrong.

use std::collections::HashSet;

use format_spec::{Repository, Tag};
use futures_util::TryStreamExt;

use super::super::hold::{There, is_going};
use super::super::limits::{ASIDE, SMALL_MAX};
use super::super::manifests::{STORED_MAX, tag_text, without_word};
use super::super::{Objects, keys};
use super::Checking;
use super::blobs::Bytes;
use crate::content::ContentDigest;
use crate::outline::Outline;
use crate::parsing;
use crate::store::StoreError;
use crate::store::check::{FINDINGS_MAX, FindingKind, Hits};
use crate::store::collect::mark::Key;

/// What an object of a manifest is.
pub(super) enum Stored {
    /// Not there.
    Absent,
    /// Not what it is named.
    Damaged(String),
    /// What it is named, and cannot be parsed.
    Unusable(String),
    /// Good.
    Good(Box<Outline>),
}

/// A tag, and what it stands for unless it is damaged.
type Named = (String, Option<Tag>, Option<ContentDigest>);

impl Objects {
    /// Reads a manifest as it is there, without a word in the log and without holding it.
    pub(super) async fn stored(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Stored, StoreError> {
        let key = keys::manifest(repository, digest);
        let mut there = self.look(&key, parsing::USUAL as u64).await?;
        let mut turn = None;
        if let There::Object(bytes, meta) = &there
            && bytes.is_empty()
        {
            // Larger than that.
            turn = parsing::turn(usize::try_from(meta.size).unwrap_or(usize::MAX)).await;
            there = self.look(&key, STORED_MAX).await?;
        }
        let There::Object(bytes, _) = there else { return Ok(Stored::Absent) };
        let read = Stored::read(&bytes, digest);
        drop((bytes, turn));
        Ok(read)
    }

    async fn is_there(&self, key: &str) -> Result<bool, StoreError> {
        Ok(matches!(self.look(key, STORED_MAX).await?, There::Object(..)))
    }

    /// The tags of a repository.
    async fn all_tags(&self, repository: &Repository) -> Result<Vec<Named>, StoreError> {
        let list = self.bucket.list(&keys::tags(repository), None)?;
        let read = list.map_ok(|meta| async move {
            let key = self.bucket.key(&meta);
            let There::Object(text, _) = self.look(&key, SMALL_MAX).await? else { return Ok(None) };
            let tag = key.rsplit_once('!').and_then(|(_, tag)| tag.parse().ok());
            Ok::<_, StoreError>(Some((key, tag, tag_text(&text))))
        });
        read.try_buffered(ASIDE).try_filter_map(|tag| async { Ok(tag) }).try_collect().await
    }

    /// The digests of what is directly below a prefix; `stray` gets the other keys.
    async fn digests(
        &self,
        prefix: &str,
        stray: &mut Vec<String>,
    ) -> Result<Vec<ContentDigest>, StoreError> {
        let (mut list, mut found) = (self.bucket.list(prefix, None)?, Vec::new());
        while let Some(meta) = list.try_next().await? {
            let key = self.bucket.key(&meta);
            let name = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
            match name.and_then(|hex| ContentDigest::from_hex(hex).ok()) {
                Some(_) if is_going(&meta) => {}
                Some(digest) => found.push(digest),
                None => stray.push(key),
            }
        }
        Ok(found)
    }
}

impl Stored {
    /// What these bytes are.
    pub(super) fn read(bytes: &bytes::Bytes, digest: &ContentDigest) -> Self {
        let bytes = without_word(bytes);
        let heading = bytes.iter().position(|byte| *byte == b'\n');
        let Some((end, media_type)) =
            heading.and_then(|end| Some((end, std::str::from_utf8(&bytes[..end]).ok()?)))
        else {
            return Self::Damaged("it does not begin with a media type".to_owned());
        };
        let content = &bytes[end + 1..];
        let found = ContentDigest::of(digest.algorithm(), content);
        if found != *digest {
            return Self::Damaged(format!("its bytes have the digest {found}"));
        }
        match Outline::parse(content, Some(media_type)) {
            Ok(manifest) => Self::Good(Box::new(manifest)),
            Err(error) => Self::Unusable(error.to_string()),
        }
    }
}

impl Checking<'_> {
    /// Looks through all repositories.
    pub(super) async fn tree(&mut self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            if self.stopped() {
                return Ok(());
            }
            match name.parse::<Repository>() {
                Ok(repository) => self.repository(&repository).await?,
                Err(_) => self.stray(&format!("repositories/{name}")),
            }
        }
        Ok(())
    }

    async fn repository(&mut self, repository: &Repository) -> Result<(), StoreError> {
        let (objects, mut strays) = (self.objects, Vec::new());
        self.report.repositories += 1;
        let _item = self.how.progress.start(repository.as_str());
        self.tags(repository).await?;
        let links = objects.digests(&keys::links(repository), &mut strays).await?;
        let linked: HashSet<Key> = links.iter().map(Key::of).collect();
        let manifests = objects.digests(&keys::manifests(repository), &mut strays).await?;
        let list = futures_util::stream::iter(manifests.into_iter().map(Ok::<_, StoreError>));
        let mut read = list
            .map_ok(
                |digest| async move { Ok((digest, objects.stored(repository, &digest).await?)) },
            )
            .try_buffered(ASIDE);
        let mut referrers = Vec::new();
        while let Some((digest, stored)) = read.try_next().await? {
            if self.stopped() {
                return Ok(());
            }
            let named = || format!("{repository}@{digest}");
            match stored {
                Stored::Absent => {}
                Stored::Damaged(detail) => {
                    let kind = FindingKind::ManifestDamaged;
                    self.note(kind, named(), Some(digest), Some(repository), detail);
                }
                Stored::Unusable(detail) => {
                    let kind = FindingKind::ManifestUnusable;
                    self.note(kind, named(), Some(digest), Some(repository), detail);
                }
                Stored::Good(manifest) => {
                    self.report.manifests += 1;
                    self.manifest(repository, &digest, &manifest, &linked).await?;
                    let subject = manifest.subject;
                    referrers.push((digest, subject));
                }
            }
        }
        drop(read);
        self.referrers(repository, &referrers, &mut strays).await?;
        for digest in links {
            // A client is told that it is missing, and pushes it again.
            if self.size(&digest).await?.is_none()
                && objects.is_there(&keys::link(repository, &digest)).await?
            {
                let kind = FindingKind::BlobMissing;
                self.note(kind, digest.to_string(), Some(digest), Some(repository), "");
            }
        }
        strays.iter().for_each(|key| self.stray(key));
        Ok(())
    }

    /// The size of a blob, whoever links it; the inner one is none where its pointer is damaged.
    async fn size(&self, digest: &ContentDigest) -> Result<Option<Option<u64>>, StoreError> {
        match self.sizes.get(&Key::of(digest)) {
            Some(size) => Ok(Some(*size)),
            // Pushed since.
            None => Ok(self.objects.pointer(digest).await?.map(|pointer| Some(pointer.size))),
        }
    }

    async fn tags(&mut self, repository: &Repository) -> Result<(), StoreError> {
        for (key, tag, digest) in self.objects.all_tags(repository).await? {
            let Some(tag) = tag else {
                self.stray(&key);
                continue;
            };
            self.report.tags += 1;
            let named = format!("{repository}:{tag}");
            let Some(digest) = digest else {
                if self.objects.bucket.head(&key).await?.is_some() {
                    let kind = FindingKind::TagDamaged;
                    self.note(kind, named, None, Some(repository), "it holds no digest");
                }
                continue;
            };
            let manifest = keys::manifest(repository, &digest);
            if !self.objects.is_there(&manifest).await?
                && self.objects.resolve_tag(repository, &tag).await? == Some(digest)
                && !self.objects.is_there(&manifest).await?
            {
                let detail = format!("it stands for {digest}");
                let kind = FindingKind::TagDangling;
                self.note(kind, named, Some(digest), Some(repository), detail);
            }
        }
        Ok(())
    }

    async fn manifest(
        &mut self,
        repository: &Repository,
        digest: &ContentDigest,
        manifest: &Outline,
        linked: &HashSet<Key>,
    ) -> Result<(), StoreError> {
        let objects = self.objects;
        let key = keys::manifest(repository, digest);
        for blob in manifest.needed() {
            let linked = linked.contains(&Key::of(&blob.digest))
                || objects.is_there(&keys::link(repository, &blob.digest)).await?;
            let (kind, detail) = match self.size(&blob.digest).await? {
                None => (FindingKind::BlobMissing, String::new()),
                Some(_) if !linked => (FindingKind::BlobNotLinked, String::new()),
                Some(Some(size)) if size != blob.size => match self.whole(&blob.digest).await? {
                    // Its bytes are those of its digest, so it is the manifest that is wrong.
                    Bytes::Good(_) => {
                        let text = format!("of {}: {}, and it has {size}", blob.digest, blob.size);
                        (FindingKind::BlobSize, text)
                    }
                    Bytes::Bad(_, detail) => (FindingKind::BlobDamaged, detail),
                    Bytes::Absent => continue,
                },
                Some(_) => continue,
            };
            // Removed together since it was read.
            if !objects.is_there(&key).await? {
                return Ok(());
            }
            let (what, about) = match kind {
                FindingKind::BlobNotLinked => {
                    (format!("{repository}@{}", blob.digest), blob.digest)
                }
                FindingKind::BlobSize => (format!("{repository}@{digest}"), *digest),
                _ => (blob.digest.to_string(), blob.digest),
            };
            self.note(kind, what, Some(about), Some(repository), detail);
        }
        Ok(())
    }

    /// Whether the bytes of a blob are those of its digest, looked at once for all manifests that state another size.
    async fn whole(&mut self, digest: &ContentDigest) -> Result<Bytes, StoreError> {
        if self.whole.contains(digest) {
            return Ok(Bytes::Good(0));
        }
        let bytes = self.objects.hash_blob(digest, None).await?.unwrap_or(Bytes::Absent);
        if matches!(bytes, Bytes::Good(_)) && self.whole.len() < FINDINGS_MAX {
            self.whole.insert(*digest);
        }
        Ok(bytes)
    }

    async fn referrers(
        &mut self,
        repository: &Repository,
        manifests: &[(ContentDigest, Option<ContentDigest>)],
        strays: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let objects = self.objects;
        let mut listed = HashSet::new();
        let subjects: std::collections::HashMap<_, _> = manifests.iter().copied().collect();
        let prefix = format!("repositories/{repository}/_referrers");
        let mut list = objects.bucket.list(&prefix, None)?;
        while let Some(meta) = list.try_next().await? {
            let key = objects.bucket.key(&meta);
            let mut names = key[prefix.len()..].split('/').skip(1).map(ContentDigest::from_hex);
            let (Some(Ok(subject)), Some(Ok(digest))) = (names.next(), names.next()) else {
                strays.push(key);
                continue;
            };
            if is_going(&meta) {
                continue;
            }
            // An entry without a manifest is what a push leaves that a crash ended; it is not shown.
            if subjects.get(&digest).is_some_and(|named| *named != Some(subject)) {
                let what = format!("{repository}@{digest}");
                let detail = format!("it is listed at {subject}");
                let kind = FindingKind::ReferrerWrong;
                self.note(kind, what, Some(digest), Some(repository), detail);
            }
            listed.insert((subject, digest));
        }
        for (digest, subject) in manifests {
            let Some(subject) = subject else { continue };
            if listed.contains(&(*subject, *digest)) {
                continue;
            }
            let entry = format!("{}/{}", keys::referrers(repository, subject), digest.hex());
            if !objects.is_there(&entry).await?
                && objects.is_there(&keys::manifest(repository, digest)).await?
            {
                let detail = format!("its subject is {subject}");
                let (kind, what) = (FindingKind::ReferrerMissing, format!("{repository}@{digest}"));
                self.note(kind, what, Some(*digest), Some(repository), detail);
            }
        }
        Ok(())
    }

    /// Fills in repositories and tags.
    pub(super) async fn hits(&mut self, names: &[String]) -> Result<(), StoreError> {
        let contents = self.findings.contents();
        if contents.is_empty() {
            return Ok(());
        }
        let objects = self.objects;
        for name in names {
            let Ok(repository) = &name.parse::<Repository>() else { continue };
            if self.stopped() {
                return Ok(());
            }
            let strays = &mut Vec::new();
            let mut hits = Hits::of(&contents);
            let manifests = objects.digests(&keys::manifests(repository), strays).await?;
            let list = futures_util::stream::iter(manifests.into_iter().map(Ok::<_, StoreError>));
            let mut read =
                list.map_ok(|digest| async move {
                    Ok((digest, objects.stored(repository, &digest).await?))
                })
                .try_buffered(ASIDE);
            while let Some((digest, stored)) = read.try_next().await? {
                match stored {
                    Stored::Good(manifest) => hits.manifest(digest, Some(&manifest)),
                    _ => hits.manifest(digest, None),
                }
            }
            drop(read);
            let links = objects.digests(&keys::links(repository), strays).await?;
            let links: HashSet<ContentDigest> = links.into_iter().collect();
            let tags = objects.all_tags(repository).await?;
            let tags = tags.into_iter().filter_map(|(_, tag, digest)| Some((tag?, digest?)));
            self.findings.hit(repository, hits, &|digest| links.contains(digest), tags);
        }
        Ok(())
    }
}
