//! Writing what [`filed`](mod@crate::filed) reads: blobs and manifests of a directory.
//!
//! In: a directory for what is not finished, on the same file system; bytes. Out: files under their digests, tags as links. What
//! must hold: a file gets its name when it has been compared with its digest and lies on the disk.

use std::io::{self, Write as _};
use std::path::Path;

use format_spec::Digest;
use format_spec::hash::Hasher;
use fs_err as fs;
use futures_util::StreamExt;

use crate::client::BlobSource;
use crate::filed::Filed;
use crate::reference::ManifestRef;

/// Why something is not written.
#[derive(Debug, thiserror::Error)]
pub enum FilingError {
    /// The directory.
    #[error("cannot write: {0}")]
    File(#[source] io::Error),
    /// What was to be written could not be had.
    #[error("{0}")]
    Source(#[source] io::Error),
    /// What arrived is something else.
    #[error("{0}")]
    Damaged(Damaged),
}

/// What arrived from a source is something else than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it arrived from its source with the digest {found}")]
pub struct Damaged {
    /// The digest that was asked for.
    pub wanted: Digest,
    /// That of what arrived.
    pub found: Digest,
}

/// Writes a blob into a file, and compares it with its digest.
///
/// # Errors
/// It cannot be written, or not be had, or is something else.
pub async fn blob(
    path: &Path,
    digest: &Digest,
    size: u64,
    source: &dyn BlobSource,
) -> Result<(), FilingError> {
    let mut file = fs::File::create(path).map_err(FilingError::File)?;
    let mut pieces = source.open(0);
    let (mut hasher, mut at) = (Hasher::new(), 0_u64);
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|error| match error.get_ref().and_then(|e| e.downcast_ref()) {
                Some(damaged) => FilingError::Damaged(*damaged),
                None => FilingError::Source(error),
            })?;
        at += piece.len() as u64;
        // What is too long is not what it should be, whatever comes.
        if at > size {
            break;
        }
        let writing = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            file.write_all(&piece).map(|()| (hasher, file))
        });
        (hasher, file) =
            writing.await.map_err(io::Error::other).flatten().map_err(FilingError::File)?;
    }
    let found = hasher.finish();
    if found != *digest || at != size {
        return Err(FilingError::Damaged(Damaged { wanted: *digest, found }));
    }
    let syncing = tokio::task::spawn_blocking(move || file.sync_data());
    syncing.await.map_err(io::Error::other).flatten().map_err(FilingError::File)
}

/// A manifest under its digest, as a blob too; or a tag that names it.
///
/// # Errors
/// I/O.
pub fn manifest(filed: &Filed, scratch: &Path, name: &ManifestRef, bytes: &[u8]) -> io::Result<()> {
    let digest = Digest::of(bytes);
    let draft = scratch.join(format!("manifest-{name}"));
    let tag = match name {
        ManifestRef::Tag(tag) => tag,
        ManifestRef::Digest(_) => {
            let mut file = fs::File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            let (blob, manifest) = (filed.blob_path(&digest), filed.manifest_path(&digest));
            fs::rename(&draft, &blob)?;
            return match fs::hard_link(&blob, &draft) {
                Ok(()) => fs::rename(&draft, &manifest),
                // Not every file system has links.
                Err(_) => fs::copy(&blob, &draft).and_then(|_| fs::rename(&draft, &manifest)),
            };
        }
    };
    match fs::os::unix::fs::symlink(digest.to_string(), &draft) {
        Ok(()) => fs::rename(&draft, filed.tag_path(tag)),
        Err(_) => {
            fs::copy(filed.blob_path(&digest), &draft)?;
            fs::rename(&draft, filed.tag_path(tag))
        }
    }
}
