//! Manifests and tags of a repository.
//!
//! In: the bytes of a manifest as they were pushed. Out: the same bytes with the same media type. What must hold:
//! order of safety is referrer link, manifest, tag; a manifest read back has the digest it is named by; the last
//! writer of a tag wins, and nothing of a tag is kept in this process.

use bytes::Bytes;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::PutPayload;

use super::limits::{ASIDE, SMALL_MAX};
use super::{Objects, keys};
use crate::content::{Algorithm, ContentDigest};
use crate::manifest::Manifest;
use crate::media_type::is_foreign_layer;
use crate::store::{HEADING_MAX, Pushed, StoreError, StoredManifest};

impl Objects {
    /// Stores a manifest under its digest and under `tags`. The blobs of an image must be there, except layers of
    /// a foreign media type; the manifests of an index and the subject need not.
    ///
    /// # Errors
    /// The manifest is malformed or another than `expected`, a blob is missing, read-only, or the object store's.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        expected: Option<&ContentDigest>,
        tags: &[Tag],
        media_type: Option<&str>,
        bytes: &Bytes,
    ) -> Result<Pushed, StoreError> {
        self.writable()?;
        let algorithm = expected.map_or(Algorithm::Sha256, ContentDigest::algorithm);
        let (body, kind) = (bytes.clone(), media_type.map(str::to_owned));
        // 4 MiB take tens of milliseconds, in which an asynchronous thread serves many others.
        let read = tokio::task::spawn_blocking(move || {
            (ContentDigest::of(algorithm, &body), Manifest::parse_any(&body, kind.as_deref()))
        });
        let (digest, manifest) = read.await.map_err(std::io::Error::other)?;
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(StoreError::Mismatch {
                expected: Box::new(*expected),
                found: Box::new(digest),
            });
        }
        let manifest = manifest?;
        let media_type = manifest.media_type();
        let subject = manifest.subject().map(|subject| subject.digest);
        self.require_blobs(repository, &manifest).await?;
        if let Some(subject) = &subject {
            // Before the manifest: a client that finds the manifest sends it no more.
            let key = format!("{}/{}", keys::referrers(repository, subject), digest.hex());
            self.bucket.mark(&key).await?;
        }
        let heading = Bytes::from(format!("{media_type}\n"));
        let stored: PutPayload = [heading, bytes.clone()].into_iter().collect();
        self.bucket.put(&keys::manifest(repository, &digest), stored).await?;
        self.bucket.mark(&keys::catalog(repository)).await?;
        for tag in tags {
            // First the way back, by which deleting the manifest finds the tag.
            self.bucket.mark(&format!("{}/{tag}", keys::tagged(repository, &digest))).await?;
            let text = Bytes::from(format!("{digest}\n"));
            self.bucket.put(&keys::tag(repository, tag), text.into()).await?;
        }
        Ok(Pushed { digest, subject })
    }

    async fn require_blobs(
        &self,
        repository: &Repository,
        manifest: &Manifest<ContentDigest>,
    ) -> Result<(), StoreError> {
        // Foreign layers stay where they are (OCI image specification, non-distributable).
        let blobs: Vec<(ContentDigest, u64)> = manifest
            .blobs()
            .into_iter()
            .filter(|blob| !is_foreign_layer(&blob.media_type))
            .map(|blob| (blob.digest, blob.size))
            .collect();
        stream::iter(blobs)
            .map(|(digest, stated)| async move {
                match self.has_blob(repository, &digest).await? {
                    Some(found) if found == stated => Ok(()),
                    Some(found) => {
                        Err(StoreError::BlobSize { blob: Box::new(digest), stated, found })
                    }
                    None => Err(StoreError::BlobUnknown(digest)),
                }
            })
            .buffered(ASIDE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    /// The manifest a tag stands for.
    ///
    /// # Errors
    /// The object store's.
    pub async fn resolve_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<ContentDigest>, StoreError> {
        let key = keys::tag(repository, tag);
        let Some(text) = self.bucket.get(&key, SMALL_MAX).await? else { return Ok(None) };
        let digest = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        if digest.is_none() {
            tracing::error!(key, "a tag is damaged: push it again");
        }
        Ok(digest)
    }

    /// The manifest with this digest. One whose bytes are damaged counts as missing, so that pushing it again
    /// repairs it.
    ///
    /// # Errors
    /// The object store's.
    pub async fn get_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let key = keys::manifest(repository, digest);
        let stored = self.bucket.get(&key, HEADING_MAX + MANIFEST_MAX).await?;
        let Some(stored) = stored else { return Ok(None) };
        let found = StoredManifest::parse(&stored, digest);
        if found.is_none() {
            tracing::error!(%repository, %digest, "a stored manifest is damaged: push it again");
        }
        Ok(found)
    }

    /// Removes a manifest, every tag that stands for it and its referrer link; `false` when there is none.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        self.writable()?;
        let stored = self.get_manifest(repository, digest).await?;
        let mut back = self.bucket.list(&keys::tagged(repository, digest), None)?;
        while let Some(meta) = back.try_next().await? {
            let key = self.bucket.key(&meta);
            let tag = key.rsplit_once('/').and_then(|(_, tag)| tag.parse::<Tag>().ok());
            if let Some(tag) = tag
                && self.resolve_tag(repository, &tag).await? == Some(*digest)
            {
                self.bucket.discard(&keys::tag(repository, &tag)).await?;
            }
            self.bucket.discard(&key).await?;
        }
        let removed = self.bucket.remove(&keys::manifest(repository, digest)).await?;
        let subject = stored
            .and_then(|stored| Manifest::parse_any(&stored.bytes, Some(&stored.media_type)).ok())
            .and_then(|manifest| manifest.subject().map(|subject| subject.digest));
        if let Some(subject) = subject {
            let key = format!("{}/{}", keys::referrers(repository, &subject), digest.hex());
            self.bucket.discard(&key).await?;
        }
        if removed && !self.holds_manifests(repository).await? {
            self.bucket.discard(&keys::catalog(repository)).await?;
            // Somebody may have pushed one before that and so have lost the entry.
            if self.holds_manifests(repository).await? {
                self.bucket.mark(&keys::catalog(repository)).await?;
            }
        }
        Ok(removed)
    }

    pub(super) async fn holds_manifests(
        &self,
        repository: &Repository,
    ) -> Result<bool, StoreError> {
        let mut list = self.bucket.list(&keys::manifests(repository), None)?;
        Ok(list.try_next().await?.is_some())
    }

    /// Removes a tag and nothing else; `false` when there is none.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, StoreError> {
        self.writable()?;
        self.bucket.remove(&keys::tag(repository, tag)).await
    }
}
