//! Taking damage out of the way, so that it reads as missing and pushing or importing again puts it back.
//!
//! In: a finding of a check. Out: whether something was done. What must hold: nothing is deleted, damaged files go to the
//! quarantine; what the finding says is looked at again before anything moves, as somebody may have repaired it since; a
//! good blob that is put in its place at the same moment is never the one that moves.

use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;

use format_spec::{Repository, Tag};

use super::check::{BlobBytes, FindingKind, Stored};
use super::lists::names;
use super::uploads::random_hex;
use super::{Store, StoreError};
use crate::content::ContentDigest;

/// The directory of damaged files.
const QUARANTINE: &str = "quarantine";

impl Store {
    /// Repairs what a check found: `what` is as in the finding. `false` when there is nothing to do, or nothing that can
    /// be done here.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn repair(&self, kind: FindingKind, what: &str) -> Result<bool, StoreError> {
        self.writable()?;
        match kind {
            FindingKind::BlobDamaged => match what.parse() {
                Ok(digest) => self.quarantine_blob(&digest),
                Err(_) => Ok(false),
            },
            FindingKind::TagDamaged => match tag_in(what) {
                Some((repository, tag)) => self.remove_damaged_tag(&repository, &tag),
                None => Ok(false),
            },
            FindingKind::ManifestDamaged
            | FindingKind::BlobNotLinked
            | FindingKind::ReferrerMissing
            | FindingKind::ReferrerWrong => match digest_in(what) {
                Some((repository, digest)) => self.repair_in(kind, &repository, &digest),
                None => Ok(false),
            },
            // What is not there, or not of ours, has to come from elsewhere.
            FindingKind::BlobMissing
            | FindingKind::BlobSize
            | FindingKind::ManifestUnusable
            | FindingKind::TagDangling
            | FindingKind::RecordUnusable
            | FindingKind::Stray => Ok(false),
        }
    }

    fn remove_damaged_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, StoreError> {
        // Before the look: a push may set it anew.
        let _removing = self.removing(repository);
        match self.resolve_tag(repository, tag)? {
            Some(_) => Ok(false),
            None => self.remove_tag(repository, tag),
        }
    }

    fn repair_in(
        &self,
        kind: FindingKind,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        // What is looked at here is not collected before the repair stands.
        let _hold = self.holds.hold(digest);
        match kind {
            FindingKind::ManifestDamaged => self.quarantine_manifest(repository, digest),
            FindingKind::BlobNotLinked => self.link_blob(repository, digest),
            FindingKind::ReferrerMissing => {
                let _adding = self.adding(repository);
                let Stored::Good(manifest) = self.stored(repository, digest) else {
                    return Ok(false);
                };
                let Some(subject) = manifest.subject else { return Ok(false) };
                let directory = self.referrers_dir(repository, &subject);
                self.durable.make_dirs(&self.root, &directory)?;
                self.durable.mark(&directory, &digest.hex())?;
                Ok(true)
            }
            FindingKind::ReferrerWrong => {
                let _removing = self.removing(repository);
                let Stored::Good(manifest) = self.stored(repository, digest) else {
                    return Ok(false);
                };
                let right = manifest.subject.map(|subject| subject.hex());
                let all = self.repository(repository).join("_referrers");
                let mut removed = false;
                for subject in names(&all)? {
                    if right.as_ref() != Some(&subject) {
                        removed |= self.durable.remove(&all.join(subject), &digest.hex())?;
                    }
                }
                Ok(removed)
            }
            _ => Ok(false),
        }
    }

    /// Moves a blob aside whose bytes are not those of its digest, or cannot be read; `false` when it is good or gone.
    /// Where somebody finds that a blob cannot be read, this decides.
    ///
    /// # Errors
    /// Read-only, or I/O.
    pub fn quarantine_blob(&self, digest: &ContentDigest) -> Result<bool, StoreError> {
        self.writable()?;
        // What is to be moved is not collected meanwhile.
        let _hold = self.holds.hold(digest);
        let Some(BlobBytes::Bad(inode, detail)) = self.hash_blob(digest, &mut |_| true)? else {
            return Ok(false);
        };
        let (directory, name) = (self.blob_dir(digest), digest.hex());
        let path = directory.join(&name);
        // A push may have replaced it since it was hashed, and none may do so now.
        let _alone = self.placing.write().unwrap_or_else(PoisonError::into_inner);
        match fs_err::metadata(&path) {
            Ok(now) if now.ino() == inode => {}
            _ => return Ok(false),
        }
        self.room.remove(&path, || {
            self.set_aside(&path, &format!("blob-{name}"))?;
            self.durable.sync_dir(&directory)?;
            Ok(true)
        })?;
        tracing::error!(%digest, detail, "a damaged blob was moved aside: push or import it again");
        Ok(true)
    }

    fn quarantine_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool, StoreError> {
        let _removing = self.removing(repository);
        let Stored::Damaged(detail) = self.stored(repository, digest) else { return Ok(false) };
        let directory = self.manifests(repository);
        let name = digest.hex();
        let path = directory.join(&name);
        self.room.remove(&path, || {
            self.set_aside(&path, &format!("manifest-{name}"))?;
            self.durable.sync_dir(&directory)?;
            Ok(true)
        })?;
        tracing::error!(%repository, %digest, detail, "a damaged manifest was moved aside: push or import it again");
        Ok(true)
    }

    fn set_aside(&self, path: &std::path::Path, name: &str) -> Result<(), StoreError> {
        let quarantine = self.root.join(QUARANTINE);
        self.durable.make_dirs(&self.root, &quarantine)?;
        // The same content may be damaged twice.
        let name = format!("{name}-{}", &random_hex()?[..8]);
        self.durable.place(path, &quarantine, &name)
    }
}

fn digest_in(what: &str) -> Option<(Repository, ContentDigest)> {
    let (repository, digest) = what.split_once('@')?;
    Some((repository.parse().ok()?, digest.parse().ok()?))
}

fn tag_in(what: &str) -> Option<(Repository, Tag)> {
    let (repository, tag) = what.split_once(':')?;
    Some((repository.parse().ok()?, tag.parse().ok()?))
}
