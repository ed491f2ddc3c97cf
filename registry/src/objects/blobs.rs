//! Blobs by repository: look, open, link, mount, remove.
//!
//! In: a repository and a digest. Out: the size, or the bytes as they come. What must hold: a repository shows
//! only the blobs it links; two requests at once at most, whatever the size.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use format_spec::Repository;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::bucket::Bucket;
use super::error::ObjectsError;
use super::hold::There;
use super::limits::{POINTER_MAX, SMALL_MAX};
use super::pointer::Pointer;
use super::{Objects, keys};
use crate::content::ContentDigest;
use crate::store::StoreError;

/// A blob that can be read.
pub struct Blob {
    bucket: Bucket,
    pointer: Pointer,
    ahead: Arc<Semaphore>,
}

impl Blob {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.pointer.size
    }

    /// The bytes of a range of it; `None` when the first piece is gone. The request for the next piece is under
    /// way while one is read, unless many others are read.
    ///
    /// # Errors
    /// The object store's.
    pub async fn read(
        &self,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, std::io::Result<Bytes>>>, StoreError> {
        let ahead = Arc::clone(&self.ahead).try_acquire_owned().ok();
        let beside = if ahead.is_some() { 2 } else { 1 };
        let mut pieces = pieces(&self.bucket, &self.pointer, range, beside);
        // Before the answer begins, so that it can be another one.
        let first = match pieces.next().await {
            None => return Ok(Some(stream::empty().boxed())),
            Some(Ok(first)) => first,
            Some(Err(StoreError::Objects(error @ ObjectsError::Damaged { .. }))) => {
                tracing::error!(%error, "a blob is damaged: push it again");
                return Ok(None);
            }
            Some(Err(error)) => return Err(error),
        };
        let all = first.chain(pieces.try_flatten()).inspect(move |_| {
            // Kept for as long as it is read.
            let _ = &ahead;
        });
        Ok(Some(all.map_err(std::io::Error::other).boxed()))
    }
}

type Piece = BoxStream<'static, Result<Bytes, StoreError>>;

/// The pieces of a range of a blob, so many asked for at one time.
fn pieces(
    bucket: &Bucket,
    pointer: &Pointer,
    range: Range<u64>,
    beside: usize,
) -> BoxStream<'static, Result<Piece, StoreError>> {
    let bucket = bucket.clone();
    stream::iter(pointer.parts(&range))
        .map(move |(key, part)| {
            let bucket = bucket.clone();
            async move {
                let bytes = bucket.read(&key, part).await?;
                let fault = move |error| -> StoreError {
                    ObjectsError::of(format!("reading `{key}`"), &error).into()
                };
                Ok(bytes.map_err(fault).boxed())
            }
        })
        .buffered(beside)
        .boxed()
}

/// The bytes of a range of a blob.
pub(super) fn read(bucket: &Bucket, pointer: &Pointer, range: Range<u64>) -> Piece {
    pieces(bucket, pointer, range, 2).try_flatten().boxed()
}

impl Objects {
    /// The size in bytes of a blob that this repository holds.
    ///
    /// # Errors
    /// The object store's.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self.open_blob(repository, digest).await?.map(|blob| blob.size()))
    }

    /// Opens a blob that this repository holds.
    ///
    /// # Errors
    /// The object store's.
    pub async fn open_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<Blob>, StoreError> {
        let link = keys::link(repository, digest);
        let (link, pointer) =
            futures_util::try_join!(self.hold_link(&link), self.hold_pointer(digest))?;
        let opened = pointer.filter(|_| link);
        let (bucket, ahead) = (self.bucket.clone(), Arc::clone(&self.ahead));
        Ok(opened.map(|pointer| Blob { bucket, pointer, ahead }))
    }

    /// Where the bytes of a blob are, as it stands there: nothing is held by it.
    pub(super) async fn pointer(
        &self,
        digest: &ContentDigest,
    ) -> Result<Option<Pointer>, StoreError> {
        let key = keys::blob(digest);
        Ok(match self.look(&key, POINTER_MAX).await? {
            There::Object(bytes, _) => Pointer::parse_or_tell(&key, &bytes),
            There::Nothing | There::Going(_) => None,
        })
    }

    /// Lets `repository` hold a blob that `from` holds; `false` when `from` does not hold it.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn mount_blob(
        &self,
        from: &Repository,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        self.writable()?;
        if self.has_blob(from, digest).await?.is_none() {
            return Ok(false);
        }
        self.keep(&keys::link(repository, digest)).await?;
        // Once more behind the link: only what has both is kept by it.
        Ok(self.hold_pointer(digest).await?.is_some())
    }

    /// Takes a blob out of one repository; `false` when it does not hold it.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        self.writable()?;
        self.remove(&keys::link(repository, digest), SMALL_MAX).await
    }
}
