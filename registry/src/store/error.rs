//! What can go wrong in the store, one variant per fault that a caller treats differently.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::NoRoom;
use crate::content::ContentDigest;
use crate::manifest::ManifestError;
use crate::objects::ObjectsError;

/// A fault of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Reading or writing failed; the text names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An earlier sync failed, so what the disk holds is unknown.
    #[error("the store refuses writes since the disk failed to sync: {reason}")]
    Failed {
        /// What failed, with its path.
        reason: String,
    },
    /// The store was opened for reading only.
    #[error("the registry is read-only")]
    ReadOnly,
    /// Another process holds the lock.
    #[error("the registry data is in use by another process: `{path}`")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory is not there, or has no content or other content.
    #[error("`{path}` is not the data directory of a registry")]
    NotAStore {
        /// The data directory.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("the registry data has another version, `{found}`: `{path}`")]
    Version {
        /// The data directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// The bytes received are not those of the digest.
    #[error("content does not match: expected {expected}, received {found}")]
    Mismatch {
        /// What the client announced.
        expected: Box<ContentDigest>,
        /// What it sent.
        found: Box<ContentDigest>,
    },
    /// No such upload, or it was finished, cancelled or expired.
    #[error("the upload is unknown, finished or expired")]
    UploadUnknown,
    /// Another request took the upload over.
    #[error("the upload was continued by another request")]
    UploadTaken,
    /// Too many unfinished uploads.
    #[error(
        "too many unfinished uploads: the registry takes {limit}; those that nothing is added to end after a day"
    )]
    UploadsFull {
        /// The limit.
        limit: usize,
    },
    /// Too many of one user or address.
    #[error(
        "too many unfinished uploads of one user or address: {limit} at most, as things are; finish or cancel some"
    )]
    UploadsShare {
        /// The limit.
        limit: usize,
    },
    /// A blob above the limit.
    #[error("the blob is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// An image manifest names a blob that its repository does not hold.
    #[error("the repository does not hold a blob of the manifest: {0}")]
    BlobUnknown(ContentDigest),
    /// A manifest says something else of a blob than that is.
    #[error("the manifest says that {blob} has {stated} bytes, and it has {found}")]
    BlobSize {
        /// The blob.
        blob: Box<ContentDigest>,
        /// The size in the manifest.
        stated: u64,
        /// The size that it has.
        found: u64,
    },
    /// A collection runs already.
    #[error("the registry is collecting garbage already")]
    Collecting,
    /// A registry that has just started knows nothing yet of those who are at work with it.
    #[error("the registry runs for {} s; it lets go of nothing before {} s", .running.as_secs(), .wait.as_secs())]
    TooEarly {
        /// For how long it runs.
        running: Duration,
        /// When it may.
        wait: Duration,
    },
    /// The ages of files say nothing.
    #[error(
        "nothing is collected since the time of a file could not be moved on; the log names it"
    )]
    Untouchable,
    /// The blob came in too many small pieces.
    #[error("the upload has more than {limit} pieces: send larger chunks")]
    TooManyPieces {
        /// The limit.
        limit: usize,
    },
    /// The directory is that of a registry whose content is elsewhere.
    #[error(
        "the registry of `{path}` keeps its content in object storage, which this cannot work on"
    )]
    OverObjects {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory has content, and the settings say it is elsewhere.
    #[error(
        "`{path}` holds images in files, and its registry.toml says that they are in object storage"
    )]
    FilesToo {
        /// The data directory.
        path: PathBuf,
    },
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The quota or the reserve leaves no room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The manifest is not acceptable.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl StoreError {
    /// The disk or the user's share of it is full.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}
