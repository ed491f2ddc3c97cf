//! All repositories of a bucket, and the records of imported sequences in it.
//!
//! In: a bucket. Out: names of repositories; what `store::sequences` reads, which waits for each answer and so needs a
//! thread of its own. What must hold: what cannot be listed is an error, never an empty list.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use format_spec::{Repository, Tag};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;

use super::Objects;
use crate::content::ContentDigest;
use crate::store::{Records, StoreError, StoredManifest};

/// The longest key below `repositories` that is walked: names have at most 255 characters.
const KEY_MAX: usize = 1024;

/// The place of all repositories.
const ROOT: &str = "repositories";

impl Objects {
    /// Everything that has something of a repository in it, in order; also what no request can name.
    pub(super) async fn all_repositories(&self) -> Result<Vec<String>, StoreError> {
        let (mut found, mut ahead) = (Vec::new(), vec![String::new()]);
        while let Some(name) = ahead.pop() {
            let key = if name.is_empty() { ROOT.to_owned() } else { format!("{ROOT}/{name}") };
            let below = self.bucket.below(&key).await?;
            if below.iter().any(|below| below.starts_with('_')) && !name.is_empty() {
                found.push(name.clone());
            }
            for below in below.iter().filter(|below| !below.starts_with('_')) {
                let full = if name.is_empty() { below.clone() } else { format!("{name}/{below}") };
                if full.len() <= KEY_MAX {
                    ahead.push(full);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The records of a bucket, for a thread that may wait.
pub(super) struct InBucket {
    objects: Arc<Objects>,
    repositories: Vec<Repository>,
    runtime: Handle,
}

impl InBucket {
    /// Those of all these repositories.
    pub(super) fn new(objects: &Arc<Objects>, repositories: &[String]) -> Self {
        let repositories = repositories.iter().filter_map(|name| name.parse().ok()).collect();
        Self { objects: Arc::clone(objects), repositories, runtime: Handle::current() }
    }

    /// Works with them on a thread of its own.
    pub(super) async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&dyn Records) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = tokio::task::spawn_blocking(move || work(&self)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

impl Records for InBucket {
    fn repositories(
        &self,
        visit: &mut dyn FnMut(&Repository) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.repositories.iter().try_for_each(visit)
    }

    fn tag_names(&self, repository: &Repository) -> Result<Vec<String>, StoreError> {
        let page = self.runtime.block_on(self.objects.tags(repository, "", usize::MAX))?;
        Ok(page.map(|page| page.entries).unwrap_or_default())
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<ContentDigest>, StoreError> {
        self.runtime.block_on(self.objects.resolve_tag(repository, tag))
    }

    fn manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        self.runtime.block_on(self.objects.get_manifest(repository, digest))
    }

    fn content(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<(Box<dyn Read>, u64)>, StoreError> {
        self.runtime.block_on(async {
            let Some(blob) = self.objects.open_blob(repository, digest).await? else {
                return Ok(None);
            };
            let size = blob.size();
            let Some(stream) = blob.read(0..size).await? else { return Ok(None) };
            let runtime = self.runtime.clone();
            let reader = Waiting { stream, runtime, chunk: Bytes::new() };
            Ok(Some((Box::new(reader) as Box<dyn Read>, size)))
        })
    }
}

/// A stream that is read by a thread that waits.
struct Waiting {
    stream: BoxStream<'static, io::Result<Bytes>>,
    runtime: Handle,
    chunk: Bytes,
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.split_to(length).copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
