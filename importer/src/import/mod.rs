//! An import from the first look at the medium to the receipt.
//!
//! In: [`ImportOptions`]. Out: what was done, or a refusal before anything was written, or an error
//! after which the same command goes on.

mod carry_out;
mod gone;
mod prepare;

use std::path::PathBuf;

use format_spec::{Repository, StreamId};

use crate::cluster::records::Back;
use crate::error::ImportError;
use crate::ledger::{self, Record, Remote};
use crate::lock::{Lease, LocalLock};
use crate::order::{Arranged, Step};
use crate::paths::Destination;
use crate::prune::{self, Change, Planned};
use crate::read_back::{self, Damaged};
use crate::readiness;
use crate::report::{Imported, ImportedSequence, Outcome, Pruned};
use crate::sparse::Sparse;
use crate::survey::{self, Promised, Work};
use crate::verify::Verified;
use crate::{ClusterResources, ImportOptions, cluster, deleted, put_back, receipt, sequences};

/// Imports the sequences in the directories that the target does not have yet.
pub async fn import(options: ImportOptions) -> Result<Imported, ImportError> {
    let cancel = options.cancel.clone();
    let mut run = Run::new(options)?;
    let prepared = tokio::select! {
        () = cancel.cancelled() => Err(ImportError::Cancelled),
        prepared = run.prepare() => prepared,
    };
    // From here on a lease may be held, which is given back before the end, also of a stopped run.
    let Prepared { arranged, known, _lock } = prepared?;
    let sequences = run.apply(arranged, &known).await?;
    let cluster_resources = tokio::select! {
        () = cancel.cancelled() => Err(ImportError::Cancelled),
        written = run.resources() => written,
    }?;
    let pruning_plan = run.pruning_plan(&sequences)?;
    Ok(Imported {
        target: run.told_target(),
        dry_run: run.options.dry_run,
        sequences,
        cluster_resources,
        pruning_plan,
        warnings: run.warnings,
    })
}

/// A run of an import: what all steps share.
struct Run {
    options: ImportOptions,
    at: Destination,
    /// The target's directory in the workspace.
    directory: PathBuf,
    warnings: Vec<String>,
    /// The repositories into which it writes, and the first index of which children are left out.
    wanted: Vec<Repository>,
    sparse: Option<Sparse>,
    /// What is missing of media of which some parts may do.
    lacking: put_back::Lacking,
    /// What a dry run would have brought so far: each sequence is counted as if those before it were there.
    promised: Promised,
    /// The names at the target, from the first sequence on that is taken.
    names: Option<prune::Known>,
    /// What a dry run would have removed so far.
    planned: Planned,
}

/// The records before the import.
struct Known {
    local: Vec<Record>,
    remote: Remote,
}

impl Known {
    /// The newest of a stream.
    fn of(&self, stream: StreamId) -> Option<&Record> {
        let both = self.local.iter().chain(&self.remote.records);
        let of_stream = both.filter(|record| record.stream == stream);
        of_stream.reduce(|one, other| if other.is_newer(one) { other } else { one })
    }
}

/// Everything that is settled before the first write.
struct Prepared {
    arranged: Vec<Arranged>,
    known: Known,
    _lock: Option<LocalLock>,
}

impl Run {
    fn new(options: ImportOptions) -> Result<Self, ImportError> {
        let (client, target) = (options.client.clone(), options.target.clone());
        let at = Destination::new(client, target, options.max_nested_paths)?;
        let name = at.directory_name(options.local_name.as_deref());
        let directory = options.workspace.join("import").join(name);
        Ok(Self {
            options,
            at,
            directory,
            warnings: Vec::new(),
            wanted: Vec::new(),
            sparse: None,
            lacking: put_back::Lacking::new(),
            promised: Promised::default(),
            names: None,
            planned: Planned::default(),
        })
    }

    /// Writes the files for clusters. What is put back by digest changes nothing of what they say.
    async fn resources(&mut self) -> Result<Option<ClusterResources>, ImportError> {
        let Some(to) = &self.options.resources else { return Ok(None) };
        if self.options.dry_run || self.options.put_back {
            return Ok(None);
        }
        let written = cluster::after_import(&self.at, to).await;
        let mut written = written.map_err(|error| ImportError::Resources(Box::new(error)))?;
        self.warnings.append(&mut written.warnings);
        Ok(Some(written))
    }

    /// Asks the target whether it takes what is to be written. Opening an upload is a write of sorts, so a dry run
    /// does not ask.
    async fn ready(&self) -> Result<(), ImportError> {
        readiness::probe(&self.at, &self.wanted).await?;
        match &self.sparse {
            Some(sparse) => sparse.check(&self.at).await,
            None => Ok(()),
        }
    }

    /// Takes the sequences in order, under one lease, which is given back however it ends.
    async fn apply(
        &mut self,
        arranged: Vec<Arranged>,
        known: &Known,
    ) -> Result<Vec<ImportedSequence>, ImportError> {
        let cancel = self.options.cancel.clone();
        let mut lease = None;
        let mut reports = Vec::with_capacity(arranged.len());
        let mut result = Ok(());
        for one in arranged {
            let taken = tokio::select! {
                () = cancel.cancelled() => Err(ImportError::Cancelled),
                taken = self.take(one, known, &mut lease) => taken,
            };
            match taken {
                Ok(report) => reports.push(report),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if let Some(lease) = lease {
            lease.release().await;
        }
        result.map(|()| reports)
    }

    /// Takes one sequence.
    async fn take(
        &mut self,
        one: Arranged,
        known: &Known,
        lease: &mut Option<Lease>,
    ) -> Result<ImportedSequence, ImportError> {
        let step = one.step;
        let dry_run = self.options.dry_run;
        if step == Step::Past {
            return Ok(summary(one.verified(), Outcome::Known));
        }
        let places = self.at.places(&one.verified().index)?;
        let work = self.work(&one, &places, known);
        let work = if step == Step::Accept && !dry_run {
            // Beside each other: whoever holds the lease meanwhile, it ends in a refusal. Both to their ends, so
            // that a lease is never left behind.
            let (taken, work) =
                futures_util::future::join(self.take_lease(known, lease), work).await;
            taken?;
            work?
        } else {
            work.await?
        };
        if step != Step::PutBack {
            let deleted = deleted::of(&known.remote.deleted, one.verified().head.stream);
            let target = self.options.target.to_string();
            self.warnings.extend(gone::away(one.verified(), deleted, &target));
        }
        let mut work = work;
        let mut damaged = Damaged::default();
        if step == Step::PutBack {
            if self.options.read_back {
                let how = (self.options.parallel_blobs, &*self.options.progress);
                let index = &one.verified().index;
                damaged = read_back::read(&self.at, &places, index, &mut work, how).await?;
            }
            put_back::leave_out(&mut work, one.verified(), &mut self.warnings);
            if let Some(missing) = put_back::missing(one.verified(), &work, &mut self.lacking) {
                return Err(missing);
            }
        }
        if dry_run {
            let outcome = if step == Step::Accept { Outcome::Planned } else { Outcome::Known };
            let mut report = summary(one.verified(), outcome);
            let index = &one.verified().index;
            (report.blobs_pushed, report.bytes_pushed) = work.to_send(index);
            report.blobs_mounted = work.mounts();
            report.blobs_present = work.present;
            (report.manifests_put, report.tags_put) = work.names();
            self.promised.add(&places, index);
            if let Some(mut change) = self.change(&one, known).await? {
                change.planned(&self.at, one.verified(), &self.planned);
                let after = prune::after(&self.at, &change, Some(&mut self.planned));
                let (pruned, warnings) = after.await?;
                self.names = Some(Ok(change.after));
                self.warnings.extend(warnings);
                report.pruned = Some(pruned);
            }
            return Ok(report);
        }
        let record =
            Record::new(&one.verified().head, one.verified().digest, self.at.nested, crate::now())
                .after(known.of(one.verified().head.stream));
        if step == Step::Repair && work.is_nothing() && known.remote.has(&record) {
            self.remember(&record, known)?;
            let mut report = summary(one.verified(), Outcome::Known);
            report.blobs_present = work.present;
            // An import that ended between the target's record and its receipt left none.
            if !receipt::is_there(&self.directory, &report) {
                report.receipt = Some(self.write_receipt(&report)?);
            }
            return Ok(report);
        }
        if step == Step::PutBack
            && work.is_nothing()
            && sequences::is_there(&self.at, one.verified()).await?
            && (!self.options.read_back
                || sequences::arrives(&self.at, one.verified(), &self.options.progress).await?)
        {
            let mut report = summary(one.verified(), Outcome::Known);
            report.blobs_present = work.present;
            return Ok(report);
        }
        self.take_lease(known, lease).await?;
        let deleted = deleted::of(&known.remote.deleted, one.verified().head.stream);
        let unsigned = match step {
            Step::Accept => gone::told(one.verified(), deleted, &self.options.target.to_string()),
            _ => None,
        };
        let change = self.change(&one, known).await?;
        let lease = lease.as_ref().expect("taken just now");
        let (report, warnings) = tokio::select! {
            () = lease.lost.cancelled() => {
                lease.holder().await?;
                Err(ImportError::TakenOver { holder: "unknown".to_owned() })
            }
            done = self.carry_out(one, places, (work, damaged), (&record, change.as_ref()), known, lease) => done,
        }?;
        self.warnings.extend(warnings);
        if let Some(change) = change {
            self.names = Some(Ok(change.after));
        }
        self.warnings.extend(unsigned);
        Ok(report)
    }

    /// What a sequence changes of the names at the target; `None` where nothing is to be removed because of it.
    async fn change(
        &mut self,
        one: &Arranged,
        known: &Known,
    ) -> Result<Option<Change>, ImportError> {
        if self.options.skip_pruning || one.step != Step::Accept {
            return Ok(None);
        }
        let names = match self.names.take() {
            Some(names) => names,
            None => prune::read(&self.at, &known.remote, Back::Whole).await?,
        };
        match names {
            Ok(names) => Ok(Some(Change::of(&self.at, names, one.verified()))),
            Err(unknown) => {
                self.warnings.push(format!(
                    "nothing is removed from the target, as what stands there is not known: {unknown}; afterwards \
                     `bundle prune {}` removes what left the configuration",
                    self.options.target
                ));
                self.names = Some(Err(unknown));
                Ok(None)
            }
        }
    }

    /// Writes down what a dry run would have removed.
    fn pruning_plan(&self, sequences: &[ImportedSequence]) -> Result<Option<PathBuf>, ImportError> {
        let all: Vec<&Pruned> = sequences.iter().filter_map(|one| one.pruned.as_ref()).collect();
        if !self.options.dry_run || all.is_empty() {
            return Ok(None);
        }
        prune::write_plan(&self.options.workspace, &self.at, &all)
    }

    /// What is to be done for a sequence.
    async fn work(
        &self,
        one: &Arranged,
        places: &[Repository],
        known: &Known,
    ) -> Result<Work, ImportError> {
        let index = &one.verified().index;
        let at = &self.at;
        let promised = self.options.dry_run.then_some(&self.promised);
        let (blobs, present) = survey::blobs(at, places, index, promised).await?;
        let required = survey::required(at, places, index, promised).await?;
        let (manifests, tags) = match one.step {
            Step::Repair => (
                survey::manifests(at, places, index).await?,
                survey::tags(at, places, index, survey::all_tags(index)).await?,
            ),
            Step::PutBack => (survey::manifests(at, places, index).await?, Vec::new()),
            Step::Accept | Step::Past => (survey::all_manifests(index), survey::all_tags(index)),
        };
        let mut work = Work { blobs, required, manifests, tags, present };
        if one.step == Step::Repair {
            let stream = one.verified().head.stream;
            gone::leave_out(&mut work, one.verified(), deleted::of(&known.remote.deleted, stream));
        }
        Ok(work)
    }

    /// Takes the lease, once, and makes sure that nobody moved the target since it was asked.
    async fn take_lease(
        &self,
        known: &Known,
        lease: &mut Option<Lease>,
    ) -> Result<(), ImportError> {
        if lease.is_some() {
            return Ok(());
        }
        self.ready().await?;
        let taken = Lease::take(&self.at).await?;
        let now = ledger::read_remote(&self.at).await;
        match now {
            Ok(now)
                if now.records == known.remote.records && now.deleted == known.remote.deleted =>
            {
                *lease = Some(taken);
                Ok(())
            }
            Ok(_) => {
                taken.release().await;
                Err(ImportError::Busy { holder: "it has just ended".to_owned() })
            }
            Err(error) => {
                taken.release().await;
                Err(error)
            }
        }
    }

    /// The target as a person knows it.
    fn told_target(&self) -> String {
        self.options.told_as.clone().unwrap_or_else(|| self.options.target.to_string())
    }
}

/// The report of a sequence of which nothing was moved yet.
fn summary(verified: &Verified, outcome: Outcome) -> ImportedSequence {
    let Verified { head, index, .. } = verified;
    ImportedSequence {
        sequence: head.sequence,
        stream: head.stream,
        digest: verified.digest,
        kind: head.kind,
        outcome,
        signers: verified.signers.iter().map(ToString::to_string).collect(),
        references: index.references.len() as u64,
        removals: index.removals.len() as u64,
        blobs_pushed: 0,
        bytes_pushed: 0,
        blobs_mounted: 0,
        blobs_present: 0,
        manifests_put: 0,
        tags_put: 0,
        pruned: None,
        carried: (index.blobs.len() + index.manifests.len()) as u64,
        bytes: head.parts.iter().map(|part| part.bytes).sum(),
        parts: head.parts.len() as u64,
        receipt: None,
    }
}
