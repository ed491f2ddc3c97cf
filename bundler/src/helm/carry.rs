//! From charts to what is wished for: the charts themselves, and the images that they need.
//!
//! In: `mirror.helm`. Out: wishes for images, charts as images of their own, what the other side is told of them. What must
//! hold: a chart that fails stops no other content; two charts never get one name; each image says which chart needs it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use format_spec::Digest;
use format_spec::head::ContentClass;
use format_spec::index::Resource;
use futures_util::StreamExt as _;
use registry::client::ErrorKind as WireKind;
use registry::reference::Reference;
use serde_json::json;

use super::HelmOptions;
use super::artifact;
use super::asked::{Asked, Job, Jobs, Place};
use super::chart::{Chart, ChartError};
use super::images::{Found, Images, Skipped};
use super::limits::AT_ONCE;
use super::local::{self, LocalError, Packed};
use super::oci::{self, OciError};
use super::paths::JsonPath;
use super::render::{self, RenderError};
use super::repository::{self, RepositoryError};
use super::versions::bare;
use crate::catalog::carry::place_of;
use crate::config::PlatformFilter;
use crate::destination::{Destination, nest};
use crate::error::{CreateError, fit, reason};
use crate::history::Known;
use crate::origin::{Origin, Origins, Source};
use crate::policy;
use crate::release::carry::Missed;
use crate::report;
use crate::resolve::{self, Resolved, Rules};
use crate::wish::Wish;

/// The first part of the names of their resources (SPEC 5.4).
pub(super) const KIND: &str = "chart/";

/// Where charts that come from no registry are at the target.
const BELOW: &str = "charts";

/// Charts that one warning names.
const NAMED: usize = 10;

/// What is carried of all charts.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    charts: Vec<Taken>,
    failures: Vec<Missed>,
    blocked: Vec<(String, String)>,
    warnings: Vec<String>,
    /// The places of the charts, by name and version and by their names at the target.
    names: HashMap<String, usize>,
    /// The charts that need an image, by its reference.
    users: HashMap<String, String>,
}

/// A chart that is carried.
#[derive(Debug)]
struct Taken {
    name: String,
    version: String,
    /// Where it comes from, for people.
    from: String,
    source: Source<'static>,
    destination: Destination,
    archive: (Digest, u64),
    how: Option<&'static str>,
    images: Vec<Found>,
    skipped: Vec<Skipped>,
}

/// Why a chart is not carried.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("cannot keep the chart in the workspace")]
    Write(#[source] std::io::Error),
    #[error("{0}")]
    Said(String),
}

impl CarryError {
    fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Oci(error) => error.kind(),
            _ => None,
        }
    }
}

/// Finds all charts that the configuration asks for, reads them and finds their images. Gives the wishes for these.
pub(crate) async fn carry<'a>(
    asked: &Asked<'a>,
    origins: &Origins,
    others: &[Wish<'a>],
) -> Result<(Carried, Vec<Wish<'a>>), CreateError> {
    let Jobs { jobs, failures } = Jobs::all(asked).await;
    let mut carried = Carried { failures, ..Carried::default() };
    carried.tell_idle_options(asked.options, &jobs);
    let mut wishes = Wishes::of(others);
    let mut reading = futures_util::stream::iter(jobs)
        .map(|job| async move {
            let done = one(&job, asked, origins).await;
            (job, done)
        })
        .buffered(AT_ONCE);
    let mut unrendered = Vec::new();
    while let Some((job, done)) = reading.next().await {
        match done {
            Ok((taken, warnings)) => {
                let name = format!("{} {}", taken.name, taken.version);
                let about = |text: String| format!("chart {name}: {text}");
                carried.warnings.extend(warnings.into_iter().map(about));
                if taken.how.is_none() {
                    unrendered.push(format!("`{name}`"));
                }
                carried.take(taken, &job, asked, &mut wishes);
            }
            // A full disk here is no fault of the content.
            Err(CarryError::Write(source)) => {
                return Err(CreateError::File { doing: "keep the chart in the workspace", source });
            }
            Err(error) => {
                let hint = match &error {
                    CarryError::Render(error) => error.hint(&job.called),
                    error => policy::hint(error),
                };
                let at = format!("{}:{}: ", asked.config.file, job.line);
                let text = fit(&format!("{at}{}", reason(&error)));
                carried.fail(&job.from, error.kind(), text, hint);
            }
        }
    }
    carried.tell_unrendered(&unrendered);
    Ok((carried, wishes.own))
}

/// Notes what could not be had.
pub(super) fn tell(failures: Vec<Missed>, resolved: &mut Resolved) {
    for Missed { name, kind, reason, hints } in failures {
        resolved.fail(&name, ContentClass::Helm, kind, reason);
        resolved.advise(&name, hints);
    }
}

impl Carried {
    fn fail(&mut self, name: &str, kind: Option<WireKind>, reason: String, hint: Option<String>) {
        let hints = hint.into_iter().collect();
        self.failures.push(Missed { name: name.to_owned(), kind, reason, hints });
    }

    /// Says of options that they are for no chart.
    fn tell_idle_options(&mut self, options: &HelmOptions, jobs: &[Job<'_>]) {
        let names = (options.values.iter().map(|(chart, _)| ("--helm-values", chart)))
            .chain(options.sets.iter().map(|(chart, _)| ("--helm-set", chart)));
        for (option, chart) in names {
            if !jobs.iter().any(|job| job.called == *chart) {
                self.warnings.push(format!(
                    "`{option} {chart}=…` is for no chart: the configuration asks for none that it calls `{chart}`"
                ));
            }
        }
    }

    /// Says of which charts not all images may be known, and how they get known.
    fn tell_unrendered(&mut self, charts: &[String]) {
        if charts.is_empty() {
            return;
        }
        let named = charts.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = match charts.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.warnings.push(format!(
            "there is no `helm` here: of {named}{more} only the images are carried that annotations list, and `imagePaths` are not \
             looked at; to find all, put `helm` on the PATH or name it with `--helm FILE`; `--helm-scan` guesses from the default values"
        ));
    }

    /// Takes a chart and wishes for its images.
    fn take<'a>(
        &mut self,
        taken: Taken,
        job: &Job<'a>,
        asked: &Asked<'a>,
        wishes: &mut Wishes<'a>,
    ) {
        if let Source::Registry(reference) = &taken.source
            && let Some(pattern) = asked.config.blocked_by(&reference.to_string())
        {
            self.blocked.push((job.from.clone(), pattern.pattern().to_owned()));
            return;
        }
        let names = [
            format!("{} {}", taken.name, taken.version),
            format!("{}:{}", taken.destination.repository, taken.destination.tag),
        ];
        if let Some(other) = names.iter().find_map(|name| self.names.get(name)) {
            let other = &self.charts[*other];
            // One that is there twice, as in two repositories, is carried once.
            if other.archive != taken.archive {
                let text = format!(
                    "{}:{}: it is called {} {} as another chart is, from {}",
                    asked.config.file, job.line, taken.name, taken.version, other.from
                );
                self.fail(&job.from, None, fit(&text), None);
            }
            return;
        }
        for Found { image, found } in &taken.images {
            let user = format!("needed by chart {} {}", taken.name, taken.version);
            let user = found.first().map_or(user.clone(), |at| format!("{user}: {at}"));
            match wishes.ask(image, job.platforms, asked.max_nested_paths) {
                Ok(()) => {
                    self.users.entry(image.clone()).or_insert(user);
                }
                Err(problem) => self.fail(image, None, fit(&format!("{problem}; {user}")), None),
            }
        }
        self.names.extend(names.map(|name| (name, self.charts.len())));
        self.charts.push(taken);
    }

    /// Notes what could not be had, and resolves the charts themselves: no pattern for images is meant for the places where
    /// they were made.
    pub(crate) async fn note(
        &mut self,
        resolved: &mut Resolved,
        origins: &Origins,
        rules: &Rules,
        known: &Known,
    ) -> Result<(), CreateError> {
        tell(std::mem::take(&mut self.failures), resolved);
        resolved.blocked.append(&mut self.blocked);
        resolved.warnings.append(&mut self.warnings);
        if self.charts.is_empty() {
            return Ok(());
        }
        let there: BTreeSet<&Destination> =
            resolved.images.iter().map(|image| &image.destination).collect();
        let (free, occupied): (Vec<Taken>, Vec<Taken>) =
            (self.charts.drain(..)).partition(|chart| !there.contains(&chart.destination));
        self.charts = free;
        for chart in occupied {
            let Destination { repository, tag } = &chart.destination;
            let text =
                format!("it would be `{repository}:{tag}` at the target, which another image is");
            resolved.fail(&chart.from, ContentClass::Helm, None, fit(&text));
        }
        let wishes = self.charts.iter().map(|chart| Wish {
            name: chart.source_name(),
            source: chart.source.clone(),
            class: ContentClass::Helm,
            platforms: Cow::Borrowed(&[]),
            repository: chart.destination.repository.clone(),
            tag: Some(chart.destination.tag.clone()),
        });
        let mut found = resolve::resolve_all(wishes.collect(), origins, rules, known).await?;
        resolved.images.append(&mut found.images);
        resolved.told_too(found);
        resolve::settle(resolved, origins).await;
        Ok(())
    }

    /// Says which charts there are. Done again whenever images were dropped.
    pub(crate) fn settle(&self, resolved: &mut Resolved) {
        for failure in &mut resolved.failures {
            if failure.class == ContentClass::Helm
                && let Some(user) = self.users.get(&failure.reference)
                && !failure.reason.contains("needed by chart")
            {
                failure.reason = fit(&format!("{}; {user}", failure.reason));
            }
        }
        resolved.resources.retain(|resource| !resource.name.starts_with(KIND));
        resolved.charts.clear();
        let digests: HashMap<&Destination, Digest> = (resolved.images.iter())
            .filter_map(|image| Some((&image.destination, image.names.first()?.digest)))
            .collect();
        let there = |chart: &&Taken| digests.contains_key(&chart.destination);
        let (mut resources, mut charts) = (Vec::new(), Vec::new());
        for chart in self.charts.iter().filter(there) {
            let digest = digests[&chart.destination];
            resources.push(chart.resource(&digest));
            charts.push(report::Chart {
                chart: chart.name.clone(),
                version: chart.version.clone(),
                from: chart.from.clone(),
                name: format!("{}:{}", chart.destination.repository, chart.destination.tag),
                digest,
                found_by: chart.how.unwrap_or("annotations"),
                images: chart.images.clone(),
                skipped: chart.skipped.clone(),
            });
        }
        drop(digests);
        resolved.resources.append(&mut resources);
        resolved.charts = charts;
    }
}

impl Taken {
    /// How the index names where it comes from.
    fn source_name(&self) -> String {
        match &self.source {
            Source::Registry(reference) => {
                Reference { digest: None, ..reference.clone().into_owned() }.to_string()
            }
            Source::Layout(image) | Source::Made { image, .. } => {
                format!("oci://{}", image.path.display())
            }
            _ => self.from.clone(),
        }
    }

    fn resource(&self, digest: &Digest) -> Resource {
        let (archive, size) = &self.archive;
        let content = json!({
            "name": self.name,
            "version": self.version,
            "repository": self.destination.repository,
            "tag": self.destination.tag,
            "digest": digest.to_string(),
            "archive": { "digest": archive.to_string(), "size": size },
        });
        let name = format!("{KIND}{}/{}", self.name, self.version);
        Resource { name, content: content.to_string().into_bytes() }
    }
}

/// What is wished for of images, by their names at the target.
struct Wishes<'a> {
    own: Vec<Wish<'a>>,
    /// Which image has a name, and its place in `own` when it is one of these.
    names: BTreeMap<Destination, (String, Option<usize>)>,
}

impl<'a> Wishes<'a> {
    fn of(others: &[Wish<'a>]) -> Self {
        let named = others.iter().filter_map(|wish| {
            let tag = wish.tag.clone()?;
            let destination = Destination { repository: wish.repository.clone(), tag };
            Some((destination, (wish.name.clone(), None)))
        });
        Self { own: Vec::new(), names: named.collect() }
    }

    fn ask(
        &mut self,
        image: &str,
        platforms: &'a [PlatformFilter],
        max_nested_paths: usize,
    ) -> Result<(), String> {
        let (reference, to) = place_of(image, max_nested_paths)?;
        let name = reference.to_string();
        match self.names.get(&to) {
            Some((other, _)) if *other != name => {
                return Err(format!(
                    "it would get the name of `{other}` at the target, which is another image"
                ));
            }
            Some((_, Some(at))) => {
                self.own[*at].also_for(platforms);
                return Ok(());
            }
            _ => {}
        }
        self.names.insert(to.clone(), (name.clone(), Some(self.own.len())));
        self.own.push(Wish {
            name,
            source: Source::Registry(Cow::Owned(reference)),
            class: ContentClass::Helm,
            platforms: Cow::Borrowed(platforms),
            repository: to.repository,
            tag: Some(to.tag),
        });
        Ok(())
    }
}

/// Reads a chart and finds its images.
async fn one(
    job: &Job<'_>,
    asked: &Asked<'_>,
    origins: &Origins,
) -> Result<(Taken, Vec<String>), CarryError> {
    let layout = |name: &str, from: &str| artifact::layout(asked.workspace, name, from);
    let ended = |error: tokio::task::JoinError| CarryError::Said(format!("a task failed: {error}"));
    let (archive, provenance, pinned) = match &job.place {
        Place::Local(path) => {
            let path = path.clone();
            let reading = tokio::task::spawn_blocking(move || local::read(&path));
            let Packed { archive, provenance } = reading.await.map_err(ended)??;
            (archive, provenance, None)
        }
        Place::Web(url, entry) => {
            let kept = entry
                .expected()
                .and_then(|digest| artifact::kept(&layout(&job.called, url.as_str()), &digest));
            let archive = match kept {
                Some(archive) => archive,
                None => repository::archive(asked.client, url, entry).await?,
            };
            (archive, repository::provenance(asked.client, url).await?, None)
        }
        Place::Registry(reference) => {
            let source = Source::Registry(Cow::Borrowed(reference));
            let (digest, archive) = oci::archive(origins, &source).await?;
            let pinned = Reference { digest: Some(digest), ..reference.clone() };
            (archive, None, Some(pinned))
        }
    };
    let reading = tokio::task::spawn_blocking(move || (Chart::read(&archive), archive));
    let (chart, archive) = reading.await.map_err(ended)?;
    let chart = chart?;
    if let Place::Web(_, entry) = &job.place
        && (chart.name != job.called || bare(&chart.version) != bare(&entry.version))
    {
        return Err(CarryError::Said(format!(
            "`{}` says that it is {} {}, and `index.yaml` that it is {} {}",
            chart.file, chart.name, chart.version, job.called, entry.version
        )));
    }
    let mut images = Images::default();
    let how = find(job, asked, &chart, &archive, &mut images).await?;
    let (images, skipped, warnings) = images.found();
    let size = (Digest::of(&archive), archive.len() as u64);
    let (name, version) = (chart.name.clone(), chart.version.clone());
    let nested = asked.max_nested_paths;
    let tag = version.replace('+', "_").parse();
    let tag = tag.map_err(|error| CarryError::Said(format!("its version is no tag: {error}")))?;
    let (source, destination) = match pinned {
        Some(reference) => {
            let repository = nest(&reference.repository, nested);
            let repository = repository.map_err(|error| CarryError::Said(error.to_string()))?;
            let tag = reference.tag.clone().unwrap_or(tag);
            (Source::Registry(Cow::Owned(reference)), Destination { repository, tag })
        }
        None => {
            let repository = format!("{BELOW}/{}", name.to_ascii_lowercase()).parse();
            let repository = repository.and_then(|repository| nest(&repository, nested));
            let repository = repository.map_err(|error| {
                CarryError::Said(format!("it has no name at the target: {error}"))
            })?;
            let place = match &job.place {
                Place::Web(url, _) => layout(&job.called, url.as_str()),
                _ => layout(&name, &job.from),
            };
            let writing = tokio::task::spawn_blocking(move || {
                artifact::write(place, &chart, archive, provenance)
            });
            let image = writing.await.map_err(ended)?.map_err(CarryError::Write)?;
            let base = Origin::Layout(image.path.clone());
            (Source::Made { image, base }, Destination { repository, tag })
        }
    };
    let from = job.from.clone();
    let taken =
        Taken { name, version, from, source, destination, archive: size, how, images, skipped };
    Ok((taken, warnings))
}

/// Finds the images of a chart, and says by what; `None` when nothing could look into its templates.
async fn find(
    job: &Job<'_>,
    asked: &Asked<'_>,
    chart: &Chart,
    archive: &[u8],
    images: &mut Images,
) -> Result<Option<&'static str>, CarryError> {
    let mut how = None;
    if chart.is_library() {
        // It has no templates of its own.
        how = Some("annotations");
    } else if let Some(program) = &asked.options.program {
        let mut paths = Vec::with_capacity(job.paths.len());
        for text in job.paths {
            let path: JsonPath =
                text.parse().map_err(|error| CarryError::Said(format!("`{text}`: {error}")))?;
            paths.push((text.clone(), path));
        }
        let text = render::render(program, archive, &job.called, asked.options).await?;
        images.rendered(&text, &paths);
        how = Some("helm");
    } else if asked.options.scan {
        chart.all().into_iter().for_each(|chart| images.scanned(chart));
        how = Some("scan");
    }
    match how {
        // What is switched off in it is not needed.
        Some("helm") => images.annotated(chart),
        _ => chart.all().into_iter().for_each(|chart| images.annotated(chart)),
    }
    Ok(how)
}
