//! Manifests and tags of a repository.
//!
//! In: the bytes of a manifest as they were pushed. Out: the same bytes with the same media type. What must hold:
//! order of safety is referrer link, manifest, tag; a manifest read back has the digest it is named by; the last
//! writer of a tag wins, and nothing of a tag is kept in this process.

use bytes::Bytes;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::ObjectsError;
use super::hold::word;
use super::limits::{ASIDE, SMALL_MAX};
use super::{Objects, keys};
use crate::content::{Algorithm, ContentDigest};
use crate::manifest::Manifest;
use crate::media_type::is_foreign_layer;
use crate::store::{HEADING_MAX, Pushed, StoreError, StoredManifest};

/// Bytes of a stored manifest: a word of chance, the media type, the manifest.
pub(super) const STORED_MAX: u64 = WORD as u64 + HEADING_MAX + MANIFEST_MAX;

/// Bytes of the word with the space behind it.
const WORD: usize = 33;

/// The stored form of a manifest; no two are the same.
fn stored(media_type: &str, bytes: &Bytes) -> Result<Bytes, StoreError> {
    let word = word()?;
    Ok(Bytes::from([&word[..WORD - 1], b" ", media_type.as_bytes(), b"\n", bytes].concat()))
}

/// The same without the word, which the first ones did not have.
pub(super) fn without_word(stored: &Bytes) -> Bytes {
    let is_word = |word: &[u8]| word[..WORD - 1].iter().all(u8::is_ascii_hexdigit);
    match stored.get(..WORD) {
        Some(word) if word[WORD - 1] == b' ' && is_word(word) => stored.slice(WORD..),
        _ => stored.clone(),
    }
}

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
        self.require(repository, &manifest).await?;
        if let Some(subject) = &subject {
            // Before the manifest: a client that finds the manifest sends it no more.
            let key = format!("{}/{}", keys::referrers(repository, subject), digest.hex());
            self.keep(&key).await?;
        }
        let key = keys::manifest(repository, &digest);
        self.write(&key, STORED_MAX, || stored(media_type, bytes)).await?;
        // Once more behind the manifest: a collection that did not see it has taken nothing that it names, or is told
        // here. The client sends it again.
        self.require(repository, &manifest).await?;
        self.bucket.mark(&keys::catalog(repository)).await?;
        for tag in tags {
            // First the way back, by which deleting the manifest finds the tag.
            self.bucket.mark(&format!("{}/{tag}", keys::tagged(repository, &digest))).await?;
            let text = Bytes::from(format!("{digest}\n"));
            self.bucket.put(&keys::tag(repository, tag), text.into()).await?;
        }
        // And behind the tags, for a collection that removes what no tag leads to.
        if !tags.is_empty() && self.get_manifest(repository, &digest).await?.is_none() {
            let detail = "a collection or somebody else has removed it meanwhile".to_owned();
            return Err(
                ObjectsError::Unavailable { what: format!("keeping `{key}`"), detail }.into()
            );
        }
        Ok(Pushed { digest, subject })
    }

    /// Whether everything is there that a manifest needs, and stays; so does what it names besides and is there.
    async fn require(
        &self,
        repository: &Repository,
        manifest: &Manifest<ContentDigest>,
    ) -> Result<(), StoreError> {
        // Foreign layers stay where they are (OCI image specification, non-distributable).
        let blobs = manifest.blobs().into_iter().filter(|blob| !is_foreign_layer(&blob.media_type));
        let blobs = blobs.map(|blob| (blob.digest, Some(blob.size)));
        let others = manifest.children().iter().chain(manifest.subject());
        let named = blobs.chain(others.map(|other| (other.digest, None)));
        stream::iter(named.collect::<Vec<_>>())
            .map(|(digest, stated)| async move {
                let Some(stated) = stated else {
                    return self.get_manifest(repository, &digest).await.map(drop);
                };
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

    /// The manifest with this digest, which stays for the grace. One whose bytes are damaged counts as missing, so that
    /// pushing it again repairs it.
    ///
    /// # Errors
    /// The object store's.
    pub async fn get_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let key = keys::manifest(repository, digest);
        let anew = |bytes: &Bytes| {
            let found = StoredManifest::parse(&without_word(bytes), digest);
            found.map(|found| stored(&found.media_type, &found.bytes)).transpose()
        };
        let Some(bytes) = self.hold(&key, STORED_MAX, anew).await? else { return Ok(None) };
        let found = StoredManifest::parse(&without_word(&bytes), digest);
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
        let removed = self.remove(&keys::manifest(repository, digest), STORED_MAX).await?;
        let subject = stored
            .and_then(|stored| Manifest::parse_any(&stored.bytes, Some(&stored.media_type)).ok())
            .and_then(|manifest| manifest.subject().map(|subject| subject.digest));
        if let Some(subject) = subject {
            let key = format!("{}/{}", keys::referrers(repository, &subject), digest.hex());
            self.bucket.discard(&key).await?;
        }
        if removed {
            self.leave_catalog(repository).await?;
        }
        Ok(removed)
    }

    /// Takes a repository out of the catalog that holds no manifest any more.
    pub(super) async fn leave_catalog(&self, repository: &Repository) -> Result<(), StoreError> {
        if self.holds_manifests(repository).await? {
            return Ok(());
        }
        self.bucket.discard(&keys::catalog(repository)).await?;
        // Somebody may have pushed one before that and so have lost the entry.
        if self.holds_manifests(repository).await? {
            self.bucket.mark(&keys::catalog(repository)).await?;
        }
        Ok(())
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
