//! `bundle prune`: everything that imports brought to a target and that no longer stands.
//!
//! In: a target. Out: what was removed. What an import with `--skip-pruning` left, what a registry that did not delete kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use format_spec::Repository;
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::{ManifestRef, Target};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::names::Names;
use super::plan::Asked;
use super::{Planned, run, write_plan};
use crate::cluster::records::Back;
use crate::error::ImportError;
use crate::ledger;
use crate::lock::{Lease, lock_local};
use crate::paths::Destination;
use crate::report::Pruned;

/// What to prune.
pub struct PruneOptions {
    /// The target.
    pub target: Target,
    /// The workspace, whose record of the target is held against the target's.
    pub workspace: PathBuf,
    /// Only plan.
    pub dry_run: bool,
    /// Path components that the target allows; 0 for any number.
    pub max_nested_paths: usize,
    /// The client.
    pub client: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Stops it; the same command goes on.
    pub cancel: CancellationToken,
}

/// What was pruned.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// The target.
    pub target: String,
    /// Nothing was removed.
    pub dry_run: bool,
    /// What was removed, or would be.
    #[serde(flatten)]
    pub pruned: Pruned,
    /// The plan as a file, in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning_plan: Option<PathBuf>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Removes from a target everything that imports brought there and that no longer stands.
pub async fn prune(options: PruneOptions) -> Result<PruneReport, ImportError> {
    let nested = options.max_nested_paths;
    let at = Destination::new(options.client.clone(), options.target.clone(), nested)?;
    let directory = options.workspace.join("import").join(at.directory_name(None));
    let _lock = if options.dry_run { None } else { Some(lock_local(&directory)?) };
    let lease = if options.dry_run { None } else { Some(lease(&at, &options).await?) };
    let lost = lease.as_ref().map(|lease| lease.lost.clone()).unwrap_or_default();
    let done = tokio::select! {
        () = options.cancel.cancelled() => Err(ImportError::Cancelled),
        () = lost.cancelled() => Err(ImportError::TakenOver { holder: "unknown".to_owned() }),
        done = under_lease(&at, &directory, &options) => done,
    };
    if let Some(lease) = lease {
        lease.release().await;
    }
    done
}

/// Takes the lease where imports left a record: elsewhere nothing is to be done, and nothing is written.
async fn lease(at: &Destination, options: &PruneOptions) -> Result<Lease, ImportError> {
    if ledger::read_remote(at).await?.records.is_empty() {
        return Err(ImportError::NothingImported(options.target.to_string()));
    }
    Lease::take(at).await
}

async fn under_lease(
    at: &Destination,
    directory: &std::path::Path,
    options: &PruneOptions,
) -> Result<PruneReport, ImportError> {
    options.progress.phase("reading the records");
    let remote = ledger::read_remote(at).await?;
    if remote.records.is_empty() {
        return Err(ImportError::NothingImported(options.target.to_string()));
    }
    let streams = remote.records.iter().map(|record| record.stream);
    ledger::same_names(&remote.records, streams, at.nested)?;
    ledger::finished(at, &remote.records)?;
    // What a later sequence set must not go because the target forgot it.
    let (_, set_back) = ledger::merge(&ledger::read_local(directory)?, &remote.records)?;
    let known = match set_back.into_iter().next() {
        Some(set_back) => Err(set_back),
        None => super::read(at, &remote, Back::First).await?,
    };
    let names = known
        .map_err(|reason| ImportError::Unknown { target: options.target.to_string(), reason })?;
    options.progress.phase("looking at the repositories");
    let mut planned = Planned::default();
    let planning = options.dry_run.then_some(&mut planned);
    let (pruned, warnings) = run(at, &names, everything(&names), &HashMap::new(), planning).await?;
    let pruning_plan = match options.dry_run {
        true => write_plan(&options.workspace, at, &[&pruned])?,
        false => None,
    };
    let (target, dry_run) = (options.target.to_string(), options.dry_run);
    Ok(PruneReport { target, dry_run, pruned, pruning_plan, warnings })
}

/// What is asked of every repository into which sequences brought something.
fn everything(names: &Names) -> BTreeMap<Repository, Asked> {
    let standing = names.standing();
    let mut all = BTreeMap::new();
    for (place, ever) in &names.ever {
        let standing = standing.get(place).cloned().unwrap_or_default();
        let stands: BTreeSet<_> = standing.values().flatten().copied().collect();
        let candidates = ever.manifests.keys().filter(|one| !stands.contains(*one));
        let gone = ever
            .tags
            .iter()
            .filter(|(tag, _)| !standing.contains_key(&ManifestRef::Tag((*tag).clone())));
        let asked = Asked {
            candidates: candidates.copied().collect(),
            gone: gone.map(|(tag, given)| (tag.clone(), given.clone())).collect(),
            standing,
            settled: BTreeSet::new(),
        };
        if !asked.candidates.is_empty() || !asked.gone.is_empty() {
            all.insert(place.clone(), asked);
        }
    }
    all
}
