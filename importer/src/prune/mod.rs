//! What left the configuration, taken away from the target.
//!
//! 1. [`names`]: from the records of sequences, what stands and what was ever set; 2. [`look`]: what a repository has;
//!    3. [`plan`]: what can go, as a value; 4. [`remove`]: it goes, tags first.
//!
//! Blobs are left to the registry's garbage collection. A run that is stopped leaves what the next one finds again: all
//! of it follows from the records and from what is there.

mod command;
mod look;
mod names;
mod plan;
mod remove;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use format_spec::{Digest, Repository, Tag};
use registry::manifest::Manifest;
use registry::media_type::is_index;
use registry::reference::ManifestRef;
use serde_json::json;

use crate::cluster::records::{self, Back};
use crate::deleted::{self, Name};
use crate::durable;
use crate::error::ImportError;
use crate::ledger::{Record, Remote};
use crate::paths::Destination;
use crate::report::{Pruned, PrunedRepository};
use crate::verify::Verified;
pub use command::{PruneOptions, PruneReport, prune};
pub(crate) use look::{links, read_links};
pub(crate) use names::{Ever, Names, Standing};
pub(crate) use plan::{Asked, Links, subject_of};
use remove::Remover;

/// The names at a target, or why they cannot be known; then nothing is taken away.
pub(crate) type Known = Result<Names, String>;

/// Reads the names from the records at the target.
pub(crate) async fn read(
    at: &Destination,
    remote: &Remote,
    back: Back,
) -> Result<Known, ImportError> {
    read_streams(at, remote, &remote.records, back).await
}

/// The same of some streams.
pub(crate) async fn read_streams(
    at: &Destination,
    remote: &Remote,
    streams: &[Record],
    back: Back,
) -> Result<Known, ImportError> {
    let mut names = Names::default();
    for stands in streams {
        let read = async {
            let (stream, last) = (stands.stream, stands.last());
            let (known, holes) = records::sequences(at, remote, (stream, last), back).await?;
            let whole = known.iter().rev().find(|one| one.is_whole());
            let from = whole.map_or(0, |one| one.sequence.get());
            // What came before the last sequence that says everything is no news of what stands.
            if let Some(hole) = holes.iter().find(|(_, missing)| *missing.end() > from) {
                return Ok(Err(lost(hole)));
            }
            let deleted = deleted::of(&remote.deleted, stream);
            let mut read = follow(at, stands, (&known, deleted), names.clone()).await?;
            if back == Back::First {
                // What a rollback could not remove.
                let behind = records::behind(at, remote, stands).await?;
                read.recall(follow(at, stands, (&behind, &[]), Names::default()).await?);
            }
            Ok(Ok(read))
        };
        names = match read.await {
            Ok(Ok(names)) => names,
            Ok(Err(unknown)) => return Ok(Err(unknown)),
            Err(error @ ImportError::Record { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
    }
    Ok(Ok(names))
}

/// Records that are missing, in words.
pub(crate) fn lost(hole: &records::Hole) -> String {
    format!(
        "the target has no record of {}; `bundle import --put-back --from DIR` with its media puts it back",
        records::told(hole)
    )
}

/// Takes the sequences of one stream into the names, and what was deleted between them.
pub(crate) async fn follow(
    at: &Destination,
    stands: &Record,
    (sequences, deleted): (&[records::Known], &[Name]),
    names: Names,
) -> Result<Names, ImportError> {
    let follower = names.follow(at, stands.stream, stands.nested(at.nested));
    let (follower, _) = records::replay(at, stands.stream, sequences, deleted, follower).await?;
    Ok(follower.names)
}

/// What the import of a sequence changes.
pub(crate) struct Change {
    before: Standing,
    /// The names after it.
    pub(crate) after: Names,
    standing: Standing,
    /// Indexes that it brings, where they are not at the target yet.
    coming: HashMap<Digest, Links>,
    /// Tags that sequences set or take away that are only planned.
    settled: BTreeMap<Repository, BTreeSet<Tag>>,
}

impl Change {
    pub(crate) fn of(at: &Destination, names: Names, verified: &Verified) -> Self {
        let before = names.standing();
        let mut follower = names.follow(at, verified.head.stream, at.nested);
        records::pass(&verified.head, &verified.index, &mut follower);
        let after = follower.names;
        let standing = after.standing();
        Self { before, standing, after, coming: HashMap::new(), settled: BTreeMap::new() }
    }

    /// Only planned: what the sequence brings is on the medium, and its names stand for what they did.
    pub(crate) fn planned(&mut self, at: &Destination, verified: &Verified, planned: &Planned) {
        self.settled.clone_from(&planned.settled);
        self.coming.clone_from(&planned.coming);
        let index = &verified.index;
        for entry in &index.references {
            if let (Some(tag), Ok(place)) =
                (&entry.tag, at.place(index.repository(entry.repository)))
            {
                self.settled.entry(place).or_default().insert(tag.clone());
            }
        }
        for entry in index.manifests.iter().filter(|entry| is_index(&entry.media_type)) {
            let Ok(bytes) = verified.content.manifest(entry) else { continue };
            if let Ok(manifest) = Manifest::parse(&bytes, Some(&entry.media_type)) {
                self.coming.insert(entry.digest, look::links(&manifest));
            }
        }
    }

    /// What is asked of each repository out of which something went.
    fn asked(&self) -> BTreeMap<Repository, Asked> {
        let mut all = BTreeMap::new();
        let none = BTreeMap::new();
        for (place, before) in &self.before {
            let standing = self.standing.get(place).unwrap_or(&none);
            let mut asked = Asked::default();
            for (name, digests) in before {
                let now = standing.get(name);
                let old = digests.iter().filter(|one| now.is_none_or(|now| !now.contains(one)));
                asked.candidates.extend(old);
                if let (ManifestRef::Tag(tag), None) = (name, now) {
                    asked.gone.insert(tag.clone(), self.given(place, tag));
                }
            }
            if !asked.candidates.is_empty() || !asked.gone.is_empty() {
                asked.standing.clone_from(standing);
                asked.settled = self.settled.get(place).cloned().unwrap_or_default();
                all.insert(place.clone(), asked);
            }
        }
        all
    }

    fn given(&self, place: &Repository, tag: &Tag) -> BTreeSet<Digest> {
        let ever = self.after.ever.get(place);
        ever.and_then(|ever| ever.tags.get(tag)).cloned().unwrap_or_default()
    }
}

/// What a dry run would have taken away and set so far.
#[derive(Default)]
pub(crate) struct Planned {
    settled: BTreeMap<Repository, BTreeSet<Tag>>,
    coming: HashMap<Digest, Links>,
    manifests: BTreeMap<Repository, BTreeSet<Digest>>,
    /// The blobs that those name, with their sizes.
    pub(crate) blobs: HashMap<Digest, u64>,
}

impl Planned {
    /// Tags that are set before anything is removed.
    pub(crate) fn set(&mut self, place: &Repository, tag: Tag) {
        self.settled.entry(place.clone()).or_default().insert(tag);
    }

    /// Tags of a repository that will be others, or gone.
    pub(crate) fn settled(&self, place: &Repository) -> BTreeSet<Tag> {
        self.settled.get(place).cloned().unwrap_or_default()
    }
}

/// Takes away what is asked, or with `planned` only says what would go.
pub(crate) async fn run(
    at: &Destination,
    names: &Names,
    asked: BTreeMap<Repository, Asked>,
    coming: &HashMap<Digest, Links>,
    mut planned: Option<&mut Planned>,
) -> Result<(Pruned, Vec<String>), ImportError> {
    let (mut pruned, mut warnings) = (Pruned::default(), Vec::new());
    let mut remover = Remover::default();
    let none = Ever::default();
    for (place, mut asked) in asked {
        let ever = names.ever.get(&place).unwrap_or(&none);
        let found = match look::look(at, &place, ever, &mut asked, coming).await? {
            Ok(found) => found,
            Err(reason) => {
                warnings.push(format!("nothing is removed from `{}/{place}`: {reason}", at.host()));
                continue;
            }
        };
        let plan = plan::plan(&found, &asked);
        warnings.extend(plan.moved.iter().map(|tag| {
            format!(
                "`{}/{place}:{tag}` left the configuration and stands for an image that no import set there: it stays",
                at.host()
            )
        }));
        match &mut planned {
            None => remover.carry_out(at, &place, (&plan, &found), &mut pruned).await?,
            Some(planned) => {
                let mut would = PrunedRepository::new(&place);
                would.tags = plan.tags.keys().cloned().collect();
                let before = planned.manifests.entry(place.clone()).or_default();
                let new = plan.manifests.iter().filter(|one| before.insert(**one));
                would.manifests = new.copied().collect();
                let links = would.manifests.iter().filter_map(|one| found.links.get(one));
                planned.blobs.extend(links.flat_map(|links| links.blobs.iter().copied()));
                planned.settled.entry(place).or_default().extend(plan.tags.into_keys());
                pruned.add(would);
            }
        }
    }
    if !pruned.left.is_empty() {
        warnings.push(left_behind(at, &pruned));
    }
    Ok((pruned, warnings))
}

/// Takes away what a sequence took out of the configuration.
pub(crate) async fn after(
    at: &Destination,
    change: &Change,
    mut planned: Option<&mut Planned>,
) -> Result<(Pruned, Vec<String>), ImportError> {
    if let Some(planned) = &mut planned {
        planned.settled.clone_from(&change.settled);
        planned.coming.clone_from(&change.coming);
    }
    run(at, &change.after, change.asked(), &change.coming, planned).await
}

/// What stays behind, and what to do about it.
fn left_behind(at: &Destination, pruned: &Pruned) -> String {
    let first = &pruned.left[0];
    let more = match pruned.left.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(
        "`{}`{more} could not be removed: {}; once the registry deletes for this user (CNCF distribution: \
         `storage.delete.enabled`), `bundle prune {}` removes it",
        first.name, first.reason, at.target
    )
}

/// Writes what would be taken away into the workspace, in the form of oc-mirror v1 with the tags beside; nothing only in
/// the place of an earlier plan.
pub(crate) fn write_plan(
    workspace: &Path,
    at: &Destination,
    all: &[&Pruned],
) -> Result<Option<PathBuf>, ImportError> {
    let directory = workspace.join("dry-run");
    let path = directory.join("pruning-plan.json");
    if all.iter().all(|pruned| pruned.is_nothing()) && !path.exists() {
        return Ok(None);
    }
    let mut repositories: BTreeMap<&Repository, PrunedRepository> = BTreeMap::new();
    for one in all.iter().flat_map(|pruned| &pruned.repositories) {
        let entry =
            repositories.entry(&one.name).or_insert_with(|| PrunedRepository::new(&one.name));
        entry.tags.extend(one.tags.iter().cloned());
        entry.manifests.extend(&one.manifests);
    }
    let repositories: Vec<_> = repositories.into_values().collect();
    let plan = json!({ "registry": at.host().to_string(), "repositories": repositories });
    durable::directory(&directory)?;
    let mut bytes = serde_json::to_vec_pretty(&plan).expect("only text keys");
    bytes.push(b'\n');
    durable::write(&path, &bytes)?;
    Ok(Some(path))
}
