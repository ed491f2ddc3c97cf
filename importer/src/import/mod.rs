//! An import from the first look at the medium to the receipt.
//!
//! In: [`ImportOptions`]. Out: what was done, or a refusal before anything was written, or an error
//! after which the same command goes on.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use format_spec::{Digest, Repository, Tag};
use registry::client::Product;
use tokio::sync::Semaphore;

use crate::cluster::records::Back;
use crate::error::ImportError;
use crate::images::images_of;
use crate::intake::Media;
use crate::ledger::{self, Record, Remote};
use crate::limits::{MANIFEST_ROOM, READ_BACKS};
use crate::lock::{Lease, LocalLock, lock_local};
use crate::order::{self, Arranged, Step, arrange, restore};
use crate::paths::Destination;
use crate::prune::{self, Change, Planned};
use crate::push::{Counts, Push};
use crate::read_back::{self, Damaged};
use crate::readiness;
use crate::report::{Imported, ImportedSequence, Outcome, Pruned};
use crate::sparse::{self, Sparse};
use crate::subjects::Subjects;
use crate::survey::{self, Promised, Work};
use crate::uploads::Uploads;
use crate::verify::{self, Received, Verified, passed};
use crate::{ClusterResources, ImportOptions, cluster, durable, put_back, receipt, sequences};

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

/// What the media and the workspace say, before the target is asked.
struct Intake {
    media: Media,
    arrived: Vec<Verified>,
    /// Sequences before the record of this workspace; not looked at yet.
    past: Vec<Received>,
    /// What is put back needs no other parts than those that hold it.
    lacking: put_back::Lacking,
    local: Vec<Record>,
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

    /// Everything up to the first write.
    async fn prepare(&mut self) -> Result<Prepared, ImportError> {
        // The medium alone: nothing has been asked of the target yet.
        self.options.progress.phase("checking signatures");
        let Intake { media, mut arrived, past, lacking, local } = self.take_in().await?;
        self.lacking = lacking;
        self.wanted = self.written(arrived.iter())?;
        let lock = if self.options.dry_run { None } else { Some(self.lock()?) };

        self.options.progress.phase("asking the target");
        let remote = match ledger::read_remote(&self.at).await {
            Ok(remote) => remote,
            Err(error) => return Err(self.explained(error).await),
        };
        let (records, disagreements) = ledger::merge(&local, &remote.records)?;
        ledger::same_names(&records, arrived.iter().map(|one| one.head.stream), self.at.nested)?;
        if self.options.put_back {
            let (at, warnings) = (&self.at, &mut self.warnings);
            warnings.extend(disagreements);
            let had = put_back::had(at, arrived, &records, &remote, warnings).await?;
            self.wanted = self.written(had.iter())?;
            let arranged = order::put_back(had);
            return Ok(Prepared { arranged, known: Known { local, remote }, _lock: lock });
        }
        let new_stream = self.options.new_stream;
        let mut restored = None;
        if !disagreements.is_empty() {
            self.warnings.extend(disagreements);
            // The target lost what this workspace saw imported. When the media have all of it, it is
            // imported again; otherwise the newer record holds.
            let trusted = self.options.trusted.clone();
            let again = move || -> Result<Vec<Verified>, ImportError> {
                past.into_iter().map(|head| head.verify(&media, &trusted, true)).collect()
            };
            match tokio::task::spawn_blocking(again).await? {
                Ok(again) => arrived.extend(again),
                Err(error) => {
                    self.warnings.push(format!("an earlier sequence is no help: {error}"));
                }
            }
            restored = restore(&mut arrived, &remote.records, &local, new_stream);
        }
        let arranged = match restored {
            Some(restored) => restored,
            None => arrange(arrived, &records, new_stream)?,
        };
        self.check_times(&arranged)?;
        let todo = arranged.iter().filter(|one| one.step != Step::Past);
        self.wanted = self.written(todo.map(Arranged::verified))?;
        readiness::of_names(&self.at, self.at.client.product(self.at.host()).await?, &self.wanted)?;
        if let Err(error) = self.check_required(&arranged, &records).await {
            return Err(self.explained(error).await);
        }
        let arranged =
            if self.options.dry_run { arranged } else { self.find_sparse(arranged).await? };
        Ok(Prepared { arranged, known: Known { local, remote }, _lock: lock })
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

    /// Every repository into which these sequences write, and that of the records.
    fn written<'a>(
        &self,
        sequences: impl Iterator<Item = &'a Verified>,
    ) -> Result<Vec<Repository>, ImportError> {
        let mut wanted = vec![self.at.ledger.clone()];
        for verified in sequences {
            wanted.extend(self.at.written(&verified.index)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }

    /// A question that the target refused: where what is asked for has to be made there first, that is what to say.
    async fn explained(&self, error: ImportError) -> ImportError {
        use registry::client::ErrorKind::{Credentials, NotFound, Refused};
        let ImportError::Registry(refusal) = &error else { return error };
        if self.options.dry_run || !matches!(refusal.kind(), Credentials | NotFound | Refused) {
            return error;
        }
        match readiness::probe(&self.at, &self.wanted).await {
            Err(unready @ ImportError::Unready(_)) => unready,
            _ => error,
        }
    }

    /// Looks for indexes of which children are left out, in the sequences that are to come.
    async fn find_sparse(&mut self, arranged: Vec<Arranged>) -> Result<Vec<Arranged>, ImportError> {
        let at = self.at.clone();
        let look = move || {
            let mut to_come = arranged.iter().filter(|one| one.step == Step::Accept);
            let found = to_come.find_map(|one| sparse::find(one.verified(), &at).transpose());
            found.transpose().map(|found| (arranged, found))
        };
        let (arranged, found) = tokio::task::spawn_blocking(look).await??;
        self.sparse = found;
        Ok(arranged)
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

    /// Keeps other importers of this workspace out, and takes away what a killed one left half written.
    fn lock(&self) -> Result<LocalLock, ImportError> {
        let lock = lock_local(&self.directory)?;
        durable::sweep(&self.directory)?;
        durable::sweep(&receipt::directory(&self.directory))?;
        Ok(lock)
    }

    /// Reads the medium and proves everything but the cells.
    async fn take_in(&mut self) -> Result<Intake, ImportError> {
        let from = self.options.from.clone();
        let trusted = self.options.trusted.clone();
        let directory = self.directory.clone();
        let old = self.options.put_back;
        let read = move || {
            let media = Media::open(&from)?;
            let local = ledger::read_local(&directory)?;
            // What came before the record of this workspace needs no second look, unless there is
            // nothing else: then the order table shall say so.
            if old {
                let heads = verify::receive(&media)?;
                let (arrived, lacking) = put_back::examine(heads, &media, &trusted)?;
                return Ok(Intake { media, arrived, past: Vec::new(), lacking, local });
            }
            let before: HashSet<Digest> =
                local.iter().flat_map(|r| &r.tail).map(|link| link.digest).collect();
            let (mut past, mut heads): (Vec<_>, Vec<_>) = verify::receive(&media)?
                .into_iter()
                .partition(|head| before.contains(&head.digest));
            if heads.is_empty() {
                heads = std::mem::take(&mut past);
            }
            let mut arrived = Vec::with_capacity(heads.len());
            for head in heads {
                // The parts of a sequence that is at the target are not read unless it lost something.
                let there = local.iter().any(|record| record.digest == head.digest);
                arrived.push(head.verify(&media, &trusted, !there)?);
            }
            let lacking = put_back::Lacking::new();
            Ok::<_, ImportError>(Intake { media, arrived, past, lacking, local })
        };
        let mut intake = tokio::task::spawn_blocking(read).await??;
        self.warnings.append(&mut intake.media.warnings);
        Ok(intake)
    }

    /// Refuses what has expired by this machine's clock, and tells when a next sequence is overdue. A
    /// clock that stands before the sequence was written proves nothing and is only told (threat T15).
    fn check_times(&mut self, arranged: &[Arranged]) -> Result<(), ImportError> {
        for one in arranged.iter().filter(|one| one.step == Step::Accept) {
            one.verified().refuse_expired()?;
            let head = &one.verified().head;
            if !passed(&head.created) {
                self.warnings.push(format!(
                    "sequence {} was written at {}, which is still to come by the clock of this \
                     machine",
                    head.sequence, head.created
                ));
            }
        }
        let last = arranged.last().map(|one| &one.verified().head);
        if let Some((head, next)) = last.and_then(|head| Some((head, head.next_expected.as_ref()?)))
            && passed(next)
        {
            self.warnings.push(format!(
                "the sequence after {} was expected by {next}: ask the connected side for it",
                head.sequence
            ));
        }
        Ok(())
    }

    /// Refuses, before anything is written, when blobs of earlier sequences are missing.
    async fn check_required(
        &self,
        arranged: &[Arranged],
        records: &[Record],
    ) -> Result<(), ImportError> {
        let mut promised: HashSet<Digest> = HashSet::new();
        for one in arranged.iter().filter(|one| one.step != Step::Past) {
            let verified = one.verified();
            let index = &verified.index;
            let places = self.at.places(index)?;
            let missing = survey::missing(&self.at, &places, index, &promised).await?;
            if let Some(first) = missing.first() {
                let (content, index) = (Arc::clone(&verified.content), Arc::clone(index));
                let wanted = missing.clone();
                let name = move || images_of(&content, &index, &wanted);
                let images = tokio::task::spawn_blocking(name).await?;
                return Err(ImportError::RequiredMissing {
                    stands: records
                        .iter()
                        .find(|record| record.stream == verified.head.stream)
                        .map(|record| record.sequence),
                    sequence: verified.head.sequence,
                    missing: missing.len(),
                    first: *first,
                    images,
                });
            }
            promised.extend(index.blobs.iter().map(|blob| blob.digest));
            promised.extend(index.required.iter().map(|required| required.digest));
        }
        Ok(())
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
        let work = self.work(&one, &places);
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
            Record::new(&one.verified().head, one.verified().digest, self.at.nested, crate::now());
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
    async fn work(&self, one: &Arranged, places: &[Repository]) -> Result<Work, ImportError> {
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
        Ok(Work { blobs, required, manifests, tags, present })
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
            Ok(now) if now.records == known.remote.records => {
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

    /// Content, then tags, then the record, then the receipt.
    async fn carry_out(
        &self,
        one: Arranged,
        places: Vec<Repository>,
        (work, damaged): (Work, Damaged),
        (record, change): (&Record, Option<&Change>),
        known: &Known,
        lease: &Lease,
    ) -> Result<(ImportedSequence, Vec<String>), ImportError> {
        let (whole, by_digest) = (one.step == Step::Accept, one.step == Step::PutBack);
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
        if let Some((n, id)) = lost.first() {
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

    fn write_receipt(&self, report: &ImportedSequence) -> Result<PathBuf, ImportError> {
        receipt::write(&self.directory, &self.told_target(), &crate::now(), report)
    }

    /// The target as a person knows it.
    fn told_target(&self) -> String {
        self.options.told_as.clone().unwrap_or_else(|| self.options.target.to_string())
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
    fn remember(&self, record: &Record, known: &Known) -> Result<(), ImportError> {
        let has = |mine: &Record| mine.stream == record.stream && mine.sequence >= record.sequence;
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
