//! What a person who looks around wants to know of a store: names by a part of them, sizes, small documents.
//!
//! In: what to look for, and how much work it may cost. Out: a page, or a figure. What must hold: nothing is
//! changed; the work is bounded by what the caller allows, not by what is stored.

use std::time::SystemTime;

use format_spec::{Repository, Tag};

use super::blobs::exists;
use super::durable::{is_absent, read_bounded};
use super::lists::{Smallest, names};
use super::{Page, Store, StoreError};
use crate::content::{Algorithm, ContentDigest};

impl Store {
    /// At most `limit` tags after `last` that `keep` wants, and how many there are of them in all.
    ///
    /// # Errors
    /// I/O.
    pub fn tags_where(
        &self,
        repository: &Repository,
        last: &str,
        limit: usize,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<(Page<String>, usize), StoreError> {
        let mut smallest = Smallest::new(last, limit);
        let mut count = 0;
        for name in names(&self.tags_dir(repository))?.filter(|name| keep(name)) {
            count += 1;
            smallest.offer(name);
        }
        Ok((smallest.page(), count))
    }

    /// Bytes of all blobs that a repository holds; `None` when more than `budget` files would have to be
    /// looked at. Takes what it used off the budget.
    ///
    /// # Errors
    /// I/O.
    pub fn repository_bytes(
        &self,
        repository: &Repository,
        budget: &mut usize,
    ) -> Result<Option<u64>, StoreError> {
        let mut bytes = 0;
        for name in names(&self.links(repository))? {
            let Some(less) = budget.checked_sub(1) else { return Ok(None) };
            *budget = less;
            let Ok(digest) = ContentDigest::from_hex(&name) else { continue };
            bytes += self.blob_size(&digest)?.unwrap_or(0);
        }
        Ok(Some(bytes))
    }

    /// The size of a blob that the repository holds. To be shown it need not stay: collection does not learn of it.
    ///
    /// # Errors
    /// I/O.
    pub fn shown_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<u64>, StoreError> {
        match exists(fs_err::metadata(self.links(repository).join(digest.hex())))? {
            true => self.blob_size(digest),
            false => Ok(None),
        }
    }

    /// The bytes of a blob of the repository that has at most `max`; `None` for a larger one as well.
    ///
    /// # Errors
    /// I/O.
    pub fn small_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        max: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if self.shown_blob(repository, digest)?.is_none_or(|size| size > max) {
            return Ok(None);
        }
        read_bounded(&self.blob_dir(digest).join(digest.hex()), max)
    }

    /// When a tag was given its manifest last.
    ///
    /// # Errors
    /// I/O.
    pub fn tag_time(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<SystemTime>, StoreError> {
        match fs_err::metadata(self.tags_dir(repository).join(tag.as_str())) {
            Ok(metadata) => Ok(metadata.modified().ok()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many blobs and repositories there are; `None` for more than `budget` of either.
    ///
    /// # Errors
    /// I/O.
    pub fn counts(&self, budget: usize) -> Result<(Option<usize>, Option<usize>), StoreError> {
        let mut blobs = 0;
        for algorithm in Algorithm::ALL {
            let all = self.root.join("blobs").join(algorithm.name());
            for shard in names(&all)? {
                if blobs > budget {
                    break;
                }
                blobs += names(&all.join(shard))?.take(budget + 1).count();
            }
        }
        let repositories = self.visible_repositories("", budget, &|_| true)?;
        let repositories = (!repositories.more).then_some(repositories.entries.len());
        Ok(((blobs <= budget).then_some(blobs), repositories))
    }
}
