//! From catalogs to what is wished for: the images of the bundles that are taken.
//!
//! In: the entries of `mirror.operators`. Out: wishes for the images of all bundles that are taken, and for each catalog what it
//! needs, from which [`settle`](super::settle) goes on. What must hold: two images never get one name; a reference that is none
//! is told with its bundle and package; a catalog that fails stops no other content.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use format_spec::head::ContentClass;
use format_spec::limits::CATALOG_MAX;
use format_spec::{Repository, Tag};
use registry::client::ErrorKind as WireKind;
use registry::progress::Progress;
use registry::reference::Reference;
use serde_json::{Map, Value};

use super::error::CatalogError;
use super::fields::{self, FieldError};
use super::limits::{BAD_TOLD, IMAGES_MAX};
use super::model::Place;
use super::open::{self, Opened};
use super::select::{Picked, Selection, select};
use super::store::StoreError;
use super::template::{self, TemplateError};
use crate::config::{ImageSetConfig, ImageSource, OperatorCatalog, PlatformFilter};
use crate::destination::{self, Destination};
use crate::error::{CreateError, fit, reason};
use crate::layout::{Choice, LayoutImage};
use crate::origin::{Origins, Source};
use crate::policy;
use crate::release::carry::Missed;
use crate::resolve::Resolved;
use crate::wish::Wish;

/// What has to be known for that.
pub(crate) struct Asked<'a> {
    pub(crate) config: &'a ImageSetConfig,
    /// Where catalogs are kept that were read.
    pub(crate) workspace: &'a Path,
    pub(crate) max_nested_paths: usize,
    /// Whether catalogs are going to be rebuilt: then it counts what all their layers hold.
    pub(crate) rebuild: bool,
    pub(crate) progress: &'a Arc<Progress>,
}

/// What is carried of all catalogs.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    pub(super) catalogs: Vec<Chosen<'a>>,
    /// What could not be had before any image was asked for.
    failures: Vec<Missed>,
    /// Catalogs and images of bundles that the configuration blocks, and by which pattern.
    blocked: Vec<(String, String)>,
    warnings: Vec<String>,
}

/// One catalog, and what is taken of it.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    /// As the configuration calls it.
    pub(super) name: String,
    pub(super) source: Source<'a>,
    pub(super) opened: Arc<Opened>,
    pub(super) selection: Arc<Selection>,
    pub(super) repository: Repository,
    /// `None` is the digest that it will have.
    pub(super) tag: Option<Tag>,
    pub(super) template: Option<Map<String, Value>>,
    pub(super) packages: Vec<Needs>,
    /// Packages that are told to be left out, each once.
    pub(super) told: BTreeSet<String>,
    pub(super) standing: Standing,
}

/// How far a catalog has come.
#[derive(Debug)]
pub(super) enum Standing {
    /// Its image is not made yet.
    New,
    /// Its image is there, without these packages.
    Made(Destination, BTreeSet<String>),
    /// It is not carried.
    Given,
}

/// What a package needs.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) package: String,
    pub(super) images: Vec<Need>,
    /// The image of each of its bundles that is not blocked; where a bundle has none, the first that it needs.
    pub(super) bundles: Vec<Need>,
    /// References that are none.
    pub(super) bad: usize,
}

/// An image that a bundle needs.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// Its reference.
    pub(super) name: String,
    pub(super) destination: Destination,
    pub(super) bundle: Arc<str>,
}

/// Why a catalog is not carried.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("bundle `{bundle}` of package `{package}`: {error}")]
    Bundle { package: String, bundle: Arc<str>, error: FieldError },
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("it has no valid name at the target: {0}")]
    Name(String),
    #[error("what is taken of it needs more than {IMAGES_MAX} images")]
    TooManyImages,
    #[error(
        "what is to be stated of it, with the names of its packages, has {0} bytes, and at most {CATALOG_MAX} are read"
    )]
    TooMuchStated(usize),
}

impl CarryError {
    fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Catalog(error) => error.kind(),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Template(error) => Some(error.hint()),
            Self::TooManyImages | Self::TooMuchStated(_) => {
                Some("name the `packages` and versions that are needed".to_owned())
            }
            Self::Bundle { .. } | Self::Name(_) => None,
        }
    }
}

/// Opens all catalogs that the configuration asks for, and chooses. Gives the wishes for what bundles need.
pub(crate) async fn carry<'a>(
    asked: &Asked<'a>,
    origins: &Origins,
) -> Result<(Carried<'a>, Vec<Wish<'a>>), CreateError> {
    let mut carried = Carried::default();
    let mut wishes = Wishes::default();
    for entry in &asked.config.operators {
        let name = entry.catalog.to_string();
        if let Some(pattern) = asked.config.blocked_by(&name) {
            carried.blocked.push((name, pattern.pattern().to_owned()));
            continue;
        }
        asked.progress.phase("reading Operator catalogs");
        let failed = carried.failures.len();
        let mut done = carried.take(entry, asked, origins, &mut wishes).await;
        if let Err(CarryError::Store(error @ StoreError::Damaged(_))) = &done {
            // It is taken away now.
            carried.warnings.push(format!("{name}: {error}; it is read from its origin again"));
            carried.failures.truncate(failed);
            done = carried.take(entry, asked, origins, &mut wishes).await;
        }
        match done {
            Ok(()) => {}
            // A full disk here is no fault of the content: nothing may go without it.
            Err(CarryError::Catalog(CatalogError::Write(source))) => {
                return Err(CreateError::File {
                    doing: "keep the catalog in the workspace",
                    source,
                });
            }
            Err(error) => carried.fail(&name, &error),
        }
    }
    carried.blocked.extend(wishes.blocked);
    let told = wishes.twice.into_iter().map(|(first, second)| {
        format!(
            "`{first}` and `{second}` have an image in common, which is carried as that of `{first}` alone: for `{second}` a cluster \
             needs an entry of its own in the mirror configuration, where no other image of it is carried"
        )
    });
    carried.warnings.extend(told);
    Ok((carried, wishes.wishes.into_values().collect()))
}

/// A catalog and where it is.
async fn one<'a>(
    entry: &'a OperatorCatalog,
    asked: &Asked<'_>,
    origins: &Origins,
) -> Result<(Opened, Source<'a>), CarryError> {
    let source = Source::of(&entry.catalog);
    let (workspace, progress) = (asked.workspace, asked.progress);
    let mut opened = open::open(origins, &source, workspace, progress).await?;
    // By its digest from here on: its tag may move at any time.
    let source = match source {
        Source::Registry(reference) => Source::Registry(Cow::Owned(Reference {
            digest: Some(opened.digest),
            ..reference.into_owned()
        })),
        Source::Layout(image) => {
            let choice = Choice::Digest(opened.digest);
            Source::Layout(LayoutImage { choice, ..image })
        }
        other => other,
    };
    let is_whole = entry.full && entry.packages.is_empty();
    if asked.rebuild && !is_whole {
        opened.sort_layers(origins, &source, workspace, |_| true).await?;
    }
    Ok((opened, source))
}

/// What is wished for, by the names at the target.
#[derive(Default)]
struct Wishes<'a> {
    wishes: BTreeMap<Destination, Wish<'a>>,
    /// What is not, and the pattern that blocks it.
    blocked: BTreeMap<String, String>,
    /// Repositories that have an image in common, of which the first one's is carried.
    twice: BTreeSet<(String, String)>,
}

impl<'a> Wishes<'a> {
    /// Asks for an image of a bundle: its reference and its name at the target, or what is wrong with it. Nothing when it is
    /// blocked.
    fn ask(
        &mut self,
        image: &str,
        platforms: &'a [PlatformFilter],
        asked: &Asked<'a>,
    ) -> Result<Option<(String, Destination)>, String> {
        let (reference, to) = place_of(image, asked.max_nested_paths)?;
        let name = reference.to_string();
        if let Some(pattern) = asked.config.blocked_by(&name) {
            self.blocked.insert(name, pattern.pattern().to_owned());
            return Ok(None);
        }
        match self.add(&reference, &to, platforms) {
            Ok(()) => Ok(Some((name, to))),
            Err(other) => Err(format!(
                "it would get the name of `{other}` at the target, which is another image"
            )),
        }
    }

    /// Adds an image; the image that has its name at the target when that is another one.
    fn add(
        &mut self,
        image: &Reference,
        to: &Destination,
        platforms: &'a [PlatformFilter],
    ) -> Result<(), String> {
        use std::collections::btree_map::Entry;
        let wish = || Wish {
            name: image.to_string(),
            source: Source::Registry(Cow::Owned(image.clone())),
            class: ContentClass::Operator,
            platforms: Cow::Borrowed(platforms),
            repository: to.repository.clone(),
            tag: Some(to.tag.clone()),
        };
        match self.wishes.entry(to.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(wish());
                Ok(())
            }
            Entry::Occupied(mut entry) => {
                let there = entry.get_mut();
                let Source::Registry(other) = &there.source else { return Ok(()) };
                let same = match (other.digest, image.digest) {
                    (Some(other), Some(own)) => other == own,
                    _ => **other == *image,
                };
                if !same {
                    return Err(there.name.clone());
                }
                let place = |image: &Reference| format!("{}/{}", image.registry, image.repository);
                let (first, second) = (place(other), place(image));
                if first != second {
                    self.twice.insert((first, second));
                }
                // Of an image that several catalogs need, all platforms that one of them needs.
                there.also_for(platforms);
                Ok(())
            }
        }
    }
}

impl<'a> Carried<'a> {
    fn fail(&mut self, name: &str, error: &CarryError) {
        self.failures.push(Missed {
            name: name.to_owned(),
            kind: error.kind(),
            reason: reason(error),
            hints: policy::hint(error).or_else(|| error.hint()).into_iter().collect(),
        });
    }

    /// Opens a catalog, chooses, and wishes for what is chosen.
    async fn take(
        &mut self,
        entry: &'a OperatorCatalog,
        asked: &Asked<'a>,
        origins: &Origins,
        wishes: &mut Wishes<'a>,
    ) -> Result<(), CarryError> {
        let (opened, source) = one(entry, asked, origins).await?;
        let name = entry.catalog.to_string();
        let selection = match select(&opened.model, entry, asked.config.api_version) {
            Ok(selection) => selection,
            Err(faults) => {
                for fault in faults {
                    let at = fault.at.map(|at| format!("{}:{}: ", asked.config.file, at.line));
                    let hint = |hint: String| {
                        let of = format!("--catalog {name}");
                        let hint = hint.replace("--catalog CATALOG", &of);
                        let hint = hint
                            .replace("--package PACKAGE", &format!("--package {}", fault.package));
                        format!("package `{}`: {hint}", fault.package)
                    };
                    self.failures.push(Missed {
                        name: name.clone(),
                        kind: None,
                        reason: fit(&format!("{}{fault}", at.unwrap_or_default())),
                        hints: fault.hints().into_iter().map(hint).collect(),
                    });
                }
                return Ok(());
            }
        };
        let (repository, tag, template) =
            named(entry, &source, &selection, asked.max_nested_paths)?;
        let packages = self.needs(&name, entry, &opened, &selection, asked, wishes)?;
        let about = |text: &String| format!("{name}: {text}");
        self.warnings.extend(opened.warnings.iter().chain(&selection.warnings).map(about));
        let chosen = Chosen {
            name,
            source,
            opened: Arc::new(opened),
            selection: Arc::new(selection),
            repository,
            tag,
            template,
            packages,
            told: BTreeSet::new(),
            standing: Standing::New,
        };
        let stated = chosen.statement(&chosen.opened.digest, &BTreeSet::new()).len();
        if stated > CATALOG_MAX {
            return Err(CarryError::TooMuchStated(stated));
        }
        self.catalogs.push(chosen);
        Ok(())
    }

    /// The images of all bundles that are taken.
    fn needs(
        &mut self,
        name: &str,
        entry: &'a OperatorCatalog,
        opened: &Opened,
        selection: &Selection,
        asked: &Asked<'a>,
        wishes: &mut Wishes<'a>,
    ) -> Result<Vec<Needs>, CarryError> {
        let mut all = Vec::with_capacity(selection.packages.len());
        let (mut count, mut bad) = (0, 0_usize);
        for picked in &selection.packages {
            let package = picked.name.clone();
            let mut needs = Needs { package, images: Vec::new(), bundles: Vec::new(), bad: 0 };
            let mut seen: HashSet<Destination> = HashSet::new();
            for (bundle, place) in bundles(opened, picked) {
                let json = opened.store.object(place)?;
                let images = fields::images(&json).map_err(|error| CarryError::Bundle {
                    package: picked.name.clone(),
                    bundle: bundle.clone(),
                    error,
                })?;
                let own = Some(images.bundle).filter(|image| !image.is_empty());
                let related = images.related.into_iter().map(|(_, image)| image);
                for (at, image) in own.into_iter().chain(related).enumerate() {
                    match wishes.ask(&image, &entry.platforms, asked) {
                        Ok(None) => {}
                        Ok(Some((name, destination))) => {
                            let bundle = Arc::clone(&bundle);
                            let need = Need { name, destination, bundle };
                            if at == 0 {
                                needs.bundles.push(need.clone());
                            }
                            if seen.insert(need.destination.clone()) {
                                needs.images.push(need);
                                count += 1;
                            }
                        }
                        Err(problem) => {
                            needs.bad += 1;
                            bad += 1;
                            if bad > BAD_TOLD {
                                continue;
                            }
                            let told = format!(
                                "{problem}; needed by bundle `{bundle}` of package `{}` in {name}",
                                picked.name
                            );
                            self.failures.push(Missed {
                                name: fit(&image),
                                kind: None,
                                reason: fit(&told),
                                hints: Vec::new(),
                            });
                        }
                    }
                    if count > IMAGES_MAX {
                        return Err(CarryError::TooManyImages);
                    }
                }
            }
            all.push(needs);
        }
        if bad > BAD_TOLD {
            self.failures.push(Missed {
                name: name.to_owned(),
                kind: None,
                reason: format!("{} more images of its bundles cannot be had", bad - BAD_TOLD),
                hints: Vec::new(),
            });
        }
        Ok(all)
    }

    /// What the configuration blocks of them.
    pub(crate) fn blocked(&self) -> impl Iterator<Item = &String> {
        self.blocked.iter().map(|(name, _)| name)
    }

    /// Notes what could not be had so far, which is known before any image is asked for.
    pub(crate) fn note(&mut self, resolved: &mut Resolved) {
        for Missed { name, kind, reason, hints } in std::mem::take(&mut self.failures) {
            resolved.fail(&name, ContentClass::Operator, kind, reason);
            resolved.advise(&name, hints);
        }
        for blocked in std::mem::take(&mut self.blocked) {
            // It may be an additional image too.
            if !resolved.blocked.contains(&blocked) {
                resolved.blocked.push(blocked);
            }
        }
        resolved.warnings.append(&mut self.warnings);
    }
}

/// The bundles that are taken of a package, as they lie in the store.
fn bundles(opened: &Opened, picked: &Picked) -> Vec<(Arc<str>, Place)> {
    let Some(package) = opened.model.packages.get(&picked.name) else { return Vec::new() };
    let mut bundles: Vec<_> = (picked.bundles.iter())
        .filter_map(|name| Some((Arc::clone(name), package.bundles.get(name)?.object)))
        .collect();
    bundles.sort_unstable_by_key(|(_, place)| *place);
    bundles
}

/// An image of a bundle or chart, and its name at the target.
pub(crate) fn place_of(
    image: &str,
    max_nested_paths: usize,
) -> Result<(Reference, Destination), String> {
    let reference: Reference = image.parse().map_err(|error| format!("{error}"))?;
    if reference.tag.is_none() && reference.digest.is_none() {
        return Err("it has neither a tag nor a digest".to_owned());
    }
    let source = Source::Registry(Cow::Borrowed(&reference));
    let repository = destination::repository(None, &source, max_nested_paths)?;
    let tag = destination::tag(&source).map_err(|error| error.to_string())?;
    let tag = tag.ok_or("it has neither a tag nor a digest")?;
    Ok((reference, Destination { repository, tag }))
}

type Named = (Repository, Option<Tag>, Option<Map<String, Value>>);

/// What a catalog is called at the target, and what its CatalogSource begins with.
fn named(
    entry: &OperatorCatalog,
    source: &Source<'_>,
    selection: &Selection,
    max_nested_paths: usize,
) -> Result<Named, CarryError> {
    let wrong = CarryError::Name;
    let configured = match (&entry.target_catalog, &entry.target_name) {
        (Some(catalog), _) => Some(catalog.clone()),
        (None, Some(name)) => {
            // Its last component alone.
            let own = destination::repository(None, source, 0).map_err(wrong)?;
            let above = own.as_str().rsplit_once('/').map(|(above, _)| format!("{above}/"));
            let whole = format!("{}{name}", above.unwrap_or_default());
            Some(whole.parse().map_err(|error| wrong(format!("{error}")))?)
        }
        (None, None) => None,
    };
    let repository = destination::repository(configured.as_ref(), source, max_nested_paths);
    let tag = match (&entry.target_tag, &entry.catalog) {
        (Some(tag), _) => Some(tag.clone()),
        // What is rebuilt has another digest than the one that was named.
        (None, ImageSource::Registry(reference)) => match (&reference.tag, reference.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, Some(digest)) => selection.whole.then(|| destination::digest_tag(&digest)),
            (None, None) => Some("latest".parse().expect("a valid tag")),
        },
        (None, written @ ImageSource::OciLayout(_)) => match Source::of(written) {
            Source::Layout(LayoutImage { choice: Choice::Digest(_), .. }) if !selection.whole => {
                None
            }
            source => destination::tag(&source).map_err(|error| wrong(error.to_string()))?,
        },
    };
    let template = entry.catalog_source_template.as_deref().map(template::read).transpose()?;
    Ok((repository.map_err(wrong)?, tag, template))
}
