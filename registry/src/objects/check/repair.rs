//! Taking damage in a bucket out of the way, so that it reads as missing and pushing or importing again puts it back.
//!
//! In: a finding of a check. Out: whether something was done. What must hold: nothing is lost, pointers and manifests go
//! below `quarantine/`, and a collection leaves the pieces that a pointer there names; what the finding says is looked at
//! again before, and changed under the condition that it is still what was looked at.

use std::sync::Arc;

use bytes::Bytes;
use format_spec::Repository;
use futures_util::TryStreamExt;

use super::super::hold::There;
use super::super::limits::SMALL_MAX;
use super::super::manifests::STORED_MAX;
use super::super::records::InBucket;
use super::super::{Objects, keys};
use super::blobs::Bytes as BlobBytes;
use super::tree::Stored;
use crate::content::ContentDigest;
use crate::store::check::FindingKind;
use crate::store::{StoreError, random_hex};

impl Objects {
    /// Repairs what a check found: `what` is as in the finding. `false` when there is nothing to do, or nothing that
    /// can be done here.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn repair(&self, kind: FindingKind, what: &str) -> Result<bool, StoreError> {
        self.writable()?;
        if kind == FindingKind::BlobDamaged {
            return match what.parse() {
                Ok(digest) => self.quarantine_blob(&digest).await,
                Err(_) => Ok(false),
            };
        }
        let parsed = what.split_once('@').and_then(|(repository, digest)| {
            Some((repository.parse::<Repository>().ok()?, digest.parse::<ContentDigest>().ok()?))
        });
        let Some((repository, digest)) = &parsed else { return Ok(false) };
        match kind {
            FindingKind::ManifestDamaged => self.quarantine_manifest(repository, digest).await,
            FindingKind::BlobNotLinked => {
                if self.pointer(digest).await?.is_none() {
                    return Ok(false);
                }
                self.keep(&keys::link(repository, digest)).await?;
                Ok(self.hold_pointer(digest).await?.is_some())
            }
            FindingKind::ReferrerMissing => {
                let Stored::Good(manifest) = self.stored(repository, digest).await? else {
                    return Ok(false);
                };
                let Some(subject) = manifest.subject else { return Ok(false) };
                let entries = keys::referrers(repository, &subject);
                self.keep(&format!("{entries}/{}", digest.hex())).await?;
                Ok(true)
            }
            FindingKind::ReferrerWrong => self.unlist(repository, digest).await,
            // A damaged tag reads as missing already; the others have to come from elsewhere.
            _ => Ok(false),
        }
    }

    async fn unlist(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        let Stored::Good(manifest) = self.stored(repository, digest).await? else {
            return Ok(false);
        };
        let right = manifest.subject.map(|subject| keys::referrers(repository, &subject));
        let entry = format!("/{}", digest.hex());
        let mut list = self.bucket.list(&format!("repositories/{repository}/_referrers"), None)?;
        let mut removed = false;
        while let Some(meta) = list.try_next().await? {
            let key = self.bucket.key(&meta);
            let below = key.strip_suffix(&entry);
            if below.is_some_and(|below| right.as_deref() != Some(below)) {
                removed |= self.remove(&key, SMALL_MAX).await?;
            }
        }
        Ok(removed)
    }

    async fn quarantine_blob(&self, digest: &ContentDigest) -> Result<bool, StoreError> {
        let Some(BlobBytes::Bad(there, detail)) = self.hash_blob(digest, None).await? else {
            return Ok(false);
        };
        let moved = self.set_aside(&keys::blob(digest), "blob", digest, there).await?;
        if moved {
            tracing::error!(%digest, detail, "a damaged blob was moved aside: push or import it again");
        }
        Ok(moved)
    }

    async fn quarantine_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        let key = keys::manifest(repository, digest);
        let there = self.look(&key, STORED_MAX).await?;
        let There::Object(bytes, _) = &there else { return Ok(false) };
        let Stored::Damaged(detail) = Stored::read(bytes, digest) else { return Ok(false) };
        let moved = self.set_aside(&key, "manifest", digest, there).await?;
        if moved {
            tracing::error!(%repository, %digest, detail, "a damaged manifest was moved aside: push or import it again");
        }
        Ok(moved)
    }

    /// Moves an object to the quarantine, unless it is another by now.
    async fn set_aside(
        &self,
        key: &str,
        kind: &str,
        digest: &ContentDigest,
        there: There,
    ) -> Result<bool, StoreError> {
        let There::Object(bytes, meta) = there else { return Ok(false) };
        // The same content may be damaged twice.
        let word = random_hex()?;
        let aside = format!("{}/{kind}-{}-{}", keys::QUARANTINE, digest.hex(), &word[..8]);
        self.bucket.put(&aside, Bytes::clone(&bytes).into()).await?;
        let moved = self.take_away(key, &meta).await?;
        if !moved {
            self.bucket.discard(&aside).await?;
        }
        Ok(moved)
    }

    /// Takes away the tags of records of which something is missing, so that the next import of the sequence sees that
    /// it has none and writes it again; returns how many.
    ///
    /// # Errors
    /// Read-only, or the object store's.
    pub async fn drop_broken_records(self: &Arc<Self>) -> Result<usize, StoreError> {
        let records = InBucket::new(self, &self.all_repositories().await?);
        let mut dropped = 0;
        for (repository, tag) in records.work(|records| records.broken()).await? {
            dropped += usize::from(self.delete_tag(&repository, &tag).await?);
        }
        Ok(dropped)
    }
}
