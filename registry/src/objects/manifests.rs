//! Manifests and tags of a repository.
//!
//! In: the bytes of a manifest as they were pushed. Out: the same bytes with the same media type. What must hold:
//! order of safety is referrer link, manifest, tag; a manifest read back has the digest it is named by; the last
//! writer of a tag wins, and nothing of a tag is kept in this process.

use std::collections::HashSet;

use bytes::Bytes;
use format_spec::limits::MANIFEST_MAX;
use format_spec::{Repository, Tag};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, PutPayload};
use tokio::sync::Semaphore;

use super::error::ObjectsError;
use super::hold::{There, is_going, word};
use super::limits::{ASIDE, MANIFESTS_READ, SMALL_MAX};
use super::{Objects, keys};
use crate::content::{Algorithm, ContentDigest};
use crate::outline::Outline;
use crate::parsing;
use crate::store::{HEADING_MAX, Pushed, Referrer, StoreError, StoredManifest};

/// Bytes of a stored manifest: a word of chance, the media type, the manifest.
pub(super) const STORED_MAX: u64 = WORD as u64 + HEADING_MAX + MANIFEST_MAX;

/// Bytes of the word with the space behind it.
const WORD: usize = 33;

/// Manifests that are read whole only to be hashed or written anew.
static READ: Semaphore = Semaphore::const_new(MANIFESTS_READ);

/// The stored form of a manifest; no two are the same. The bytes are not copied.
fn stored(media_type: &str, bytes: &Bytes) -> Result<PutPayload, StoreError> {
    let word = word()?;
    let heading = [&word[..WORD - 1], b" ", media_type.as_bytes(), b"\n"].concat();
    Ok(PutPayload::from_iter([Bytes::from(heading), bytes.clone()]))
}

/// The same without the word, which the first ones did not have.
pub(super) fn without_word(stored: &Bytes) -> Bytes {
    let is_word = |word: &[u8]| word[..WORD - 1].iter().all(u8::is_ascii_hexdigit);
    match stored.get(..WORD) {
        Some(word) if word[WORD - 1] == b' ' && is_word(word) => stored.slice(WORD..),
        _ => stored.clone(),
    }
}

/// A manifest that was to be read when it is small.
pub enum Small {
    /// It is, or there is none.
    Found(Option<StoredManifest>),
    /// It is not.
    Large,
}

/// What a manifest names, each once: less than the manifest, and kept while all of it is looked for.
struct Needs {
    media_type: String,
    subject: Option<ContentDigest>,
    /// Blobs with the size that is stated, and manifests without.
    named: Vec<(ContentDigest, Option<u64>)>,
}

impl Needs {
    fn of(manifest: Outline) -> Self {
        let blobs = manifest.needed().map(|blob| (blob.digest, Some(blob.size)));
        let others = manifest.children.iter().chain(&manifest.subject);
        let named = blobs.chain(others.map(|other| (*other, None)));
        let mut seen = HashSet::new();
        let named = named.filter(|named| seen.insert(*named)).collect();
        Self { named, media_type: manifest.media_type, subject: manifest.subject }
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
        let read = parsing::at_turn(bytes.len(), move || {
            let digest = ContentDigest::of(algorithm, &body);
            (digest, Outline::parse(&body, kind.as_deref()).map(Needs::of))
        });
        let (digest, needs) = read.await?;
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(StoreError::Mismatch {
                expected: Box::new(*expected),
                found: Box::new(digest),
            });
        }
        let needs = needs?;
        let (media_type, subject) = (needs.media_type.as_str(), needs.subject);
        self.require(repository, &needs).await?;
        if let Some(subject) = &subject {
            // Before the manifest: a client that finds the manifest sends it no more.
            let key = format!("{}/{}", keys::referrers(repository, subject), digest.hex());
            self.keep(&key).await?;
        }
        let key = keys::manifest(repository, &digest);
        self.write(&key, STORED_MAX, || stored(media_type, bytes)).await?;
        // Once more behind the manifest: a collection that did not see it has taken nothing that it names, or is told
        // here. The client sends it again.
        self.require(repository, &needs).await?;
        self.bucket.mark(&keys::catalog(repository)).await?;
        for tag in tags {
            // First the way back, by which deleting the manifest finds the tag.
            self.bucket.mark(&format!("{}/{tag}", keys::tagged(repository, &digest))).await?;
            let text = Bytes::from(format!("{digest}\n"));
            self.set(&keys::tag(repository, tag), &text).await?;
        }
        // And behind the tags, for a collection that removes what no tag leads to.
        if !tags.is_empty() && self.manifest_size(repository, &digest).await?.is_none() {
            let detail = "a collection or somebody else has removed it meanwhile".to_owned();
            return Err(
                ObjectsError::Unavailable { what: format!("keeping `{key}`"), detail }.into()
            );
        }
        Ok(Pushed { digest, subject })
    }

    /// Whether everything is there that a manifest needs, and stays; so does what it names besides and is there.
    async fn require(&self, repository: &Repository, needs: &Needs) -> Result<(), StoreError> {
        stream::iter(needs.named.clone())
            .map(|(digest, stated)| async move {
                let Some(stated) = stated else {
                    return self.manifest_size(repository, &digest).await.map(drop);
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
            .try_for_each(|()| std::future::ready(Ok(())))
            .await
    }

    /// About how many bytes the manifest with this digest has, which stays for the grace; `None` when there is none. It
    /// is read only when it has to be written anew for that.
    ///
    /// # Errors
    /// The object store's.
    pub async fn manifest_size(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<u64>, StoreError> {
        let key = keys::manifest(repository, digest);
        let Some(meta) = self.bucket.meta(&key).await? else { return Ok(None) };
        // What is being taken away has the length of few manifests, and those are read.
        let fresh = self.read_only || self.age(&meta).await? < self.touch;
        if fresh && !is_going(&meta) {
            return Ok(Some(meta.size));
        }
        let _turn = READ.acquire().await;
        let found = self.get_manifest(repository, digest).await?;
        Ok(found.map(|found| found.bytes.len() as u64))
    }

    /// As [`Self::get_manifest`], where the bytes come while they are sent: a large one that is read slowly takes no
    /// memory meanwhile. The values are its media type, its size and the bytes.
    ///
    /// # Errors
    /// The object store's.
    #[allow(clippy::type_complexity)] // named once, taken apart at once
    pub async fn open_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<(String, u64, BoxStream<'static, std::io::Result<Bytes>>)>, StoreError> {
        let key = keys::manifest(repository, digest);
        let turn = READ.acquire().await;
        let Some((bytes, found)) = self.read_manifest(repository, digest, STORED_MAX).await? else {
            return Ok(None);
        };
        let (end, size) = (bytes.len() as u64, found.bytes.len() as u64);
        let media_type = found.media_type.clone();
        drop((bytes, found, turn));
        // Whoever writes it anew meanwhile writes as many bytes before the same ones.
        let bytes = self.bucket.read(&key, end - size..end).await?;
        Ok(Some((media_type, size, bytes.map_err(std::io::Error::other).boxed())))
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
        Ok(self.look_at_tag(&keys::tag(repository, tag)).await?.map(|(digest, _)| digest))
    }

    async fn look_at_tag(
        &self,
        key: &str,
    ) -> Result<Option<(ContentDigest, ObjectMeta)>, StoreError> {
        let There::Object(text, meta) = self.look(key, SMALL_MAX).await? else { return Ok(None) };
        let digest = tag_text(&text);
        if digest.is_none() {
            tracing::error!(key, "a tag is damaged: push it again");
        }
        Ok(digest.map(|digest| (digest, meta)))
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
        Ok(self.read_manifest(repository, digest, STORED_MAX).await?.map(|(_, found)| found))
    }

    /// The same, when its stored form is no longer than `held`; it is one request for usual manifests.
    ///
    /// # Errors
    /// The object store's.
    pub async fn small_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        held: u64,
    ) -> Result<Small, StoreError> {
        let Some(bytes) = self.hold_manifest(repository, digest, held).await? else {
            return Ok(Small::Found(None));
        };
        // Longer than that; whether it is really damaged, reading the whole tells.
        if bytes.is_empty() {
            return Ok(Small::Large);
        }
        Ok(Small::Found(whole(repository, digest, &bytes)))
    }

    /// What a list of referrers says of the manifest with this digest, which stays for the grace.
    pub(super) async fn referrer(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<Referrer>, StoreError> {
        let small = self.small_manifest(repository, digest, parsing::USUAL as u64).await?;
        let (stored, turn) = match small {
            Small::Found(stored) => (stored, None),
            Small::Large => {
                let turn = READ.acquire().await.ok();
                (self.get_manifest(repository, digest).await?, turn)
            }
        };
        let length = stored.as_ref().map_or(0, |stored| stored.bytes.len());
        let referrer = parsing::at_turn(length, move || {
            let _turn = turn;
            stored.and_then(Referrer::of)
        });
        Ok(referrer.await?)
    }

    /// The same with its stored form.
    async fn read_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        max: u64,
    ) -> Result<Option<(Bytes, StoredManifest)>, StoreError> {
        let held = self.hold_manifest(repository, digest, max).await?;
        Ok(held.and_then(|bytes| Some((bytes.clone(), whole(repository, digest, &bytes)?))))
    }

    /// The stored form, which stays; empty when it is longer than `max`.
    async fn hold_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        max: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let anew = |bytes: &Bytes| {
            let found = StoredManifest::parse(&without_word(bytes), digest);
            found.map(|found| stored(&found.media_type, &found.bytes)).transpose()
        };
        self.hold(&keys::manifest(repository, digest), max, anew).await
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
        let length = stored.as_ref().map_or(0, |stored| stored.bytes.len());
        let subject = parsing::at_turn(length, move || {
            let stored = stored?;
            Outline::parse(&stored.bytes, Some(&stored.media_type)).ok()?.subject
        });
        let subject = subject.await?;
        let mut back = self.bucket.list(&keys::tagged(repository, digest), None)?;
        while let Some(meta) = back.try_next().await? {
            let key = self.bucket.key(&meta);
            let tag = key.rsplit_once('/').and_then(|(_, tag)| tag.parse::<Tag>().ok());
            if let Some(tag) = tag {
                let tag = keys::tag(repository, &tag);
                // One that moves meanwhile is another one's.
                if let Some((of, meta)) = self.look_at_tag(&tag).await?
                    && of == *digest
                {
                    self.take_away(&tag, &meta).await?;
                }
            }
            self.bucket.discard(&key).await?;
        }
        let removed = self.remove(&keys::manifest(repository, digest), STORED_MAX).await?;
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
        self.remove(&keys::tag(repository, tag), SMALL_MAX).await
    }
}

/// The digest in a tag; none in a damaged one.
pub(super) fn tag_text(text: &[u8]) -> Option<ContentDigest> {
    std::str::from_utf8(text).ok().and_then(|text| text.trim_end().parse().ok())
}

/// What a stored form holds, or nothing when it is damaged.
fn whole(repository: &Repository, digest: &ContentDigest, bytes: &Bytes) -> Option<StoredManifest> {
    let found = StoredManifest::parse(&without_word(bytes), digest);
    if found.is_none() {
        tracing::error!(%repository, %digest, "a stored manifest is damaged: push it again");
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

    #[tokio::test]
    async fn what_is_named_often_is_looked_for_once() {
        let child = r#"{"schemaVersion":2,"manifests":[]}"#;
        let digest = ContentDigest::of(Algorithm::Sha256, child.as_bytes());
        let one = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":34}}"#);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}{one}]}}"#,
            format!("{one},").repeat(15_000)
        );
        let manifest = Outline::parse(index.as_bytes(), None).unwrap();
        assert_eq!(Needs::of(manifest).named, [(digest, None)]);

        let objects = Objects::over(Arc::new(InMemory::new()), "p", false).await.unwrap();
        let name: Repository = "a".parse().unwrap();
        assert_eq!(objects.manifest_size(&name, &digest).await.unwrap(), None);
        for text in [child, &index] {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let pushed =
                objects.put_manifest(&name, None, &[], Some(OCI_INDEX), &bytes).await.unwrap();
            let size = objects.manifest_size(&name, &pushed.digest).await.unwrap().unwrap();
            assert!(size > text.len() as u64);
            let held = 64 * 1024;
            let small = objects.small_manifest(&name, &pushed.digest, held).await.unwrap();
            assert_eq!(matches!(small, Small::Large), text.len() as u64 > held);
            let (kind, size, sent) =
                objects.open_manifest(&name, &pushed.digest).await.unwrap().unwrap();
            let sent: Vec<Bytes> = sent.try_collect().await.unwrap();
            assert_eq!(
                (kind.as_str(), size, sent.concat()),
                (OCI_INDEX, text.len() as u64, bytes.to_vec())
            );
        }
    }
}
