//! The mirror registry's storage in a bucket of an S3-compatible object store, for several replicas at once.
//!
//! 1. `settings` is what `registry.toml` says of the bucket; `connect` makes the client, over this crate's own
//!    HTTP and TLS.
//! 2. `bucket` is the one place that speaks to the object store; `keys` names every object.
//! 3. An upload is a state (`state`) and pieces (`append`, `buffer`), which any replica finds again (`uploads`).
//! 4. A blob is a `pointer` to the pieces of the upload it was: nothing is copied, so no limit on copies and no
//!    least size of parts applies. `blobs` reads them.
//! 5. `manifests` and `lists` are those of the files store, object for file.
//!
//! In and out: what the server asks of [`crate::store::Store`], as async calls. What must hold:
//!
//! - No process keeps anything that another one would have to know. The object store reads after write and writes
//!   with conditions (S3 does since 2020 and 2024); that is tried at start.
//! - Order of safety: pieces, hash, state, pointer, link; referrer link, manifest, tag. An object is written as a
//!   whole or not at all.
//! - Memory is bounded over all uploads, not by each.
//! - Nothing is removed that a pointer may name. See docs/decisions/0011.

mod append;
mod blobs;
mod bucket;
mod buffer;
mod check;
mod clock;
mod collect;
mod connect;
mod error;
mod health;
mod hold;
mod keys;
pub mod limits;
mod lists;
mod manifests;
mod pointer;
mod records;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod uploads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use tokio::sync::Semaphore;

pub use append::Appender;
pub use blobs::Blob;
pub use error::ObjectsError;
pub use manifests::Small;
pub use settings::ObjectsSettings;

use crate::store::{self, StoreError, random_hex};
use bucket::Bucket;
use clock::Clock;
use limits::{AHEAD_MAX, BLOCKS_MAX, SMALL_MAX, TOUCH};
use uploads::Uploads;

/// The version of what is in the bucket.
const VERSION: &str = "bundle registry objects 1\n";

/// The storage of one mirror registry in a bucket.
pub struct Objects {
    bucket: Bucket,
    uploads: Uploads,
    blocks: buffer::Blocks,
    ahead: Arc<Semaphore>,
    clock: Clock,
    touch: Duration,
    read_only: bool,
    health: health::Health,
    // Held for as long as this process serves the directory of its settings.
    _lock: Option<fs_err::File>,
}

impl Objects {
    /// Opens the registry in a bucket, which must exist. `dir` is the data directory of this replica: users,
    /// certificates and the control socket, no images.
    ///
    /// # Errors
    /// The settings are wrong, `dir` holds images in files or is in use, or the object store cannot be used.
    pub async fn open(
        settings: &ObjectsSettings,
        dir: &Path,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        let dir = std::path::absolute(dir)?;
        let lock = store::lock_for_objects(&dir)?;
        let bucket = connect::connect(settings, &dir)?;
        let opened = Self::over(bucket, &settings.prefix, read_only).await;
        let mut opened = opened.map_err(|error| settings.explain(error))?;
        // Only now: whoever mends the settings after a first failure may still choose files.
        store::mark_for_objects(&dir)?;
        opened._lock = Some(lock);
        Ok(opened)
    }

    /// The same for a command that works on the bucket beside the replicas that serve it: `dir` is not taken, nor
    /// changed.
    ///
    /// # Errors
    /// As of [`Objects::open`].
    pub async fn open_beside(
        settings: &ObjectsSettings,
        dir: &Path,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        let bucket = connect::connect(settings, &std::path::absolute(dir)?)?;
        let opened = Self::over(bucket, &settings.prefix, read_only).await;
        opened.map_err(|error| settings.explain(error))
    }

    /// Opens the registry in any object store.
    ///
    /// # Errors
    /// It is away, of another version, or does not do what replicas need.
    pub async fn over(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        let bucket = Bucket::new(store, prefix);
        check_version(&bucket, read_only).await?;
        if !read_only {
            check_conditions(&bucket).await?;
        }
        Ok(Self {
            bucket,
            uploads: Uploads::default(),
            blocks: buffer::Blocks::new(BLOCKS_MAX),
            ahead: Arc::new(Semaphore::new(AHEAD_MAX)),
            clock: Clock::default(),
            touch: TOUCH,
            read_only,
            health: health::Health::default(),
            _lock: None,
        })
    }

    /// Writes anew what is older than this when somebody relies on it. For tests, which cannot wait for [`limits::TOUCH`]:
    /// all who work on one bucket must have the same.
    #[must_use]
    pub fn touching(mut self, period: Duration) -> Self {
        self.touch = period;
        self
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.read_only { Err(StoreError::ReadOnly) } else { Ok(()) }
    }
}

async fn check_version(bucket: &Bucket, read_only: bool) -> Result<(), StoreError> {
    if let Some(text) = bucket.get(keys::VERSION, SMALL_MAX).await? {
        if text == VERSION.as_bytes() {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&text).trim().chars().take(100).collect();
        return Err(ObjectsError::Version(found).into());
    }
    if read_only {
        let text = "it has no registry, and a read-only one is not made".to_owned();
        return Err(ObjectsError::Unfit(text).into());
    }
    bucket.put(keys::VERSION, Bytes::from_static(VERSION.as_bytes()).into()).await
}

/// Replicas rely on conditional writes: a store that takes the condition and ignores it would lose uploads.
async fn check_conditions(bucket: &Bucket) -> Result<(), StoreError> {
    let key = format!("probe/{}", random_hex()?);
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let created = bucket.create(&key, text("1").into()).await?;
    let first = bucket.get_with_meta(&key, SMALL_MAX).await?;
    let again = bucket.create(&key, text("22").into()).await?;
    let (replaced, stale) = match &first {
        Some((_, meta)) => (
            bucket.replace(&key, meta, text("333")).await?,
            bucket.replace(&key, meta, text("4444")).await?,
        ),
        None => (false, false),
    };
    bucket.discard(&key).await?;
    if first.is_none() {
        let text = "an object that was just written is not found".to_owned();
        return Err(ObjectsError::Unfit(text).into());
    }
    if !created || again || !replaced || stale {
        let text = "it does not heed `If-None-Match` and `If-Match` when an object is written, and without \
                    that two replicas could overwrite each other";
        return Err(ObjectsError::Unfit(text.to_owned()).into());
    }
    Ok(())
}
