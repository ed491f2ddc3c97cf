//! Where the content of a registry is: in files of this machine, or in object storage.
//!
//! In: what the requests want of the storage. Out: the same from either. What must hold: the files' way costs
//! nothing more than calling the store, in place or on a thread of its own; nothing above knows which it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use format_spec::{Repository, Tag};
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::Fault;
use super::appender::Appender;
use super::limits::{LARGE_MANIFESTS_MAX, MANIFEST_ASIDE, MANIFEST_HELD, REFERRERS_MADE};
use super::{Settings, blocking};
use crate::content::{Algorithm, ContentDigest};
use crate::objects::{Blob, Objects, Small};
use crate::parsing;
use crate::size::Size;
use crate::store::check::FindingKind;
use crate::store::{
    Collect, Collected, OpenManifest, Page, Pushed, Referrers, Store, StoreError, StoredManifest,
    Upload, UploadId, Usage,
};

/// Large manifests that are read and hashed at this moment.
static LARGE_MANIFESTS: Semaphore = Semaphore::const_new(LARGE_MANIFESTS_MAX);

/// Lists of referrers that are made from objects at this moment.
static REFERRERS: Semaphore = Semaphore::const_new(REFERRERS_MADE);

/// The storage of a registry.
#[derive(Clone)]
pub(super) enum Storage {
    /// Files in the data directory.
    Files(Arc<Store>),
    /// A bucket.
    Objects(Arc<Objects>),
}

/// The bytes of a blob, ready to be read.
pub(super) enum Content {
    /// A file.
    File(fs_err::File),
    /// Pieces in a bucket.
    Object(Blob),
}

/// A manifest, ready to be sent.
pub(super) struct FoundManifest {
    /// The content type it was pushed with.
    pub(super) media_type: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its bytes.
    pub(super) bytes: ManifestBytes,
}

/// The bytes of a manifest.
pub(super) enum ManifestBytes {
    /// At hand.
    Held(bytes::Bytes),
    /// In a file, from there on.
    File(fs_err::File, u64),
    /// In an object, as they come.
    Object(BoxStream<'static, std::io::Result<bytes::Bytes>>),
}

impl From<StoredManifest> for FoundManifest {
    fn from(stored: StoredManifest) -> Self {
        let size = stored.bytes.len() as u64;
        Self { media_type: stored.media_type, size, bytes: ManifestBytes::Held(stored.bytes) }
    }
}

impl From<OpenManifest> for FoundManifest {
    fn from(opened: OpenManifest) -> Self {
        let bytes = ManifestBytes::File(opened.file, opened.at);
        Self { media_type: opened.media_type, size: opened.size, bytes }
    }
}

impl Storage {
    /// Opens what the settings name.
    pub(super) async fn open(
        data: &Path,
        settings: &Settings,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        if let Some(objects) = &settings.objects {
            return Ok(Self::Objects(Arc::new(Objects::open(objects, data, read_only).await?)));
        }
        let store = match read_only {
            true => Store::open_read_only(data)?,
            false => Store::open(data)?,
        };
        store.set_grace(settings.storage.grace.duration());
        let bytes = |size: Option<Size>| size.map(Size::bytes);
        store.set_room(bytes(settings.storage.quota), bytes(settings.storage.reserve));
        Ok(Self::Files(Arc::new(store)))
    }

    /// Whether another replica has collected garbage within this time.
    pub(super) async fn collected_within(&self, time: Duration) -> bool {
        match self {
            Self::Files(_) => false,
            // When that cannot be told, the collection cannot either, and its failure is in the log.
            Self::Objects(objects) => objects.collected_within(time).await.unwrap_or_default(),
        }
    }

    /// Collects garbage. `step` is called for each file, and ends the collection with `false`; over a bucket, which is
    /// asked a few things at a time, `stop` ends it.
    pub(super) async fn collect(
        &self,
        how: Collect,
        step: impl Fn() -> bool + Send + 'static,
        stop: &CancellationToken,
    ) -> Result<Collected, StoreError> {
        match self {
            Self::Files(store) => {
                let store = Arc::clone(store);
                let collection = tokio::task::spawn_blocking(move || store.collect(&how, &step));
                collection.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
            }
            Self::Objects(objects) => objects.collect(&how, stop).await,
        }
    }

    /// Repairs one finding of a check, or without one drops records that are not whole; whether it did something.
    pub(super) async fn repair(
        &self,
        finding: Option<(FindingKind, String)>,
    ) -> Result<bool, StoreError> {
        match (self, finding) {
            (Self::Files(store), finding) => {
                let store = Arc::clone(store);
                let done = tokio::task::spawn_blocking(move || match finding {
                    Some((kind, what)) => store.repair(kind, &what),
                    None => store.drop_broken_records().map(|dropped| dropped > 0),
                });
                done.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
            }
            (Self::Objects(objects), Some((kind, what))) => objects.repair(kind, &what).await,
            (Self::Objects(objects), None) => Ok(objects.drop_broken_records().await? > 0),
        }
    }

    /// Whether an upload of so many bytes has room now. A bucket's owner sets its limits.
    pub(super) fn fits(&self, bytes: u64) -> Result<(), StoreError> {
        match self {
            Self::Files(store) => store.fits(bytes),
            Self::Objects(_) => Ok(()),
        }
    }

    /// Whether so many bytes more may lie on the disk for a moment.
    pub(super) fn has_space(&self, bytes: u64) -> Result<(), StoreError> {
        match self {
            Self::Files(store) => store.has_space(bytes),
            // That of the data directory, which holds nothing else that grows.
            Self::Objects(_) => Ok(()),
        }
    }

    /// How full it is.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.files().map(Store::usage)
    }

    /// Counts what is stored when that is not known.
    pub(super) async fn count(&self, stop: CancellationToken) {
        let Self::Files(store) = self else { return };
        if store.usage().used.is_some() {
            return;
        }
        let store = Arc::clone(store);
        let counted = tokio::task::spawn_blocking(move || {
            let began = std::time::Instant::now();
            match store.count(&|| !stop.is_cancelled()) {
                Ok(true) => {
                    let bytes = store.usage().used;
                    let took = began.elapsed().as_millis();
                    tracing::info!(bytes, took, "counted what is stored");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot count what is stored: no quota is held");
                }
            }
        });
        // A panic is in the log.
        let _ = counted.await;
    }

    /// Why every write is refused.
    pub(super) fn failed(&self) -> Option<&str> {
        match self {
            Self::Files(store) => store.failed(),
            Self::Objects(_) => None,
        }
    }

    /// Why a bucket does not answer; asked for at most a few seconds, and every few seconds only.
    pub(super) async fn problem(&self) -> Option<String> {
        match self {
            Self::Files(_) => None,
            Self::Objects(objects) => objects.problem().await,
        }
    }

    /// A blob could not be read: it is hashed, and when it is damaged it reads as missing from then on, so that a push
    /// repairs it.
    pub(super) fn suspect(&self, digest: ContentDigest) {
        match self {
            Self::Files(store) => {
                let store = Arc::clone(store);
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = store.quarantine_blob(&digest) {
                        tracing::warn!(%digest, %error, "a blob cannot be read, and not be moved aside");
                    }
                });
            }
            // A piece that is gone makes the blob read as missing by itself.
            Self::Objects(_) => {}
        }
    }

    /// The files, where it is files: what only looks around reads them without waiting for anyone.
    pub(super) fn files(&self) -> Option<&Store> {
        match self {
            Self::Files(store) => Some(store),
            Self::Objects(_) => None,
        }
    }

    /// Uploads that are not finished.
    pub(super) fn pending_uploads(&self) -> usize {
        match self {
            Self::Files(store) => store.pending_uploads(),
            // All replicas have them together, and none counts those of the others.
            Self::Objects(_) => 0,
        }
    }

    /// The size of a blob that this repository holds.
    pub(super) async fn has_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<u64>, Fault> {
        match self {
            Self::Files(store) => Ok(store.has_blob(repository, digest)?),
            Self::Objects(objects) => Ok(objects.has_blob(repository, digest).await?),
        }
    }

    /// Opens a blob that this repository holds; the second value is its size in bytes.
    pub(super) async fn open_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<(Content, u64)>, Fault> {
        match self {
            Self::Files(store) => {
                let opened = store.open_blob(repository, digest)?;
                Ok(opened.map(|(file, size)| (Content::File(file), size)))
            }
            Self::Objects(objects) => {
                let opened = objects.open_blob(repository, digest).await?;
                Ok(opened.map(|blob| {
                    let size = blob.size();
                    (Content::Object(blob), size)
                }))
            }
        }
    }

    /// Takes a blob out of one repository; `false` when it does not hold it.
    pub(super) async fn delete_blob(
        &self,
        repository: Repository,
        digest: ContentDigest,
    ) -> Result<bool, Fault> {
        match self {
            Self::Files(store) => {
                aside(store, move |store| store.delete_blob(&repository, &digest)).await
            }
            Self::Objects(objects) => Ok(objects.delete_blob(&repository, &digest).await?),
        }
    }

    /// Lets `repository` hold a blob that `from` holds; `false` when `from` does not.
    pub(super) async fn mount_blob(
        &self,
        from: Repository,
        repository: Repository,
        digest: ContentDigest,
    ) -> Result<bool, Fault> {
        match self {
            Self::Files(store) => {
                aside(store, move |store| store.mount_blob(&from, &repository, &digest)).await
            }
            Self::Objects(objects) => Ok(objects.mount_blob(&from, &repository, &digest).await?),
        }
    }

    /// Starts an upload into a repository, in the share of `who`.
    pub(super) async fn begin_upload(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
        who: &str,
    ) -> Result<UploadId, Fault> {
        match self {
            Self::Files(store) => {
                Ok(store.begin_upload_by(repository, algorithm, who)?.id().clone())
            }
            Self::Objects(objects) => Ok(objects.begin_upload(repository, algorithm).await?),
        }
    }

    /// Starts an upload of which nobody else will know.
    pub(super) async fn begin_whole(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
        who: &str,
    ) -> Result<Appender, Fault> {
        match self {
            Self::Files(store) => Ok(Appender::File(
                store.begin_upload_by(repository, algorithm, who)?.append().await?,
            )),
            Self::Objects(objects) => {
                let id = objects.begin_upload(repository, algorithm).await?;
                Ok(Appender::Object(Box::new(objects.append(&id).await?)))
            }
        }
    }

    /// Takes an upload over for writing.
    pub(super) async fn append(&self, id: &UploadId) -> Result<Appender, Fault> {
        match self {
            Self::Files(store) => Ok(Appender::File(find(store, id).await?.append().await?)),
            Self::Objects(objects) => Ok(Appender::Object(Box::new(objects.append(id).await?))),
        }
    }

    /// Bytes of an upload so far; `None` when there is none.
    pub(super) async fn upload_offset(&self, id: &UploadId) -> Result<Option<u64>, Fault> {
        match self {
            Self::Files(store) => Ok(store.upload_offset(id)?),
            Self::Objects(objects) => Ok(objects.upload_offset(id).await?),
        }
    }

    /// Makes an upload a blob of the repository; returns its size in bytes.
    pub(super) async fn finish_upload(
        &self,
        repository: Repository,
        appender: Appender,
        digest: ContentDigest,
    ) -> Result<u64, Fault> {
        match (self, appender) {
            (Self::Files(store), Appender::File(appender)) => {
                aside(store, move |store| store.finish_upload(&repository, appender, &digest)).await
            }
            (Self::Objects(objects), Appender::Object(appender)) => {
                Ok(objects.finish_upload(&repository, *appender, &digest).await?)
            }
            _ => Err(Fault::internal("an upload of another storage")),
        }
    }

    /// Gives an upload up; `false` when there is none.
    pub(super) async fn cancel_upload(&self, id: &UploadId) -> Result<bool, Fault> {
        match self {
            Self::Files(store) => Ok(store.cancel_upload(id).await?),
            Self::Objects(objects) => Ok(objects.cancel_upload(id).await?),
        }
    }

    /// Removes uploads that nothing was added to for `lifetime`; returns how many.
    pub(super) async fn expire_uploads(&self, lifetime: Duration) -> Result<usize, Fault> {
        match self {
            Self::Files(store) => aside(store, move |store| store.expire_uploads(lifetime)).await,
            Self::Objects(objects) => Ok(objects.expire_uploads(lifetime).await?),
        }
    }

    /// Stores a manifest under its digest and under `tags`.
    pub(super) async fn put_manifest(
        &self,
        repository: Repository,
        expected: Option<ContentDigest>,
        tags: Vec<Tag>,
        media_type: Option<String>,
        bytes: bytes::Bytes,
    ) -> Result<Pushed, Fault> {
        match self {
            Self::Files(store) => {
                let store = Arc::clone(store);
                let put = parsing::at_turn(bytes.len(), move || {
                    let kind = media_type.as_deref();
                    store.put_manifest(&repository, expected.as_ref(), &tags, kind, &bytes)
                });
                Ok(put.await.map_err(StoreError::from)??)
            }
            Self::Objects(objects) => {
                let kind = media_type.as_deref();
                let stored =
                    objects.put_manifest(&repository, expected.as_ref(), &tags, kind, &bytes);
                Ok(stored.await?)
            }
        }
    }

    /// The manifest a tag stands for.
    pub(super) async fn resolve_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<ContentDigest>, Fault> {
        match self {
            Self::Files(store) => Ok(store.resolve_tag(repository, tag)?),
            Self::Objects(objects) => Ok(objects.resolve_tag(repository, tag).await?),
        }
    }

    /// The manifest with this digest. Of a large one no more is held than a step.
    pub(super) async fn get_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<FoundManifest>, Fault> {
        let store = match self {
            Self::Files(store) => store,
            Self::Objects(objects) => {
                return match objects.small_manifest(repository, digest, MANIFEST_HELD).await? {
                    Small::Found(stored) => Ok(stored.map(Into::into)),
                    Small::Large => {
                        let opened = objects.open_manifest(repository, digest).await?;
                        Ok(opened.map(|(media_type, size, bytes)| {
                            let bytes = ManifestBytes::Object(bytes);
                            FoundManifest { media_type, size, bytes }
                        }))
                    }
                };
            }
        };
        let size = store.manifest_size(repository, digest)?;
        if size <= MANIFEST_HELD {
            return Ok(store.get_manifest(repository, digest)?.map(Into::into));
        }
        if size <= MANIFEST_ASIDE {
            return Ok(store.open_manifest(repository, digest)?.map(Into::into));
        }
        let turn = LARGE_MANIFESTS.acquire().await;
        let (repository, digest) = (repository.clone(), *digest);
        let opened = aside(store, move |store| {
            let opened = store.open_manifest(&repository, &digest);
            // Held until the work is done, also when the client is gone by then.
            drop(turn);
            opened
        });
        Ok(opened.await?.map(Into::into))
    }

    /// Removes a manifest and every tag that stands for it; `false` when there is none.
    pub(super) async fn delete_manifest(
        &self,
        repository: Repository,
        digest: ContentDigest,
    ) -> Result<bool, Fault> {
        match self {
            Self::Files(store) => {
                let store = Arc::clone(store);
                let size = store.manifest_size(&repository, &digest)?;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let removed =
                    parsing::at_turn(size, move || store.delete_manifest(&repository, &digest));
                Ok(removed.await.map_err(StoreError::from)??)
            }
            Self::Objects(objects) => Ok(objects.delete_manifest(&repository, &digest).await?),
        }
    }

    /// Removes a tag and nothing else; `false` when there is none.
    pub(super) async fn delete_tag(&self, repository: Repository, tag: Tag) -> Result<bool, Fault> {
        match self {
            Self::Files(store) => {
                aside(store, move |store| store.delete_tag(&repository, &tag)).await
            }
            Self::Objects(objects) => Ok(objects.delete_tag(&repository, &tag).await?),
        }
    }

    /// At most `limit` tags after `last`; `None` when there is no such repository.
    pub(super) async fn tags(
        &self,
        repository: Repository,
        last: String,
        limit: usize,
    ) -> Result<Option<Page<String>>, Fault> {
        match self {
            Self::Files(store) => {
                aside(store, move |store| store.tags(&repository, &last, limit)).await
            }
            Self::Objects(objects) => Ok(objects.tags(&repository, &last, limit).await?),
        }
    }

    /// At most `limit` repositories after `last` that hold a manifest and that their reader may see.
    pub(super) async fn visible_repositories(
        &self,
        last: String,
        limit: usize,
        visible: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Page<String>, Fault> {
        match self {
            Self::Files(store) => {
                aside(store, move |store| store.visible_repositories(&last, limit, &visible)).await
            }
            Self::Objects(objects) => Ok(objects.repositories(&last, limit).await?),
        }
    }

    /// The manifests that refer to `subject`, after `last`, about `budget` bytes of them.
    pub(super) async fn referrers(
        &self,
        repository: Repository,
        subject: ContentDigest,
        kind: Option<String>,
        last: Option<ContentDigest>,
        budget: usize,
    ) -> Result<Referrers, Fault> {
        match self {
            Self::Files(store) => {
                let turn = parsing::turn(parsing::LARGEST).await;
                // Cancelled when the client is gone: then nobody waits for the rest.
                let gone = CancellationToken::new();
                let waiting = gone.clone().drop_guard();
                let page = aside(store, move |store| {
                    let _turn = turn;
                    let (kind, wanted) = (kind.as_deref(), || !gone.is_cancelled());
                    store.referrers(&repository, &subject, kind, last.as_ref(), budget, &wanted)
                });
                let page = page.await;
                drop(waiting);
                page
            }
            Self::Objects(objects) => {
                let _turn = REFERRERS.acquire().await;
                let kind = kind.as_deref();
                let page = objects.referrers(&repository, &subject, kind, last.as_ref(), budget);
                Ok(page.await?)
            }
        }
    }
}

async fn find(store: &Arc<Store>, id: &UploadId) -> Result<Arc<Upload>, Fault> {
    let id = id.clone();
    aside(store, move |store| store.find_upload(&id)).await?.ok_or_else(Fault::no_upload)
}

/// Lets the files do what waits for the disk on a thread of its own.
async fn aside<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Fault> {
    let store = Arc::clone(store);
    blocking(move || work(&store)).await
}
