//! `bundle release mirror`: one release from where it is to where it is wanted, without media between them.
//!
//! 1. the release is found, proven and read ([`proven`](super::proven)); 2. `mapping` names its images at the other end;
//!    3. they are resolved as those of a create, with what is attached to them; 4. `copy` moves what is not there yet into each
//!    `place`, the name of the release last; 5. its signatures become a file for clusters.
//!
//! In: a release, a repository of a registry or of a directory. Out: all images of the release there. What must hold: the release
//! comes whole or its name does not appear; bytes and digests stay as they were.

mod copy;
mod mapping;
mod place;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use format_spec::head::{ContentClass, Failure};
use format_spec::names::NameError;
use format_spec::{Digest, Repository, Tag};
use registry::client::{Client, ErrorKind as WireKind};
use registry::lasting;
use registry::progress::Progress;
use registry::reference::RegistryHost;
use tokio_util::sync::CancellationToken;

pub use copy::Counts;
pub use place::PlaceError;
pub use registry::filing::FilingError;

use super::config_map;
use super::named::{Named, Release};
use super::proven::{Proven, ProvenError, Trust};
use crate::create::REQUESTS;
use crate::durable;
use crate::error::CreateError;
use crate::history::Known;
use crate::origin::{OriginError, Origins, Source};
use crate::policy::{Policy, Verdicts};
use crate::resolve::{self, Rules};
use crate::wish::Wish;
use copy::{Load, Move};
use mapping::Pair;
use place::Place;

/// A repository to mirror to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Of a registry.
    Registry(RegistryHost, Repository),
    /// Below a directory, as `oc image mirror` keeps it.
    Directory(PathBuf, Repository),
}

impl Destination {
    /// What people call it, without the directory.
    pub fn shown(&self) -> String {
        match self {
            Self::Registry(host, repository) => format!("{host}/{repository}"),
            Self::Directory(_, repository) => format!("file://{repository}"),
        }
    }

    fn place(&self, client: &Client) -> io::Result<Place> {
        Ok(match self {
            Self::Registry(host, repository) => {
                Place::registry(client.clone(), host.clone(), repository.clone())
            }
            Self::Directory(root, repository) => Place::directory(root, repository.clone())?,
        })
    }
}

/// What to mirror, and where to.
pub struct MirrorOptions {
    /// The release.
    pub from: Named,
    /// Where it goes.
    pub to: Destination,
    /// Where the release image goes, under which tag; `None` is with the others. `Some(None)` is nowhere.
    pub to_release: Option<Option<(Destination, Tag)>>,
    /// The directory for the file with its signatures.
    pub signatures_to: Option<PathBuf>,
    /// Leave signatures, attestations and referrers behind.
    pub remove_signatures: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Images looked up at a time.
    pub parallel_images: usize,
    /// Blobs moved at a time.
    pub parallel_blobs: usize,
    /// Whose signatures count.
    pub trust: Trust,
    /// By what images are judged.
    pub policy: Option<Arc<Policy>>,
    /// The way to the sources.
    pub client: Client,
    /// The way to the target.
    pub target: Client,
    /// What to tell while it runs.
    pub progress: Arc<Progress>,
    /// Ctrl-C.
    pub cancel: CancellationToken,
}

/// One image, and its name at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What it is in the release; `None` is the release image.
    pub component: Option<String>,
    /// Where it is, by digest.
    pub from: String,
    /// What it is called at the other end.
    pub to: String,
}

/// A repository that images come from, and where clusters find them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceMirrors {
    /// The repository, as releases name it.
    pub source: String,
    /// Those that have its images now.
    pub mirrors: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Mirrored {
    /// The release.
    pub release: Release,
    /// The name of the release image at the other end; `None` when it stays behind.
    pub update_image: Option<String>,
    /// Every image.
    pub mapping: Vec<Mapping>,
    /// What clusters have to be told.
    pub sources: Vec<SourceMirrors>,
    /// What was moved; nothing in a dry run.
    pub counts: Counts,
    /// The file with the signatures.
    pub signature_file: Option<PathBuf>,
    /// What the policy said of the images.
    pub policy: Option<Verdicts>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Why a release is not mirrored.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The release cannot be used.
    #[error("`{release}`: {source}")]
    Release {
        /// The release, as it was named.
        release: String,
        /// What is wrong.
        source: ProvenError,
    },
    /// A tag at the other end would not be one.
    #[error("its images have no valid names at the other end: {0}")]
    Name(#[from] NameError),
    /// Images cannot be had.
    #[error("the release is not mirrored: {} of its images could not be had: {}", .failures.len(), first(.failures))]
    Images {
        /// Which, and why.
        failures: Vec<Failure>,
        /// The kind of fault of the first.
        kind: Option<WireKind>,
        /// What can be done about some of them.
        hints: Vec<String>,
        /// Whether the release lies in a directory, and no registry was asked.
        on_shelf: bool,
    },
    /// An image could be looked up and then not be had.
    #[error("`{image}`: {source}")]
    Origin {
        /// The image.
        image: String,
        /// Why.
        source: OriginError,
    },
    /// Content did not get to the other end.
    #[error("{digest}: {source}")]
    Place {
        /// The blob or manifest.
        digest: Digest,
        /// Why.
        source: PlaceError,
    },
    /// Names at the other end.
    #[error(transparent)]
    Resolve(CreateError),
    /// A file cannot be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// The disk is too small.
    #[error("`{directory}` has {available} bytes free and {needed} are needed")]
    Space {
        /// The directory.
        directory: PathBuf,
        /// Bytes that are missing there.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Cancelled,
}

fn first(failures: &[Failure]) -> String {
    const SHOWN: usize = 5;
    let shown = failures.iter().take(SHOWN);
    let shown: Vec<_> = shown.map(|one| format!("`{}`: {}", one.reference, one.reason)).collect();
    let more = failures.len().saturating_sub(SHOWN);
    let and = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &and
}

impl MirrorError {
    /// The kind of fault, in the words of a registry.
    pub fn wire(&self) -> Option<WireKind> {
        match self {
            Self::Release { source, .. } => source.kind(),
            Self::Images { kind, .. } => *kind,
            Self::Origin { source, .. } => source.kind(),
            Self::Place { source: PlaceError::Wire(error), .. } => Some(error.kind()),
            Self::Place { source: PlaceError::Filing(FilingError::Damaged(_)), .. } => {
                Some(WireKind::Damaged)
            }
            _ => None,
        }
    }
}

/// Mirrors a release.
pub async fn mirror(options: MirrorOptions) -> Result<Mirrored, MirrorError> {
    let cancel = options.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(MirrorError::Cancelled),
        mirrored = run(&options) => mirrored,
    }
}

async fn run(options: &MirrorOptions) -> Result<Mirrored, MirrorError> {
    let origins = Origins::new(options.client.clone(), REQUESTS.max(options.parallel_images))
        .judged(options.policy.clone());
    options.progress.phase("reading the release");
    let (from, trust) = (&options.from, &options.trust);
    let proven = Proven::of(&origins, &options.client, &from.source, trust, false).await;
    let proven = proven.map_err(|source| {
        let release = from.name.clone();
        MirrorError::Release { release, source }
    })?;
    let mut pairs = mapping::pairs(from, &proven)?;
    if matches!(options.to_release, Some(None)) {
        pairs.remove(0);
    }
    let named = named(options, &pairs);
    let mut mirrored = Mirrored {
        release: from.told(&proven),
        update_image: named.first().filter(|one| one.component.is_none()).map(|one| one.to.clone()),
        sources: sources(options, &proven),
        mapping: named,
        counts: Counts::default(),
        signature_file: signature_file(options, &proven),
        policy: None,
        warnings: proven.payload.warnings.clone(),
    };
    if let Some(why) = &proven.unsigned {
        mirrored.warnings.push(format!("the release is mirrored without a valid signature: {why}"));
    }
    if options.dry_run {
        return Ok(mirrored);
    }
    let places = places(options).map_err(MirrorError::Write)?;
    options.progress.phase("looking at images");
    let loads = loads(options, &origins, pairs, &mut mirrored.warnings).await?;
    mirrored.policy = options.policy.as_ref().map(|policy| policy.verdicts());
    let (places, progress, parallel) = (&places[..], &options.progress, options.parallel_blobs);
    let work = Move { origins: &origins, places, progress, parallel, unlisted: AtomicU64::new(0) };
    mirrored.counts = work.all(&loads).await?;
    mirrored.warnings.extend(work.unlisted());
    if let Some(path) = &mirrored.signature_file {
        write_signatures(path, &proven).map_err(MirrorError::Write)?;
    }
    Ok(mirrored)
}

/// Where the release image goes when that is another place than that of the others.
fn of_release(options: &MirrorOptions) -> Option<&(Destination, Tag)> {
    options.to_release.as_ref().and_then(Option::as_ref)
}

fn places(options: &MirrorOptions) -> io::Result<Vec<Place>> {
    let mut places = vec![options.to.place(&options.target)?];
    if let Some((destination, _)) = of_release(options) {
        let place = destination.place(&options.target)?;
        if !place.is(&places[0]) {
            places.push(place);
        }
    }
    Ok(places)
}

/// The images with their names at the other end.
fn named(options: &MirrorOptions, pairs: &[Pair<'_>]) -> Vec<Mapping> {
    let name = |pair: &Pair<'_>| {
        let to = match (pair.component, of_release(options)) {
            (None, Some((destination, tag))) => format!("{}:{tag}", destination.shown()),
            _ => format!("{}:{}", options.to.shown(), pair.tag),
        };
        Mapping { component: pair.component.map(ToOwned::to_owned), from: pair.from.clone(), to }
    };
    pairs.iter().map(name).collect()
}

/// What clusters have to be told: which repositories have images of which others.
fn sources(options: &MirrorOptions, proven: &Proven) -> Vec<SourceMirrors> {
    let mut sources: Vec<SourceMirrors> = Vec::new();
    let mut add = |source: String, mirror: String| match sources
        .iter_mut()
        .find(|known| known.source == source)
    {
        Some(known) if !known.mirrors.contains(&mirror) => known.mirrors.push(mirror),
        Some(_) => {}
        None => sources.push(SourceMirrors { source, mirrors: vec![mirror] }),
    };
    if !matches!(options.to, Destination::Registry(..)) {
        return Vec::new();
    }
    for component in &proven.payload.references.components {
        add(component.image.name(), options.to.shown());
    }
    let release = match &options.to_release {
        Some(None) => None,
        Some(Some((destination, _))) => Some(destination),
        None => Some(&options.to),
    };
    if let (Some(image), Some(destination)) = (options.from.reference(proven), release)
        && matches!(destination, Destination::Registry(..))
    {
        add(image.name(), destination.shown());
    }
    sources.sort();
    sources
}

/// The images as they are at their sources, with what is attached to them.
async fn loads(
    options: &MirrorOptions,
    origins: &Origins,
    pairs: Vec<Pair<'_>>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Load>, MirrorError> {
    let repository = match &options.to {
        Destination::Registry(_, repository) | Destination::Directory(_, repository) => repository,
    };
    let elsewhere = of_release(options);
    let is_elsewhere = elsewhere.is_some_and(|(destination, _)| *destination != options.to);
    let has_release = pairs.first().is_some_and(|pair| pair.component.is_none());
    let wishes = pairs.into_iter().map(|pair| {
        let own = elsewhere.filter(|_| pair.component.is_none());
        Wish {
            name: pair.from,
            source: pair.source,
            class: ContentClass::Release,
            platforms: Cow::Borrowed(&[]),
            repository: repository.clone(),
            tag: Some(own.map_or(pair.tag, |(_, tag)| tag.clone())),
        }
    });
    let rules = Rules {
        remove_signatures: options.remove_signatures,
        foreign_layers: false,
        parallel: options.parallel_images,
    };
    let nothing = Known::default();
    let resolving = resolve::resolve_all(wishes.collect(), origins, &rules, &nothing);
    let resolved = resolving.await.map_err(MirrorError::Resolve)?;
    if !resolved.failures.is_empty() {
        let kind = resolved.causes.iter().copied().flatten().next();
        let on_shelf = matches!(options.from.source, Source::Shelf(..));
        let hints = resolved.advice();
        return Err(MirrorError::Images { failures: resolved.failures, kind, hints, on_shelf });
    }
    warnings.extend(resolved.warnings);
    let place = |at: usize| usize::from(at == 0 && has_release && is_elsewhere);
    let images = resolved.images.into_iter().enumerate();
    Ok(images.map(|(at, image)| Load { image, place: place(at) }).collect())
}

/// Where the signatures of the release go.
fn signature_file(options: &MirrorOptions, proven: &Proven) -> Option<PathBuf> {
    let directory = options.signatures_to.as_ref().filter(|_| !proven.proof.valid.is_empty())?;
    Some(directory.join(config_map::file_name(&proven.image.digest)))
}

fn write_signatures(path: &Path, proven: &Proven) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        lasting::make(directory)?;
    }
    let files = proven.proof.valid.iter().map(|(file, _)| &file[..]);
    durable::write(path, &config_map::write(&proven.image.digest, files))
}
