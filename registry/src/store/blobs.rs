//! Blobs by repository: look, open, link, mount, remove.
//!
//! In: a repository and a digest. Out: the size or the open file. What must hold: a repository shows
//! only the blobs it links; whoever is told that a blob is there finds it for the grace of collection.

use std::io;

use format_spec::Repository;

use super::durable::is_absent;
use super::{Store, StoreError};
use crate::content::ContentDigest;
use crate::regular;

impl Store {
    /// The size in bytes of a blob that this repository holds. Whoever is told so need not push it: it stays
    /// for the grace of collection.
    ///
    /// # Errors
    /// I/O.
    pub fn has_blob(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<Option<u64>, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        let _hold = self.holds.hold(digest);
        let link = self.links(repository).join(digest.hex());
        if !exists(fs_err::metadata(&link))? {
            return Ok(None);
        }
        let size = self.blob_size(digest)?;
        if size.is_some() {
            self.touch(&link);
        }
        Ok(size)
    }

    /// The size in bytes of a blob that any repository holds or held.
    ///
    /// # Errors
    /// I/O.
    pub fn blob_size(
        &self,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<Option<u64>, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        match fs_err::metadata(self.blob_dir(digest).join(digest.hex())) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            // Pushing it again puts a file in its place.
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a blob that this repository holds; the second value is its size in bytes.
    ///
    /// # Errors
    /// I/O.
    pub fn open_blob(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<Option<(fs_err::File, u64)>, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        if !exists(fs_err::metadata(self.links(repository).join(digest.hex())))? {
            return Ok(None);
        }
        match regular::open(&self.blob_dir(digest).join(digest.hex())) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(%error, "a blob reads as missing: push it again");
                Ok(None)
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a repository hold a blob whose bytes the store has; `false` when it has them not. Durable
    /// on return. The caller answers for the right to do so: see [`Store::mount_blob`].
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn link_blob(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<bool, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        self.writable()?;
        let _hold = self.holds.hold(digest);
        if self.blob_size(digest)?.is_none() {
            return Ok(false);
        }
        // Another request may have moved it there a moment ago and not have come to sync its name.
        self.durable.sync_dir(&self.blob_dir(digest))?;
        self.link(repository, digest)
    }

    /// The same for a blob whose name is durable; the caller holds it.
    pub(super) fn link(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<bool, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        let _adding = self.adding(repository);
        if self.blob_size(digest)?.is_none() {
            return Ok(false);
        }
        let links = self.links(repository);
        self.durable.make_dirs(&self.root, &links)?;
        self.durable.mark(&links, &digest.hex())?;
        // The bytes as well: should the link be taken away, they stay for the grace.
        self.touch(&self.blob_dir(digest).join(digest.hex()));
        self.touch(&links.join(digest.hex()));
        Ok(true)
    }

    /// Lets `repository` hold a blob that `from` holds; `false` when `from` does not hold it.
    ///
    /// # Errors
    /// Read-only, the disk has no place for another link, or I/O.
    pub fn mount_blob(
        &self,
        from: &Repository,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<bool, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        let _hold = self.holds.hold(digest);
        if self.has_blob(from, digest)?.is_none() {
            return Ok(false);
        }
        self.place(&self.links(repository).join(digest.hex()))?;
        self.link_blob(repository, digest)
    }

    /// Takes a blob out of one repository; `false` when it does not hold it.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn delete_blob(
        &self,
        repository: &Repository,
        digest: &(impl Copy + Into<ContentDigest>),
    ) -> Result<bool, StoreError> {
        let digest: &ContentDigest = &(*digest).into();
        self.writable()?;
        let _removing = self.removing(repository);
        self.durable.remove(&self.links(repository), &digest.hex())
    }
}

/// Whether a path exists, an error only when that cannot be told.
pub(super) fn exists(outcome: io::Result<std::fs::Metadata>) -> Result<bool, StoreError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
