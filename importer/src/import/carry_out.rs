//! What is written for one sequence: content, then tags, then the record, then the receipt.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use format_spec::{Repository, Tag};
use registry::client::Product;
use tokio::sync::Semaphore;

use super::{Known, Run, gone, summary};
use crate::error::ImportError;
use crate::ledger::{self, Record};
use crate::limits::{MANIFEST_ROOM, READ_BACKS};
use crate::lock::Lease;
use crate::order::{Arranged, Step};
use crate::prune::{self, Change};
use crate::push::{Counts, Push};
use crate::read_back::Damaged;
use crate::report::{ImportedSequence, Outcome};
use crate::subjects::Subjects;
use crate::survey::{self, Work};
use crate::uploads::Uploads;
use crate::{deleted, receipt, sequences};

impl Run {
    /// Content, then tags, then the record, then the receipt.
    pub(super) async fn carry_out(
        &self,
        one: Arranged,
        places: Vec<Repository>,
        (work, damaged): (Work, Damaged),
        (record, change): (&Record, Option<&Change>),
        known: &Known,
        lease: &Lease,
    ) -> Result<(ImportedSequence, Vec<String>), ImportError> {
        let (whole, by_digest) = (one.step == Step::Accept, one.step == Step::PutBack);
        let one_more = one.step == Step::Repair;
        let push = Push {
            at: self.at.clone(),
            places,
            sequence: Arc::new(one.proceed()),
            progress: Arc::clone(&self.options.progress),
            uploads: Arc::new(Uploads::open(&self.directory)),
            parallel: self.options.parallel_blobs,
            counts: Counts::default(),
            subjects: Subjects::default(),
            one_at_a_time: self.at.client.product(self.at.host()).await? == Product::Nexus,
            room: Semaphore::new(MANIFEST_ROOM as usize),
        };
        let index = push.sequence.index();
        push.content(&work, whole).await?;
        push.uploads.end();
        let lost = survey::manifests(&self.at, &push.places, index).await?;
        let mut lost = Work { manifests: lost, ..Work::default() };
        if one_more {
            let deleted = deleted::of(&known.remote.deleted, record.stream);
            gone::leave_out(&mut lost, push.sequence.verified(), deleted);
        }
        if let Some((n, id)) = lost.manifests.first() {
            let place = &push.places[*id as usize];
            let digest = index.manifests[*n].digest;
            return Err(ImportError::Lost(format!("{}/{place}@{digest}", self.at.host())));
        }
        lease.holder().await?;
        if by_digest {
            let how = (self.options.parallel_blobs, &*self.options.progress);
            damaged.mended(&self.at, &push.places, index, how).await?;
            return Ok((self.put_back(&push, &work).await?, Vec::new()));
        }
        let tags = async {
            push.tags(&work.tags).await?;
            self.read_back(&push, &work.tags).await
        };
        // Their bytes come beside the tags, where nothing names them yet. Those of the record of the stream may fail to;
        // they are asked for again when it is named.
        let verified = push.sequence.verified();
        let (tags, _, ahead) = futures_util::future::join3(
            tags,
            ledger::send_ahead(&self.at, record),
            sequences::send_ahead(&self.at, verified, !whole),
        )
        .await;
        tags?;
        ahead?;
        let (mut pruned, mut warnings) = (None, Vec::new());
        if let Some(change) = change {
            self.options.progress.phase("removing what left the configuration");
            lease.holder().await?;
            let (removed, told) = prune::after(&self.at, change, None).await?;
            (pruned, warnings) = (Some(removed), told);
        }
        sequences::write(&self.at, verified).await?;
        ledger::write_remote(&self.at, record).await?;
        self.remember(record, known)?;
        let outcome = if whole { Outcome::Imported } else { Outcome::Known };
        let mut report = done(&push, &work, outcome);
        report.pruned = pruned;
        report.receipt = Some(self.write_receipt(&report)?);
        Ok((report, warnings))
    }

    /// The end of what puts back by digest: the sequence's own record has its bytes too. It is named again only where it is not
    /// whole, so that its tag does not move.
    async fn put_back(&self, push: &Push, work: &Work) -> Result<ImportedSequence, ImportError> {
        let verified = push.sequence.verified();
        sequences::send_ahead(&self.at, verified, !self.options.read_back).await?;
        if !matches!(sequences::is_there(&self.at, verified).await, Ok(true)) {
            sequences::write(&self.at, verified).await?;
        }
        Ok(done(push, work, Outcome::Known))
    }

    pub(super) fn write_receipt(&self, report: &ImportedSequence) -> Result<PathBuf, ImportError> {
        receipt::write(&self.directory, &self.told_target(), &crate::now(), report)
    }

    /// Reads the tags back: an answer of 201 is a promise, and the record must not rest on it.
    async fn read_back(&self, push: &Push, tags: &[usize]) -> Result<(), ImportError> {
        let index = push.sequence.index();
        let mut lost = tags.to_vec();
        for pause in READ_BACKS {
            tokio::time::sleep(pause).await;
            lost = survey::tags(&self.at, &push.places, index, lost).await?;
            if lost.is_empty() {
                return Ok(());
            }
        }
        let reference = &index.references[lost[0]];
        let place = push.places[reference.repository as usize].as_str();
        let tag = reference.tag.as_ref().map_or("", Tag::as_str);
        Err(ImportError::Lost(format!("{}/{place}:{tag}", self.at.host())))
    }

    /// Writes the record into the workspace, unless it has this one or, while a target is restored, a
    /// later one.
    pub(super) fn remember(&self, record: &Record, known: &Known) -> Result<(), ImportError> {
        let has = |mine: &Record| mine.stream == record.stream && !record.is_newer(mine);
        if !known.local.iter().any(has) {
            ledger::write_local(&self.directory, record)?;
        }
        Ok(())
    }
}

/// The report of a sequence of which something was moved.
fn done(push: &Push, work: &Work, outcome: Outcome) -> ImportedSequence {
    let mut report = summary(push.sequence.verified(), outcome);
    report.blobs_pushed = push.counts.sent.load(Ordering::Relaxed);
    report.bytes_pushed = push.counts.sent_bytes.load(Ordering::Relaxed);
    report.blobs_mounted = push.counts.mounted.load(Ordering::Relaxed);
    report.blobs_present = work.present;
    (report.manifests_put, report.tags_put) = work.names();
    report
}
