//! One upload that a request writes to, in a file or in a bucket.

use tokio_util::sync::CancellationToken;

use crate::objects;
use crate::store::{self, StoreError, UploadId};

/// The right to write to an upload; one at a time.
pub(super) enum Appender {
    /// To a file.
    File(store::Appender),
    /// To a bucket.
    Object(Box<objects::Appender>),
}

impl Appender {
    /// The name of the upload.
    pub(super) fn id(&self) -> &UploadId {
        match self {
            Self::File(appender) => appender.id(),
            Self::Object(appender) => appender.id(),
        }
    }

    /// Bytes received so far, and where the next ones go.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::File(appender) => appender.offset(),
            Self::Object(appender) => appender.offset(),
        }
    }

    /// Cancelled when another request wants to write.
    pub(super) fn interrupted(&self) -> &CancellationToken {
        match self {
            Self::File(appender) => appender.interrupted(),
            Self::Object(appender) => appender.interrupted(),
        }
    }

    /// Adds bytes at the end.
    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(appender) => appender.write(data),
            Self::Object(appender) => appender.write(data).await,
        }
    }

    /// Waits until the bytes at hand should be stored although no more come.
    pub(super) async fn pause(&self) {
        match self {
            Self::File(_) => std::future::pending().await,
            Self::Object(appender) => appender.pause().await,
        }
    }

    /// Stores the bytes at hand.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Object(appender) => appender.flush().await,
        }
    }
}
