//! `bundle delete`: names that imports brought to a target, taken away because a person says so.
//!
//! 1. [`mod@standing`] says which names there are; 2. those that are asked for, with what is [`attached`] to them only; 3. the
//!    record says that they were deleted ([`crate::deleted`]); 4. what nothing else needs is removed, as `prune` does;
//!    5. the files for clusters are written.
//!
//! What must hold: nothing goes that no import brought, or that another name needs; a run that is stopped is finished by the
//! same command. A name comes back by a sequence that sets it again, or by a rollback to where the target stands.

mod attached;
mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::{Digest, Repository};
use registry::client::Client;
use registry::progress::Progress;
use registry::reference::{ManifestRef, Reference, Target};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cluster::records::Back;
use crate::cluster::{self, ClusterResources};
use crate::deleted::{self, Deleted, Name};
use crate::error::ImportError;
use crate::ledger::{self, Remote};
use crate::lock::{Lease, lock_local};
use crate::paths::Destination;
use crate::prune::{self, Asked, Names, Planned};
use crate::report::Pruned;
use crate::{durable, receipt};
pub use standing::{Standing, StandingName, StandingRelease, StandingThing, standing};

/// What to delete.
pub struct DeleteOptions {
    /// Names at the target, each with a tag or a digest. With both, the tag is only meant while it stands for the digest.
    pub names: Vec<Reference>,
    /// Also what is left of all that was deleted before. Who asks by what stands cannot ask for it by name again.
    pub finish: bool,
    /// The target.
    pub target: Target,
    /// The workspace, whose record of the target is held against the target's.
    pub workspace: PathBuf,
    /// Only plan.
    pub dry_run: bool,
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

/// A name that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedName {
    /// `host/repository:tag` or `host/repository@digest`.
    pub name: String,
    /// What it stood for.
    pub digest: Digest,
    /// Where it came from.
    pub source: String,
    /// Whether it goes because what it is attached to does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
}

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteReport {
    /// The target.
    pub target: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The names that were deleted.
    pub names: Vec<DeletedName>,
    /// Names that were deleted before, and stand no more; of all of them what is left goes now.
    pub gone_before: Vec<String>,
    /// Names that no import brought, or that stand for something else than was said: they stay.
    pub not_here: Vec<String>,
    /// What was removed.
    #[serde(flatten)]
    pub removed: Pruned,
    /// The files for clusters that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_resources: Option<ClusterResources>,
    /// The receipt that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<PathBuf>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl DeleteReport {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.names.is_empty() && self.removed.is_nothing()
    }
}

/// Everything that is to be done, as a value.
struct Plan {
    /// The records of streams that become others.
    records: Vec<Deleted>,
    /// The names that stand afterwards.
    names: Names,
    asked: BTreeMap<Repository, Asked>,
    report: DeleteReport,
}

/// Deletes names at a target.
pub async fn delete(options: DeleteOptions) -> Result<DeleteReport, ImportError> {
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
            planned = dry_run(&at, &directory, &options) => planned,
        };
    }
    let _lock = lock_local(&directory)?;
    // A target without records is not written to.
    standing::remote(&at).await?;
    let lease = Lease::take(&at).await?;
    let done = tokio::select! {
        cancelled = cancelled => Err(cancelled),
        () = lease.lost.cancelled() => Err(ImportError::TakenOver { holder: "unknown".to_owned() }),
        done = carry_out(&at, &directory, &lease, &options) => done,
    };
    lease.release().await;
    done
}

async fn dry_run(
    at: &Destination,
    directory: &Path,
    options: &DeleteOptions,
) -> Result<DeleteReport, ImportError> {
    let Plan { names, asked, mut report, .. } = plan(at, directory, options).await?;
    let planned = Some(&mut Planned::default());
    let (removed, warnings) = prune::run(at, &names, asked, &HashMap::new(), planned).await?;
    report.removed = removed;
    report.warnings.extend(warnings);
    Ok(report)
}

/// The record, then the removals, then the files for clusters.
async fn carry_out(
    at: &Destination,
    directory: &Path,
    lease: &Lease,
    options: &DeleteOptions,
) -> Result<DeleteReport, ImportError> {
    let Plan { records, names, asked, mut report } = plan(at, directory, options).await?;
    report.dry_run = false;
    options.progress.phase("writing down what is deleted");
    for record in &records {
        lease.holder().await?;
        deleted::write(at, record).await?;
    }
    options.progress.phase("removing");
    lease.holder().await?;
    let (removed, warnings) = prune::run(at, &names, asked, &HashMap::new(), None).await?;
    report.removed = removed;
    report.warnings.extend(warnings);
    if report.is_nothing() && report.gone_before.is_empty() {
        return Ok(report);
    }
    // Also where an earlier run was stopped just before this.
    let written = cluster::after_import(at, &options.resources).await;
    let mut written = written.map_err(|error| ImportError::Resources(Box::new(error)))?;
    report.warnings.append(&mut written.warnings);
    report.cluster_resources = Some(written);
    if !report.is_nothing() {
        report.receipt = Some(write_receipt(directory, &report)?);
    }
    Ok(report)
}

/// Makes the plan, but for what the repositories have.
async fn plan(
    at: &Destination,
    directory: &Path,
    options: &DeleteOptions,
) -> Result<Plan, ImportError> {
    options.progress.phase("reading the records");
    let remote = standing::remote(at).await?;
    let unknown = |reason: String| {
        let target = options.target.to_string();
        ImportError::Unknown { target, reason }
    };
    // What a later sequence set must not go because the target forgot it.
    let (_, set_back) = ledger::merge(&ledger::read_local(directory)?, &remote.records)?;
    if let Some(set_back) = set_back.into_iter().next() {
        return Err(unknown(set_back));
    }
    let mut names = prune::read(at, &remote, Back::First).await?.map_err(unknown)?;
    let (standing, _) = standing::names(at, &remote).await?;
    let before = before(at, &remote);
    let (mut wanted, mut gone_before, not_here) = sort(&options.names, &standing, &before);

    options.progress.phase("looking for what is attached to it");
    let (mut asked, mut going) = (BTreeMap::new(), BTreeMap::new());
    let all = names.standing();
    if options.finish {
        gone_before = gone(at, &before, &all);
        for place in before.keys() {
            wanted.entry(place.clone()).or_default();
        }
    }
    for (place, wanted) in wanted {
        let ever = names.ever.get(&place).cloned().unwrap_or_default();
        let nothing = BTreeMap::new();
        let here = all.get(&place).unwrap_or(&nothing);
        // What went before, and stands no more.
        let old = before.get(&place).into_iter().flatten();
        let old: Vec<_> = old.filter(|(name, _)| !here.contains_key(name)).collect();
        let digests = old.iter().map(|(_, digest)| *digest);
        let attached = attached::find(at, &place, (here, &wanted), digests.clone(), &ever).await?;
        let mut of_place = Asked { candidates: digests.collect(), ..Asked::default() };
        for name in wanted.iter().chain(attached.keys()) {
            names.forget(&place, name);
            of_place.candidates.extend(here.get(name).into_iter().flatten());
        }
        let tags = wanted.iter().chain(attached.keys()).chain(old.iter().map(|(name, _)| name));
        for name in tags {
            let ManifestRef::Tag(tag) = name else { continue };
            of_place.gone.insert(tag.clone(), ever.tags.get(tag).cloned().unwrap_or_default());
        }
        going.extend(wanted.into_iter().map(|name| ((place.clone(), name), None)));
        going.extend(attached.into_iter().map(|(name, to)| ((place.clone(), name), Some(to))));
        asked.insert(place, of_place);
    }
    let after = names.standing();
    for (place, of_place) in &mut asked {
        of_place.standing = after.get(place).cloned().unwrap_or_default();
    }
    let (mut told, mut more): (BTreeSet<DeletedName>, BTreeMap<_, Vec<Name>>) = Default::default();
    for one in standing {
        let Some(subject) = going.get(&(one.at.repository.clone(), one.name())) else { continue };
        let subject = *subject;
        let (digest, source) = (one.digest, one.source);
        let name = one.at.to_string();
        told.insert(DeletedName { name, digest, source, attached: subject.is_some() });
        let (after, repository, tag) = (one.last, one.repository, one.at.tag);
        more.entry(one.stream).or_default().push(Name { after, repository, tag, digest, subject });
    }
    let records = more.into_iter();
    let records =
        records.map(|(stream, more)| Deleted::with(remote.deleted.get(&stream), stream, more));
    let report = DeleteReport {
        target: options.target.to_string(),
        dry_run: true,
        names: told.into_iter().collect(),
        gone_before,
        not_here,
        removed: Pruned::default(),
        cluster_resources: None,
        receipt: None,
        warnings: Vec::new(),
    };
    Ok(Plan { records: records.collect(), names, asked, report })
}

/// Names that were deleted before, by repository of the target.
type Before = BTreeMap<Repository, BTreeSet<(ManifestRef, Digest)>>;

fn before(at: &Destination, remote: &Remote) -> Before {
    let mut before = Before::new();
    for stands in &remote.records {
        let below = at.nested(stands.nested(at.nested));
        for name in deleted::of(&remote.deleted, stands.stream) {
            if let Ok(place) = below.place(&name.repository) {
                before.entry(place).or_default().insert((name.name(), name.digest));
            }
        }
    }
    before
}

/// Those of them that stand no more.
fn gone(at: &Destination, before: &Before, standing: &prune::Standing) -> Vec<String> {
    let all = before.iter().flat_map(|(place, names)| names.iter().map(move |one| (place, one)));
    let gone = all.filter(|(place, (name, _))| {
        standing.get(place).is_none_or(|here| !here.contains_key(name))
    });
    let told = gone.map(|(place, (name, _))| match name {
        ManifestRef::Tag(tag) => format!("{}/{place}:{tag}", at.host()),
        ManifestRef::Digest(digest) => format!("{}/{place}@{digest}", at.host()),
    });
    told.collect()
}

/// What is asked for, by repository: names that stand; names that were deleted before, of which something may be left;
/// and those of which nothing is known.
fn sort(
    asked: &[Reference],
    standing: &[StandingName],
    before: &Before,
) -> (BTreeMap<Repository, BTreeSet<ManifestRef>>, Vec<String>, Vec<String>) {
    let mut here: HashMap<&Repository, Vec<&StandingName>> = HashMap::new();
    for one in standing {
        here.entry(&one.at.repository).or_default().push(one);
    }
    let mut wanted: BTreeMap<Repository, BTreeSet<ManifestRef>> = BTreeMap::new();
    let (mut gone, mut not_here) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for one in asked {
        if !seen.insert(one) {
            continue;
        }
        let is = |name: &ManifestRef, digest: Digest| {
            one.digest.is_none_or(|said| said == digest)
                && one.tag.as_ref().is_none_or(|tag| *name == ManifestRef::Tag(tag.clone()))
        };
        let found = here.get(&one.repository).into_iter().flatten();
        let found: Vec<ManifestRef> = found
            .filter(|there| is(&there.name(), there.digest))
            .map(|there| there.name())
            .collect();
        let went = before.get(&one.repository).into_iter().flatten();
        let went = went.filter(|(name, digest)| is(name, *digest)).count();
        let of_place = match (found.is_empty(), went) {
            (true, 0) => {
                not_here.push(one.to_string());
                continue;
            }
            (true, _) => {
                gone.push(one.to_string());
                wanted.entry(one.repository.clone()).or_default()
            }
            (false, _) => wanted.entry(one.repository.clone()).or_default(),
        };
        of_place.extend(found);
    }
    (wanted, gone, not_here)
}

/// Writes down what happened beside the receipts of imports.
fn write_receipt(directory: &Path, report: &DeleteReport) -> Result<PathBuf, ImportError> {
    #[derive(Serialize)]
    struct Receipt<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        time: &'a str,
        tool: &'static str,
        #[serde(flatten)]
        report: &'a DeleteReport,
    }
    let directory = receipt::directory(directory);
    durable::directory(&directory)?;
    let (kind, time) = ("application/vnd.bundle.delete.v1+json", crate::now());
    let receipt = Receipt { kind, time: &time, tool: crate::TOOL, report };
    let mut bytes = serde_json::to_vec_pretty(&receipt).expect("only text keys");
    bytes.push(b'\n');
    let path = directory.join(format!("delete-{}.json", Digest::of(&bytes).short()));
    durable::write(&path, &bytes)?;
    Ok(path)
}
