//! Which names stand at a target, for somebody who wants to choose some of them.
//!
//! In: a target. Out: every name that a sequence set and nothing took away, of every stream, with where it came from; what the
//! last sequences state of releases, catalogs, charts and the graph image, as far as it stands.

use std::collections::{BTreeMap, HashMap, HashSet};

use format_spec::head::{ContentClass, Kind};
use format_spec::index::{ReferenceEntry, Removal};
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};
use registry::client::Client;
use registry::reference::{ManifestRef, Reference, Target};

use crate::cluster::records::{self, Back, Follow};
use crate::cluster::{self, Stated};
use crate::error::ImportError;
use crate::ledger::{self, Remote};
use crate::paths::Destination;
use crate::{deleted, prune};

/// A name that stands at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingName {
    /// The name at the target, with its tag or, of what is attached to an image and has none, its digest.
    pub at: Reference,
    /// What it stands for.
    pub digest: Digest,
    /// Where it came from, as its sequence says.
    pub source: String,
    /// The class of content that it belongs to.
    pub class: ContentClass,
    pub(super) stream: StreamId,
    /// Where its stream stands.
    pub(super) last: Sequence,
    /// The repository as the sequences call it.
    pub repository: Repository,
}

impl StandingName {
    pub(super) fn name(&self) -> ManifestRef {
        match &self.at.tag {
            Some(tag) => ManifestRef::Tag(tag.clone()),
            None => ManifestRef::Digest(self.digest),
        }
    }
}

/// A release that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRelease {
    /// Its version.
    pub version: String,
    /// Its architecture, as the update service calls it.
    pub architecture: String,
    /// The channels that it was chosen from.
    pub channels: Vec<String>,
    /// Where its payload came from.
    pub source: String,
    /// The repository of its image, as the sequences call it.
    pub repository: Repository,
    /// Its tag, with which those of its components begin.
    pub tag: Tag,
}

/// A catalog, a chart or the graph image: something of which the sequences say what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingThing {
    /// The repository as the sequences call it.
    pub repository: Repository,
    /// Its tag.
    pub tag: Tag,
    /// A chart's name and version, as `name/version`; of a catalog where it came from.
    pub label: String,
}

/// What stands.
#[derive(Debug, Default)]
pub struct Standing {
    /// The names, ascending by where they stand.
    pub names: Vec<StandingName>,
    /// Releases.
    pub releases: Vec<StandingRelease>,
    /// Catalogs.
    pub catalogs: Vec<StandingThing>,
    /// Helm charts.
    pub charts: Vec<StandingThing>,
    /// The update graph.
    pub graph: Option<StandingThing>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Standing {
    /// The names under one tag of a repository, as the sequences call it.
    pub fn named<'a>(
        &'a self,
        repository: &'a Repository,
        tag: &'a Tag,
    ) -> impl Iterator<Item = &'a StandingName> {
        let is = move |one: &&StandingName| {
            one.repository == *repository && one.at.tag.as_ref() == Some(tag)
        };
        self.names.iter().filter(is)
    }

    /// The names of what a release consists of: its image, and the components, whose tags begin with its own.
    pub fn of_release<'a>(
        &'a self,
        release: &'a StandingRelease,
    ) -> impl Iterator<Item = &'a StandingName> {
        let components = release.tag.as_str();
        let is = move |one: &&StandingName| {
            let Some(tag) = &one.at.tag else { return false };
            let rest = tag.as_str().strip_prefix(components);
            (one.repository == release.repository && *tag == release.tag)
                || (one.class == ContentClass::Release
                    && rest.is_some_and(|rest| rest.starts_with('-')))
        };
        self.names.iter().filter(is)
    }
}

/// Reads what stands at a target. Errors: nothing was imported there, records are missing, a rollback has not ended.
pub async fn standing(
    client: Client,
    target: &Target,
    max_nested_paths: usize,
) -> Result<Standing, ImportError> {
    let at = Destination::new(client, target.clone(), max_nested_paths)?;
    let remote = remote(&at).await?;
    let (names, resources) = names(&at, &remote).await?;
    let mut standing = Standing { names, ..Standing::default() };
    let stated = Stated::of(&resources, &mut standing.warnings);
    let there: HashSet<(&Repository, &Tag)> = standing
        .names
        .iter()
        .filter_map(|one| Some((&one.repository, one.at.tag.as_ref()?)))
        .collect();
    let thing = |repository: &Repository, tag: &Tag, label: &str| {
        there.contains(&(repository, tag)).then(|| StandingThing {
            repository: repository.clone(),
            tag: tag.clone(),
            label: label.to_owned(),
        })
    };
    let releases = stated.releases.into_iter();
    let releases = releases.filter(|one| there.contains(&(&one.repository, &one.tag)));
    let releases = releases.map(|one| StandingRelease {
        version: one.version,
        architecture: one.architecture,
        channels: one.channels,
        source: one.source,
        repository: one.repository,
        tag: one.tag,
    });
    let offered: HashMap<String, String> = cluster::catalogs(&resources)
        .into_iter()
        .filter_map(|catalog| Some((catalog.name, catalog.source?)))
        .collect();
    let catalogs = stated.catalogs.keys().filter_map(|one| {
        let source = offered.get(&format!("{}:{}", one.repository, one.tag));
        thing(&one.repository, &one.tag, source.map_or("", String::as_str))
    });
    let charts = stated.charts.iter();
    let charts = charts.filter_map(|(label, one)| thing(&one.repository, &one.tag, label));
    let graph = stated.graph.as_ref().and_then(|one| thing(&one.repository, &one.tag, ""));
    let (releases, catalogs, charts) = (releases.collect(), catalogs.collect(), charts.collect());
    drop(there);
    (standing.releases, standing.catalogs, standing.charts) = (releases, catalogs, charts);
    standing.graph = graph;
    Ok(standing)
}

/// The records of a target to which something was imported, and which is in one state.
pub(super) async fn remote(at: &Destination) -> Result<Remote, ImportError> {
    let remote = ledger::read_remote(at).await?;
    if remote.records.is_empty() {
        return Err(ImportError::NothingImported(at.target.to_string()));
    }
    let streams = remote.records.iter().map(|record| record.stream);
    ledger::same_names(&remote.records, streams, at.nested)?;
    ledger::finished(at, &remote.records)?;
    Ok(remote)
}

/// The names of every stream, and what their last sequences state.
pub(super) async fn names(
    at: &Destination,
    remote: &Remote,
) -> Result<(Vec<StandingName>, Vec<format_spec::index::Resource>), ImportError> {
    let (mut names, mut resources) = (Vec::new(), Vec::new());
    for stands in &remote.records {
        let stream = stands.stream;
        let (known, holes) =
            records::sequences(at, remote, (stream, stands.last()), Back::Whole).await?;
        if let Some(hole) = holes.first() {
            let (target, reason) = (at.target.to_string(), prune::lost(hole));
            return Err(ImportError::Unknown { target, reason });
        }
        let deleted = deleted::of(&remote.deleted, stream);
        let (found, stated) =
            records::replay(at, stream, &known, deleted, Collected::default()).await?;
        resources.extend(stated);
        let below = at.nested(stands.nested(at.nested));
        for ((repository, name), (digest, source, class)) in found.0 {
            // Into one whose name is too long nothing was imported.
            let Ok(place) = below.place(&repository) else { continue };
            let (tag, plain) = match name {
                ManifestRef::Tag(tag) => (Some(tag), None),
                ManifestRef::Digest(digest) => (None, Some(digest)),
            };
            let registry = at.host().clone();
            let at = Reference { registry, repository: place, tag, digest: plain };
            let last = stands.sequence;
            names.push(StandingName { at, digest, source, class, stream, last, repository });
        }
    }
    names.sort_by(|one, other| key(one).cmp(&key(other)));
    Ok((names, resources))
}

fn key(one: &StandingName) -> (&Repository, ManifestRef, StreamId) {
    (&one.at.repository, one.name(), one.stream)
}

/// The names of one stream, while its sequences pass.
#[derive(Default)]
struct Collected(BTreeMap<(Repository, ManifestRef), (Digest, String, ContentClass)>);

impl Follow for Collected {
    fn begin(&mut self, kind: Kind, failed: bool) {
        if kind == Kind::Full && !failed {
            self.0.clear();
        }
    }

    fn carry(&mut self, _: &Repository, _: (Digest, bool)) {}

    fn set(&mut self, repository: &Repository, entry: ReferenceEntry) {
        let name = entry.tag.map_or(ManifestRef::Digest(entry.digest), ManifestRef::Tag);
        self.0.insert((repository.clone(), name), (entry.digest, entry.source, entry.class));
    }

    fn remove(&mut self, repository: &Repository, removal: Removal) {
        let name = removal.tag.map_or(ManifestRef::Digest(removal.digest), ManifestRef::Tag);
        self.0.remove(&(repository.clone(), name));
    }
}
