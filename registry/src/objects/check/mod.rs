//! A look at everything that a bucket holds: whether it is there, whole, and what it is named.
//!
//! 1. `blobs` reads every pointer; 2. `tree` goes through the repositories; 3. `blobs` hashes the blobs, all of them or
//!    one slice; 4. which repositories and tags are hit, and which part of which sequence holds a good copy. `repair`
//!    takes damage out of the way.
//!
//! In: a bucket that replicas may be serving. Out: the [`Report`] that a check of files gives. What must hold: nothing is
//! written and nothing held; what names something that is not there is looked at once more, and when it is gone by then,
//! nothing was wrong; memory is bounded by a few words for each blob, and by the pieces that are read at one time.

mod blobs;
mod repair;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use format_spec::Repository;

use super::Objects;
use super::records::InBucket;
use crate::content::ContentDigest;
use crate::store::StoreError;
use crate::store::check::{Check, FindingKind, Findings, Report};
use crate::store::collect::mark::Key;

/// A check under way.
struct Checking<'a> {
    objects: &'a Arc<Objects>,
    how: &'a Check<'a>,
    report: Report,
    findings: Findings,
    /// The sizes of all blobs; none of one whose pointer is damaged, which is a finding already.
    sizes: HashMap<Key, Option<u64>>,
    /// Blobs of which a wrong size is stated, and that are whole.
    whole: HashSet<ContentDigest>,
}

impl Objects {
    /// Looks at everything.
    ///
    /// # Errors
    /// The object store's. What cannot be read as it should is a finding.
    pub async fn check(self: &Arc<Self>, how: &Check<'_>) -> Result<Report, StoreError> {
        let mut checking = Checking {
            objects: self,
            how,
            report: Report::default(),
            findings: Findings::default(),
            sizes: HashMap::new(),
            whole: HashSet::new(),
        };
        how.progress.phase("looking at blobs");
        checking.pointers().await?;
        how.progress.phase("checking tags and manifests");
        let names = self.all_repositories().await?;
        checking.tree(&names).await?;
        checking.bytes().await?;
        how.progress.phase("naming what is hit");
        checking.hits(&names).await?;
        let records = InBucket::new(self, &names);
        let streams = records.work(|records| records.pinned(|_, _| {})).await?;
        checking.findings.records(streams);
        let Checking { mut report, findings, .. } = checking;
        report.complete = !how.cancel.is_cancelled();
        findings.into_report(&mut report);
        let digests = report.on_media();
        if !digests.is_empty() {
            let records = InBucket::new(self, &names);
            report.held(&records.work(move |records| records.holders(&digests)).await?);
        }
        Ok(report)
    }
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

    fn stray(&mut self, key: &str) {
        self.note(FindingKind::Stray, key, None, None, "");
    }
}
