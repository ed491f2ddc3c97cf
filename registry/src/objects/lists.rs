//! Lists: tags of a repository, repositories, referrers of a manifest.
//!
//! In: where the last page ended and how many are wanted. Out: one page and whether more follow. What must hold:
//! one page is held, and read from where it begins; the order is that of the files store.

use format_spec::{Repository, Tag};
use futures_util::TryStreamExt;

use super::hold::is_going;
use super::{Objects, keys};
use crate::content::ContentDigest;
use crate::store::{Page, REFERRERS_READ, Referrers, ReferrersPage, StoreError, lexical};

impl Objects {
    /// At most `limit` tags after `last` (empty: from the first); `None` when there is no such repository.
    ///
    /// # Errors
    /// The object store's.
    pub async fn tags(
        &self,
        repository: &Repository,
        last: &str,
        limit: usize,
    ) -> Result<Option<Page<String>>, StoreError> {
        // What somebody else has put there is shown to nobody; a check finds it.
        let name = |key: &str| {
            let tag = key.rsplit_once('!').and_then(|(_, tag)| tag.parse::<Tag>().ok());
            tag.map(|tag| tag.to_string())
        };
        let page = self.names(&keys::tags(repository), last, limit, name).await?;
        if !page.entries.is_empty() || self.holds_manifests(repository).await? {
            return Ok(Some(page));
        }
        let mut links = self.bucket.list(&keys::links(repository), None)?;
        Ok(links.try_next().await?.is_some().then_some(page))
    }

    /// At most `limit` repositories after `last` (empty: from the first) that hold a manifest.
    ///
    /// # Errors
    /// The object store's.
    pub async fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>, StoreError> {
        let name = |key: &str| keys::catalog_entry(key).map(|name| name.to_string());
        self.names(keys::CATALOG, last, limit, name).await
    }

    async fn names(
        &self,
        prefix: &str,
        last: &str,
        limit: usize,
        name: impl Fn(&str) -> Option<String>,
    ) -> Result<Page<String>, StoreError> {
        let after = (!last.is_empty()).then(|| format!("{prefix}/{}", last.to_ascii_lowercase()));
        let last = (!last.is_empty()).then(|| lexical(last.to_owned()));
        let mut page = Page { entries: Vec::new(), more: false };
        let mut list = self.bucket.list(prefix, after.as_deref())?;
        while let Some(meta) = list.try_next().await? {
            // A tag that is being taken away.
            if is_going(&meta) {
                continue;
            }
            let Some(name) = name(&self.bucket.key(&meta)) else { continue };
            if last.as_ref().is_some_and(|last| lexical(name.clone()) <= *last) {
                continue;
            }
            if page.entries.len() >= limit {
                page.more = true;
                break;
            }
            page.entries.push(name);
        }
        Ok(page)
    }

    /// The manifests that refer to `subject`, after `last`, until their annotations and the like reach about
    /// `budget` bytes or too much was looked at. With `artifact_type` only those of that type.
    ///
    /// # Errors
    /// The object store's.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &ContentDigest,
        artifact_type: Option<&str>,
        last: Option<&ContentDigest>,
        budget: usize,
    ) -> Result<Referrers, StoreError> {
        let prefix = keys::referrers(repository, subject);
        let after = last.map(|last| format!("{prefix}/{}", last.hex()));
        let mut list = self.bucket.list(&prefix, after.as_deref())?;
        let mut page = ReferrersPage::new(artifact_type, budget);
        let mut read = 0;
        while let Some(meta) = list.try_next().await? {
            let key = self.bucket.key(&meta);
            let digest =
                key.rsplit_once('/').and_then(|(_, hex)| ContentDigest::from_hex(hex).ok());
            let Some(digest) = digest else { continue };
            read += 1;
            if read > REFERRERS_READ {
                return Ok(page.cut());
            }
            if !page.offer(digest, self.referrer(repository, &digest).await?) {
                return Ok(page.cut());
            }
        }
        Ok(page.whole())
    }
}
