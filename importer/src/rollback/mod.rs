//! `bundle rollback`: a target is set back to what an earlier sequence left there.
//!
//! 1. [`state`]: from the records, which names stood then, and what came later; 2. [`presence`]: whether all of it is still
//!    there; 3. what is to be set and removed, as a value, which is all that a dry run does; 4. the record says that a
//!    rollback began; tags are set back; what came later is removed; the record says that it ended; the files for
//!    clusters are written.
//!
//! What must hold: nothing is begun unless all of it can be had from the target itself; between begin and end nothing
//! else is done to the target, and the same command finishes; no import can be the cause, nor undo it (`ledger`).

mod error;
mod presence;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::{Digest, Repository, Sequence, StreamId, Tag};
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::{ManifestRef, Target};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, ClusterResources};
use crate::error::ImportError;
use crate::ledger::{self, Record, Remote};
use crate::limits::{MANIFEST_PUTS, QUESTIONS, READ_BACKS};
use crate::lock::{Lease, lock_local};
use crate::paths::Destination;
use crate::prune::{self, Asked, Planned};
use crate::report::Pruned;
use crate::settled::settle;
use crate::survey::{answers, ask};
use crate::{deleted, durable, receipt};
pub use error::RollbackError;
pub use presence::Gone;
use state::State;

/// Where to.
pub struct RollbackOptions {
    /// The sequence whose state the target is set back to.
    pub to: Sequence,
    /// Its stream; none where the target follows one.
    pub stream: Option<StreamId>,
    /// The target.
    pub target: Target,
    /// The workspace, whose record of the target is held against the target's.
    pub workspace: PathBuf,
    /// Only plan.
    pub dry_run: bool,
    /// Set tags back, and remove nothing.
    pub skip_pruning: bool,
    /// Path components that the target allows; 0 for any number.
    pub max_nested_paths: usize,
    /// Where to write the files for clusters.
    pub resources: PathBuf,
    /// The client.
    pub client: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Stops it; the same command goes on.
    pub cancel: CancellationToken,
}

/// A tag that is set back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TagBack {
    /// `host/repository:tag`.
    pub name: String,
    /// What it stands for; none where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// What it stood for.
    pub to: Digest,
}

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackReport {
    /// The target.
    pub target: String,
    /// The stream.
    pub stream: StreamId,
    /// Where it stood.
    pub from: Sequence,
    /// Where it stands, or would.
    pub to: Sequence,
    /// Nothing was changed: it was only planned, or something is missing.
    pub dry_run: bool,
    /// Tags that are set back.
    pub tags_back: Vec<TagBack>,
    /// What is removed of what came later.
    pub removed: Pruned,
    /// Bytes of blobs that only what is removed names, as far as the names of this stream go.
    pub bytes_removed: u64,
    /// What the state needs and the target has no more.
    pub missing: Vec<Gone>,
    /// The sequences whose media bring that, ascending.
    pub media: Vec<Sequence>,
    /// Whether names come back that `bundle delete` took away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deletes_undone: bool,
    /// The files for clusters that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_resources: Option<ClusterResources>,
    /// The receipt that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<PathBuf>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl RollbackReport {
    /// Whether the target is what the sequence left already.
    pub fn is_nothing(&self) -> bool {
        self.from == self.to
            && self.tags_back.is_empty()
            && self.removed.is_nothing()
            && self.missing.is_empty()
            && !self.deletes_undone
    }
}

/// A tag and what it is to stand for.
type Move = (Repository, Tag, Digest);

/// Everything that is to be done, as a value.
struct Plan {
    stands: Record,
    state: State,
    moves: Vec<Move>,
    /// Whether the record is right as it is.
    settled: bool,
    report: RollbackReport,
}

/// Sets a target back.
pub async fn rollback(options: RollbackOptions) -> Result<RollbackReport, ImportError> {
    let nested = options.max_nested_paths;
    let at = Destination::new(options.client.clone(), options.target.clone(), nested)?;
    let directory = options.workspace.join("import").join(at.directory_name(None));
    let cancelled = async {
        options.cancel.cancelled().await;
        ImportError::Cancelled
    };
    if options.dry_run {
        return tokio::select! {
            cancelled = cancelled => Err(cancelled),
            planned = plan(&at, &directory, &options) => planned.map(|plan| plan.report),
        };
    }
    let _lock = lock_local(&directory)?;
    // A target without records is not written to.
    records(&at, &options).await?;
    let lease = Lease::take(&at).await?;
    let done = tokio::select! {
        cancelled = cancelled => Err(cancelled),
        () = lease.lost.cancelled() => Err(ImportError::TakenOver { holder: "unknown".to_owned() }),
        done = carry_out(&at, &directory, &lease, &options) => done,
    };
    lease.release().await;
    done
}

async fn records(at: &Destination, options: &RollbackOptions) -> Result<Remote, ImportError> {
    let remote = ledger::read_remote(at).await?;
    if remote.records.is_empty() {
        return Err(ImportError::NothingImported(options.target.to_string()));
    }
    Ok(remote)
}

/// Makes the plan.
async fn plan(
    at: &Destination,
    directory: &Path,
    options: &RollbackOptions,
) -> Result<Plan, ImportError> {
    options.progress.phase("reading the records");
    let remote = records(at, options).await?;
    let stands = of_stream(&remote, options)?;
    let stream = stands.stream;
    ledger::same_names(&remote.records, std::iter::once(stream), at.nested)?;
    let mine = ledger::read_local(directory)?.into_iter().find(|mine| mine.stream == stream);
    let mut warnings = Vec::new();
    // Here a person decides which of both holds; but not between two histories.
    if let Some(mine) = &mine
        && mine.decisions() == stands.decisions()
    {
        let (mine, theirs) = (std::slice::from_ref(mine), std::slice::from_ref(&stands));
        warnings.extend(ledger::merge(mine, theirs)?.1);
    }
    if options.to > stands.sequence {
        let (sequence, stands) = (options.to, stands.sequence);
        let target = options.target.to_string();
        return Err(RollbackError::Ahead { target, sequence, stands }.into());
    }
    let state = state::read(at, &remote, &stands, options.to).await?;

    options.progress.phase("looking for what it needs");
    let found = presence::look(at, &state, &stands).await?;
    let missing = presence::carriers(at, &state, &stands, found.missing).await?;
    let (moves, tags_back) = moves(at, &state, stream, &mut warnings).await?;
    let mut planned = Planned::default();
    for (place, tag, _) in &moves {
        planned.set(place, tag.clone());
    }
    let mut removed = Pruned::default();
    if missing.is_empty() && !options.skip_pruning {
        let asked = asked(&state, Some(&planned));
        let told;
        (removed, told) =
            prune::run(at, &state.names, asked, &HashMap::new(), Some(&mut planned)).await?;
        warnings.extend(told);
    }
    planned.blobs.retain(|blob, _| !found.blobs.contains(blob));
    let settled = stands.last() == state.last
        && state.deleted.is_none()
        && stands.unfinished().is_none()
        && mine.is_none_or(|mine| !mine.is_newer(&stands));
    let report = RollbackReport {
        target: options.target.to_string(),
        stream,
        from: stands.sequence,
        to: options.to,
        dry_run: true,
        tags_back,
        removed,
        bytes_removed: planned.blobs.values().sum(),
        media: presence::media(&missing),
        missing,
        deletes_undone: state.deleted.is_some(),
        cluster_resources: None,
        receipt: None,
        warnings,
    };
    Ok(Plan { stands, state, moves, settled, report })
}

/// The record of the stream that is meant.
fn of_stream(remote: &Remote, options: &RollbackOptions) -> Result<Record, ImportError> {
    let found = match (options.stream, remote.records.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(stream), records) => records.iter().find(|record| record.stream == stream),
    };
    found.cloned().ok_or_else(|| {
        let streams = remote.records.iter().map(|record| record.stream).collect();
        RollbackError::WhichStream { target: options.target.to_string(), streams }.into()
    })
}

/// The tags that stand for something else than in the state. One that another stream set since is left to it.
async fn moves(
    at: &Destination,
    state: &State,
    stream: StreamId,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Move>, Vec<TagBack>), ImportError> {
    let standing = state.names.standing();
    let tags = state.names.of(stream).filter_map(|(place, name, digest)| match name {
        ManifestRef::Tag(tag) => Some((place.clone(), tag.clone(), digest)),
        ManifestRef::Digest(_) => None,
    });
    let found = ask(tags.collect::<Vec<_>>(), QUESTIONS, |one| {
        Box::pin(async move {
            let (place, tag, _) = &one;
            Ok((stands_for(at, place, tag).await?, one))
        })
    });
    let mut found = found.await?;
    found.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
    let (mut moves, mut told) = (Vec::new(), Vec::new());
    for (from, (place, tag, to)) in found {
        if from == Some(to) {
            continue;
        }
        let name = format!("{}/{place}:{tag}", at.host());
        let given =
            standing.get(&place).and_then(|names| names.get(&ManifestRef::Tag(tag.clone())));
        if from.is_some_and(|from| given.is_some_and(|given| given.contains(&from))) {
            warnings.push(format!("`{name}` stays as it is: another stream set it too"));
            continue;
        }
        told.push(TagBack { name, from, to });
        moves.push((place, tag, to));
    }
    Ok((moves, told))
}

async fn stands_for(
    at: &Destination,
    place: &Repository,
    tag: &Tag,
) -> Result<Option<Digest>, ImportError> {
    let name = ManifestRef::Tag(tag.clone());
    let Some(head) = at.client.head_manifest(at.host(), place, &name).await? else {
        return Ok(None);
    };
    match head.digest {
        Some(digest) => Ok(Some(digest)),
        None => Ok(Some(at.client.get_manifest(at.host(), place, &name).await?.digest)),
    }
}

/// What is asked of each repository into which something came later: that it goes where it does not stand. What earlier
/// imports were told to keep stays.
fn asked(state: &State, planned: Option<&Planned>) -> BTreeMap<Repository, Asked> {
    let mut standing = state.names.standing();
    let mut all = BTreeMap::new();
    for (place, later) in &state.later {
        let standing = standing.remove(place).unwrap_or_default();
        let stands: BTreeSet<Digest> = standing.values().flatten().copied().collect();
        let ever = &state.names.ever[place];
        let gone = later.tags.keys().filter(|tag| {
            let name = ManifestRef::Tag((*tag).clone());
            !standing.contains_key(&name)
        });
        let asked = Asked {
            candidates: later
                .manifests
                .keys()
                .filter(|one| !stands.contains(*one))
                .copied()
                .collect(),
            gone: gone.map(|tag| (tag.clone(), ever.tags[tag].clone())).collect(),
            standing,
            settled: planned.map(|planned| planned.settled(place)).unwrap_or_default(),
        };
        if !asked.candidates.is_empty() || !asked.gone.is_empty() {
            all.insert(place.clone(), asked);
        }
    }
    all
}

/// Begin, tags, removals, end. Nothing of it when something is missing, or nothing is to be done.
async fn carry_out(
    at: &Destination,
    directory: &Path,
    lease: &Lease,
    options: &RollbackOptions,
) -> Result<RollbackReport, ImportError> {
    let Plan { stands, state, moves, settled, mut report } = plan(at, directory, options).await?;
    if !report.missing.is_empty() {
        return Ok(report);
    }
    report.dry_run = false;
    // Of a target that stands there already only the names are put right.
    let begun = match settled {
        true => None,
        false => {
            let mine = ledger::read_local(directory)?;
            let mine = mine.iter().find(|mine| mine.stream == stands.stream);
            let decisions = mine.map_or(0, Record::decisions);
            let begun = stands.begin(state.last, decisions, crate::now());
            ledger::write_remote(at, &begun).await?;
            Some(begun)
        }
    };
    options.progress.phase("setting tags back");
    lease.holder().await?;
    set(at, moves).await?;
    if !options.skip_pruning {
        options.progress.phase("removing what came later");
        lease.holder().await?;
        let (removed, told) =
            prune::run(at, &state.names, asked(&state, None), &HashMap::new(), None).await?;
        report.removed = removed;
        report.warnings.retain(|warning| !told.contains(warning));
        report.warnings.extend(told);
    }
    let record = match begun {
        Some(begun) => {
            lease.holder().await?;
            if let Some(deleted) = &state.deleted {
                deleted::write(at, deleted).await?;
            }
            let ended = begun.end(state.tail);
            ledger::write_remote(at, &ended).await?;
            ended
        }
        None => stands,
    };
    ledger::write_local(directory, &record)?;
    let written = cluster::after_import(at, &options.resources).await;
    let mut written = written.map_err(|error| ImportError::Resources(Box::new(error)))?;
    report.warnings.append(&mut written.warnings);
    report.cluster_resources = Some(written);
    report.receipt = Some(write_receipt(directory, record.decisions(), &report)?);
    Ok(report)
}

/// Sets tags, those of signatures first, so that no image is seen without its own; and reads them back.
async fn set(at: &Destination, moves: Vec<Move>) -> Result<(), ImportError> {
    let of_signature = |one: &Move| one.1.as_str().starts_with("sha256-");
    let mut lost = moves.clone();
    let (signatures, images): (Vec<Move>, Vec<Move>) = moves.into_iter().partition(of_signature);
    for group in [signatures, images] {
        ask(group, MANIFEST_PUTS, |(place, tag, digest)| {
            Box::pin(async move {
                let raw = at.client.get_manifest(at.host(), &place, &digest.into()).await?;
                let name = ManifestRef::Tag(tag);
                let (kind, bytes) = (&raw.media_type, raw.bytes);
                match at.client.put_manifest(at.host(), &place, &name, kind, bytes).await {
                    Ok(_) => Ok(()),
                    Err(error) => settle(at, &place, &name, digest, error).await,
                }
            })
        })
        .await?;
    }
    for pause in READ_BACKS {
        tokio::time::sleep(pause).await;
        let asked = ask(lost, QUESTIONS, |one| {
            Box::pin(async move {
                let (place, tag, digest) = &one;
                let there = answers(at, place, &ManifestRef::Tag(tag.clone()), *digest).await?;
                Ok((!there).then_some(one))
            })
        });
        lost = asked.await?.into_iter().flatten().collect();
        if lost.is_empty() {
            return Ok(());
        }
    }
    let (place, tag, _) = &lost[0];
    Err(ImportError::Lost(format!("{}/{place}:{tag}", at.host())))
}

/// Writes down what happened beside the receipts of imports.
fn write_receipt(
    directory: &Path,
    decisions: u64,
    report: &RollbackReport,
) -> Result<PathBuf, ImportError> {
    #[derive(Serialize)]
    struct Receipt<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        time: String,
        tool: &'static str,
        #[serde(flatten)]
        report: &'a RollbackReport,
    }
    let directory = receipt::directory(directory);
    durable::directory(&directory)?;
    let path = directory.join(format!("rollback{decisions}-to-seq{}.json", report.to));
    let kind = "application/vnd.bundle.rollback.v1+json";
    let receipt = Receipt { kind, time: crate::now(), tool: crate::TOOL, report };
    let mut bytes = serde_json::to_vec_pretty(&receipt).expect("only text keys");
    bytes.push(b'\n');
    durable::write(&path, &bytes)?;
    Ok(path)
}
