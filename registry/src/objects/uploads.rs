//! Unfinished uploads: their state is in the object store, so any replica goes on with any of them.
//!
//! In: the name of an upload. Out: the right to write to it, how far it is, or that it is gone. What must hold:
//! an upload is as long as its pieces that follow each other without a gap; the running hash is only kept to
//! save work, and made up for by reading the pieces again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use format_spec::Repository;
use futures_util::TryStreamExt;
use object_store::ObjectMeta;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::append::Appender;
use super::limits::{ASIDE, ASKED, LIVE_MAX, PIECES_MAX, SMALL_MAX};
use super::state::State;
use super::{Objects, keys};
use crate::content::{Algorithm, ContentHasher};
use crate::store::{StoreError, UploadId};

/// An upload as this process knows it.
#[derive(Default)]
pub(super) struct Live {
    turn: Mutex<CancellationToken>,
    /// Somebody asks how far it is.
    pub(super) asked: Notify,
    /// What was at hand has been sent.
    pub(super) sent: Notify,
    pub(super) progress: Arc<tokio::sync::Mutex<Progress>>,
}

/// The running hash over the first `hashed` bytes.
pub(super) struct Progress {
    pub(super) hasher: Option<ContentHasher>,
    pub(super) hashed: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { hasher: Some(ContentHasher::new(Algorithm::Sha256)), hashed: 0 }
    }
}

/// What the object store says of an upload.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) meta: ObjectMeta,
    pub(super) lengths: Vec<u64>,
    /// The newest change to it.
    changed: SystemTime,
}

impl Found {
    pub(super) fn end(&self) -> u64 {
        self.lengths.iter().sum()
    }
}

/// The uploads that this process has to do with.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<UploadId, Arc<Live>>>);

impl Uploads {
    fn live(&self, id: &UploadId) -> Arc<Live> {
        let mut live = lock(&self.0);
        if let Some(there) = live.get(id) {
            return Arc::clone(there);
        }
        if live.len() >= LIVE_MAX {
            let idle = live.iter().find(|(_, live)| Arc::strong_count(live) == 1);
            if let Some(idle) = idle.map(|(id, _)| id.clone()) {
                live.remove(&idle);
            }
        }
        Arc::clone(live.entry(id.clone()).or_default())
    }

    fn known(&self, id: &UploadId) -> Option<Arc<Live>> {
        lock(&self.0).get(id).map(Arc::clone)
    }

    pub(super) fn forget(&self, id: &UploadId) {
        lock(&self.0).remove(id);
    }
}

impl Live {
    /// Interrupts whoever writes, and writes next.
    async fn take(&self) -> Result<(CancellationToken, OwnedMutexGuard<Progress>), StoreError> {
        let turn = CancellationToken::new();
        std::mem::replace(&mut *lock(&self.turn), turn.clone()).cancel();
        let progress = Arc::clone(&self.progress).lock_owned().await;
        if turn.is_cancelled() {
            return Err(StoreError::UploadTaken);
        }
        Ok((turn, progress))
    }
}

impl Objects {
    /// Starts an upload into a repository. When its blob is named by another algorithm than said here, its pieces
    /// are read once more.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn begin_upload(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<UploadId, StoreError> {
        self.writable()?;
        let id = UploadId::new(repository)?;
        let key = keys::upload(id.as_str());
        self.bucket.put(&key, State::Open.to_bytes()?.into()).await?;
        if algorithm != Algorithm::Sha256 {
            let live = self.uploads.live(&id);
            live.progress.lock().await.hasher = Some(ContentHasher::new(algorithm));
        }
        Ok(id)
    }

    /// Takes an upload over for writing. A request of this process that still writes to it is interrupted; one
    /// of another process finds the place of its next piece taken.
    ///
    /// # Errors
    /// It is unknown, read-only, or the object store's.
    pub async fn append(self: &Arc<Self>, id: &UploadId) -> Result<Appender, StoreError> {
        self.writable()?;
        let began = (Instant::now(), SystemTime::now());
        let live = self.uploads.live(id);
        let (turn, mut progress) = live.take().await?;
        let found = match self.found(id).await? {
            Some(found) if found.state.goes_on() => found,
            _ => {
                self.uploads.forget(id);
                return Err(StoreError::UploadUnknown);
            }
        };
        if progress.hasher.is_none() || progress.hashed > found.end() {
            *progress = Progress::default();
        }
        Ok(Appender::new(self, id, live, turn, progress, found, began))
    }

    /// Bytes of an upload so far, also those at hand here; `None` when there is none.
    ///
    /// # Errors
    /// The object store's.
    pub async fn upload_offset(&self, id: &UploadId) -> Result<Option<u64>, StoreError> {
        if let Some(live) = self.uploads.known(id)
            && live.progress.try_lock().is_err()
        {
            let sent = live.sent.notified();
            live.asked.notify_one();
            // Whoever writes may wait for its client, or be through: what is stored then counts.
            let _ = tokio::time::timeout(ASKED, sent).await;
        }
        let found = self.found(id).await?;
        Ok(found.filter(|found| found.state.goes_on()).map(|found| found.end()))
    }

    /// Gives an upload up and removes its bytes; `false` when there is none.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<bool, StoreError> {
        self.writable()?;
        if let Some(live) = self.uploads.known(id) {
            match live.take().await {
                Ok(_) => {}
                Err(StoreError::UploadTaken) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.uploads.forget(id);
        let Some(found) = self.found(id).await? else { return Ok(false) };
        Ok(found.state.goes_on() && self.remove_upload(id.as_str(), &found).await?)
    }

    /// Removes uploads that nothing was added to for `lifetime`; returns how many.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn expire_uploads(&self, lifetime: Duration) -> Result<usize, StoreError> {
        self.writable()?;
        let now = self.clock.now(&self.bucket).await?;
        let mut removed = 0;
        let mut uploads = self.bucket.list(keys::UPLOADS, None)?;
        while let Some(meta) = uploads.try_next().await? {
            let old = |changed| now.duration_since(changed).unwrap_or_default() >= lifetime;
            if !old(meta.last_modified.into()) {
                continue;
            }
            let key = self.bucket.key(&meta);
            let Some((_, id)) = key.rsplit_once('/') else { continue };
            if let Some(found) = self.found_by(id).await?
                && old(found.changed)
                && self.remove_upload(id, &found).await?
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// What the object store says of an upload; `None` when it has none.
    pub(super) async fn found(&self, id: &UploadId) -> Result<Option<Found>, StoreError> {
        self.found_by(id.as_str()).await
    }

    async fn found_by(&self, id: &str) -> Result<Option<Found>, StoreError> {
        let key = keys::upload(id);
        let state = self.bucket.get_with_meta(&key, SMALL_MAX);
        let (state, (lengths, newest)) = futures_util::try_join!(state, self.pieces(id))?;
        Ok(state.map(|(bytes, meta)| {
            let touched = SystemTime::from(meta.last_modified);
            let changed = newest.map_or(touched, |newest| newest.max(touched));
            Found { state: State::parse(&bytes), meta, lengths, changed }
        }))
    }

    /// The lengths of the pieces of an upload that follow each other without a gap, and when the last of all came.
    pub(super) async fn pieces(
        &self,
        id: &str,
    ) -> Result<(Vec<u64>, Option<SystemTime>), StoreError> {
        let (mut lengths, mut end, mut newest) = (Vec::new(), 0, None);
        let mut pieces = self.bucket.list(&keys::data(id), None)?;
        while let Some(meta) = pieces.try_next().await? {
            newest = newest.max(Some(SystemTime::from(meta.last_modified)));
            if self.bucket.key(&meta) == keys::piece(id, end) && lengths.len() < PIECES_MAX {
                lengths.push(meta.size);
                end += meta.size;
            }
        }
        Ok((lengths, newest))
    }

    /// Removes an upload that nobody changed since it was read; `false` when somebody did, or it became a blob.
    pub(super) async fn remove_upload(&self, id: &str, found: &Found) -> Result<bool, StoreError> {
        let key = keys::upload(id);
        let expired = State::Expired(found.state.blob()).to_bytes()?;
        if !self.bucket.replace(&key, &found.meta, expired).await? {
            return Ok(false);
        }
        // Nobody can make it a blob any more. It may be one: then only its state was left behind.
        let blob = match found.state.blob() {
            Some(digest) => self.pointer(&digest).await?,
            None => None,
        };
        let is_blob = blob.is_some_and(|pointer| pointer.data == id);
        if !is_blob {
            self.discard_data(id).await?;
        }
        self.bucket.discard(&key).await?;
        Ok(!is_blob)
    }

    /// Removes the pieces of what is no blob.
    pub(super) async fn discard_data(&self, id: &str) -> Result<(), StoreError> {
        let pieces = self.bucket.list(&keys::data(id), None)?;
        let removed = pieces.map_ok(|meta| {
            let key = self.bucket.key(&meta);
            async move { self.bucket.discard(&key).await }
        });
        removed.try_buffer_unordered(ASIDE).try_collect::<Vec<()>>().await.map(drop)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
