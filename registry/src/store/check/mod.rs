//! A look at everything that a store holds: whether it is there, whole, and what it is named.
//!
//! 1. `tree` goes through the repositories: every tag leads to a manifest, every manifest has its digest, its blobs are
//!    linked, there and of the right size, referrer links fit.
//! 2. `bytes` hashes the blobs: all of them, or one slice.
//! 3. `hits` says which repositories and tags are hit by what was found; the records of imports say which part of which
//!    sequence holds a good copy.
//!
//! In: a store that may be in use. Out: a [`Report`]. What must hold: nothing is written; files never change in place, so
//! what vanishes or is replaced meanwhile is no finding; memory is bounded by the findings, not by what is stored. The
//! repairs are `repair`'s. `objects::check` does the same for a bucket.

mod bytes;
mod findings;
mod hits;
mod pace;
mod tree;

use std::collections::HashSet;
use std::time::Duration;

use format_spec::Repository;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::sequences::Holder;
use super::{Records, Store, StoreError};
use crate::content::ContentDigest;
use crate::progress::Progress;

pub(super) use bytes::Bytes as BlobBytes;
pub(crate) use findings::{Findings, Hits};
pub(crate) use pace::Pace;
pub(super) use tree::Stored;

/// Findings of one kind in a report; of one kind, as what a client can bring about (a manifest that lies about sizes)
/// must not hide what a disk did. A store with more has lost a disk, and is filled again.
pub const FINDINGS_MAX: usize = 1000;

/// Repositories, and tags, named in one finding.
pub const NAMED_MAX: usize = 20;

/// What is wrong with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The bytes of a blob are not those of its digest, or cannot be read.
    BlobDamaged,
    /// A manifest or a link names a blob that is not there.
    BlobMissing,
    /// A manifest states another size of a blob than it has, and the blob is whole. It was pushed so: harmless to what is
    /// stored, and refused by many clients.
    BlobSize,
    /// A manifest names a blob that its repository does not hold, although the bytes are there.
    BlobNotLinked,
    /// The bytes of a manifest are not those of its digest, or cannot be read.
    ManifestDamaged,
    /// A manifest has its digest and cannot be parsed.
    ManifestUnusable,
    /// A tag leads to no manifest.
    TagDangling,
    /// A tag cannot be read.
    TagDamaged,
    /// A manifest is not listed as a referrer of its subject.
    ReferrerMissing,
    /// A manifest is listed as a referrer of what is not its subject.
    ReferrerWrong,
    /// The record of an imported sequence is missing or cannot be used, so nothing in its namespace is collected. What
    /// damaged it is a finding of its own; this alone, a push can bring about.
    RecordUnusable,
    /// A file that is nothing of a store. Harmless.
    Stray,
}

impl FindingKind {
    /// Whether it does harm.
    pub fn is_damage(self) -> bool {
        !matches!(self, Self::Stray | Self::BlobSize | Self::RecordUnusable)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// What it is wrong with: a digest, a tag or a path.
    pub what: String,
    /// The digest, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<ContentDigest>,
    /// More about it, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The first repositories that are hit.
    pub repositories: Vec<String>,
    /// How many are.
    pub repository_count: u64,
    /// The first tags that are hit, as `repository:tag`.
    pub tags: Vec<String>,
    /// How many are.
    pub tag_count: u64,
    /// Where a good copy is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Whether it was mended, or moved aside so that it reads as missing.
    pub repaired: bool,
}

/// Which blobs are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Which one, from 1.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl Slice {
    /// All of them.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    pub(crate) fn has(self, digest: &ContentDigest) -> bool {
        let bytes = digest.as_bytes();
        // Not the first byte alone: there may be more slices than it has values.
        let place = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        place % self.of.max(1) + 1 == self.number
    }
}

/// Where a stopped reading of blobs goes on, and what it had found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// The slice that was read.
    pub slice: Slice,
    /// The last blob that was hashed.
    pub after: ContentDigest,
    /// Damaged blobs before it.
    pub damaged: Vec<ContentDigest>,
}

/// How to check.
pub struct Check<'a> {
    /// The blobs to hash; `None` leaves them unread.
    pub read: Option<Slice>,
    /// Where to go on with that.
    pub from: Option<Cursor>,
    /// Bytes read in a second, at most.
    pub rate: Option<u64>,
    /// Told what happens.
    pub progress: &'a Progress,
    /// Ends it early.
    pub cancel: &'a CancellationToken,
    /// Gets the cursor from time to time.
    pub keep: &'a (dyn Fn(&Cursor) + Sync),
}

/// Between two cursors.
pub(crate) const KEEP: Duration = Duration::from_secs(5);

/// What was looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Repositories looked at.
    pub repositories: u64,
    /// Tags looked at.
    pub tags: u64,
    /// Manifests read and hashed.
    pub manifests: u64,
    /// Blobs that are there.
    pub blobs: u64,
    /// Blobs read and hashed now.
    pub blobs_read: u64,
    /// Bytes of these.
    pub bytes_read: u64,
    /// Whether it came to its end.
    pub complete: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond the list.
    pub more_findings: u64,
}

impl Report {
    /// Whether nothing does harm.
    pub fn is_clean(&self) -> bool {
        self.more_findings == 0 && self.findings.iter().all(|finding| !finding.kind.is_damage())
    }
}

impl Store {
    /// Looks at everything.
    ///
    /// # Errors
    /// I/O of directories. A file that cannot be read is a finding.
    pub fn check(&self, how: &Check<'_>) -> Result<Report, StoreError> {
        let mut checking = Checking {
            store: self,
            how,
            report: Report::default(),
            findings: Findings::default(),
            whole: HashSet::new(),
        };
        how.progress.phase("checking tags and manifests");
        checking.tree()?;
        checking.bytes()?;
        how.progress.phase("naming what is hit");
        checking.hits()?;
        checking.findings.records((self as &dyn Records).pinned(|_, _| {})?);
        let Checking { mut report, findings, .. } = checking;
        report.complete = !how.cancel.is_cancelled();
        findings.into_report(&mut report);
        let digests = report.on_media();
        if !digests.is_empty() {
            report.held(&self.holders(&digests)?);
        }
        Ok(report)
    }
}

/// A check under way.
struct Checking<'a> {
    store: &'a Store,
    how: &'a Check<'a>,
    report: Report,
    findings: Findings,
    /// Blobs of which a wrong size is stated, and that are whole.
    whole: HashSet<ContentDigest>,
}

impl Checking<'_> {
    fn stopped(&self) -> bool {
        self.how.cancel.is_cancelled()
    }

    fn note(
        &mut self,
        kind: FindingKind,
        what: impl Into<String>,
        digest: Option<ContentDigest>,
        repository: Option<&Repository>,
        detail: impl Into<String>,
    ) {
        self.findings.note(kind, what.into(), digest, repository, detail.into());
    }
}

/// A kind in words.
pub fn words(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::BlobDamaged => "a blob is damaged",
        FindingKind::BlobMissing => "a blob is missing",
        FindingKind::BlobSize => "a manifest states a wrong size",
        FindingKind::BlobNotLinked => "a blob is not linked where a manifest needs it",
        FindingKind::ManifestDamaged => "a manifest is damaged",
        FindingKind::ManifestUnusable => "a manifest cannot be used",
        FindingKind::TagDangling => "a tag leads to no manifest",
        FindingKind::TagDamaged => "a tag is damaged",
        FindingKind::ReferrerMissing => "a referrer is not listed at its subject",
        FindingKind::ReferrerWrong => "a referrer is listed at another manifest than its subject",
        FindingKind::RecordUnusable => "nothing is collected beside a record that cannot be used",
        FindingKind::Stray => "a file is nothing of a store",
    }
}

#[cfg(test)]
mod tests;
