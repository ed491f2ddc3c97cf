//! Where a release is mirrored to: repositories of registries, or the directory of `oc image mirror`.
//!
//! In: blobs, manifests, tags. Out: the word that they are there. What must hold: a registry compares a blob with its digest, a
//! file gets its name when it has been compared; a tag is set last, so nothing half-done has a name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use format_spec::{Digest, Repository, Tag};
use fs_err as fs;
use registry::client::{BlobSource, Client, ClientError, Pushed};
use registry::filed::Filed;
use registry::filing::{self, Damaged, FilingError};
use registry::lasting;
use registry::reference::{ManifestRef, RegistryHost};
use registry::scratch::Scratch;
use registry::shelf::Shelf as _;

/// A repository that images are written into.
#[derive(Clone)]
pub(super) enum Place {
    /// Of a registry.
    Registry { client: Client, host: RegistryHost, repository: Repository },
    /// Of a directory.
    Directory { filed: Filed, scratch: Arc<Scratch> },
}

/// Why something is not there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The registry.
    #[error("{0}")]
    Wire(#[from] ClientError),
    /// The directory.
    #[error(transparent)]
    Filing(#[from] FilingError),
}

impl Place {
    /// The repository of a registry.
    pub(super) fn registry(client: Client, host: RegistryHost, repository: Repository) -> Self {
        Self::Registry { client, host, repository }
    }

    /// A repository below a directory, which is made.
    pub(super) fn directory(root: &Path, repository: Repository) -> io::Result<Self> {
        let filed = Filed::new(root, repository);
        for name in ["blobs", "manifests"] {
            lasting::make_within(root, &filed.directory().join(name))?;
        }
        let scratch = Arc::new(Scratch::open(&filed.directory())?);
        Ok(Self::Directory { filed, scratch })
    }

    /// The directory, if it is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Registry { .. } => None,
            Self::Directory { filed, .. } => Some(filed.directory()),
        }
    }

    /// Whether two are the same repository.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Registry { host, repository, .. },
                Self::Registry { host: others, repository: that, .. },
            ) => (host, repository) == (others, that),
            (Self::Directory { filed, .. }, Self::Directory { filed: that, .. }) => {
                filed.directory() == that.directory()
            }
            _ => false,
        }
    }

    /// Whether a blob is there.
    pub(super) async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, PlaceError> {
        match self {
            Self::Registry { client, host, repository } => {
                let found = client.head_blob(host, repository, digest).await?;
                Ok(found.is_some_and(|found| found.is_none_or(|found| found == size)))
            }
            Self::Directory { filed, .. } => Ok(filed.has_blob(digest, size)),
        }
    }

    /// Writes a blob. `mount_from` is a repository of the same registry that may have it.
    pub(super) async fn put_blob(
        &self,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<(&RegistryHost, &Repository)>,
    ) -> Result<Pushed, PlaceError> {
        match self {
            Self::Registry { client, host, repository } => {
                let from = mount_from.filter(|(at, _)| *at == host).map(|(_, from)| from);
                let push = client.push_blob(host, repository, digest, size, source, from).await;
                push.map_err(|error| {
                    let source = error.source_error().and_then(io::Error::get_ref);
                    match source.and_then(|source| source.downcast_ref::<Damaged>()) {
                        Some(damaged) => FilingError::Damaged(*damaged).into(),
                        None => PlaceError::Wire(error.into_cause()),
                    }
                })
            }
            Self::Directory { filed, scratch } => {
                let draft = scratch.path().join(digest.hex());
                filing::blob(&draft, digest, size, &*source).await?;
                let to = filed.blob_path(digest);
                fs::rename(&draft, &to).map_err(FilingError::File)?;
                Ok(Pushed::Uploaded)
            }
        }
    }

    /// What a name stands for.
    pub(super) async fn named(&self, tag: &Tag) -> Result<Option<Digest>, PlaceError> {
        match self {
            Self::Registry { client, host, repository } => {
                let name = ManifestRef::Tag(tag.clone());
                let found = client.head_manifest(host, repository, &name).await?;
                Ok(found.and_then(|found| found.digest))
            }
            Self::Directory { filed, .. } => Ok(filed.tagged(tag).map_err(FilingError::File)?),
        }
    }

    /// Whether a manifest is there.
    pub(super) async fn has_manifest(&self, digest: &Digest) -> Result<bool, PlaceError> {
        match self {
            Self::Registry { client, host, repository } => {
                let name = ManifestRef::Digest(*digest);
                let found = client.head_manifest(host, repository, &name).await?;
                Ok(found.is_some_and(|found| found.digest.is_none_or(|it| it == *digest)))
            }
            // One that is damaged is written again.
            Self::Directory { filed, .. } => {
                Ok(filed.manifest(digest).is_ok_and(|it| it.is_some()))
            }
        }
    }

    /// Writes a manifest under its digest, or under a tag. Says whether the registry lists it for its subject.
    pub(super) async fn put_manifest(
        &self,
        name: &ManifestRef,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, PlaceError> {
        match self {
            Self::Registry { client, host, repository } => {
                let stored = client.put_manifest(host, repository, name, media_type, bytes).await?;
                Ok(stored.subject_indexed)
            }
            Self::Directory { filed, scratch } => {
                let (filed, scratch, name) = (filed.clone(), Arc::clone(scratch), name.clone());
                let file = move || filing::manifest(&filed, &scratch.path(), &name, &bytes);
                let filing = tokio::task::spawn_blocking(file).await;
                filing.map_err(io::Error::other).flatten().map_err(FilingError::File)?;
                Ok(false)
            }
        }
    }
}
