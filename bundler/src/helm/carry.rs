//! From charts to what is wished for: the charts themselves, and the images that they need.
//!
//! In: `mirror.helm`. Out: wishes for images, charts as images of their own, what the other side is told of them. What must
//! hold: a chart that fails stops no other content; two charts never get one name; each image says which chart needs it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use format_spec::Digest;
use format_spec::head::ContentClass;
use format_spec::index::Resource;
use futures_util::StreamExt as _;
use registry::client::{Client, ErrorKind as WireKind};
use registry::progress::Progress;
use registry::reference::Reference;
use serde_json::json;
use url::Url;

use super::HelmOptions;
use super::artifact;
use super::chart::{Chart, ChartError};
use super::images::{Found, Images, Skipped};
use super::limits::{AT_ONCE, CHARTS_MAX};
use super::local::{self, LocalError, Packed};
use super::oci::{self, OciError};
use super::paths::JsonPath;
use super::render::{self, RenderError};
use super::repository::{self, Entry, RepositoryError};
use super::versions::{Asked as Versions, bare};
use crate::catalog::carry::place_of;
use crate::config::{HelmChart, HelmRepository, ImageSetConfig, PlatformFilter};
use crate::destination::{Destination, nest};
use crate::error::{CreateError, fit, reason};
use crate::history::Known;
use crate::origin::{Origins, Source};
use crate::release::carry::Missed;
use crate::report;
use crate::resolve::{self, Resolved, Rules};
use crate::wish::Wish;

/// The first part of the names of their resources (SPEC 5.4).
const KIND: &str = "chart/";

/// Where charts that come from no registry are at the target.
const BELOW: &str = "charts";

/// Charts that one warning names.
const NAMED: usize = 10;

/// What has to be known.
pub(crate) struct Asked<'a> {
    pub(crate) config: &'a ImageSetConfig,
    pub(crate) workspace: &'a Path,
    pub(crate) max_nested_paths: usize,
    pub(crate) options: &'a HelmOptions,
    pub(crate) client: &'a Client,
    pub(crate) progress: &'a Arc<Progress>,
}

/// What is carried of all charts.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    charts: Vec<Taken>,
    failures: Vec<Missed>,
    blocked: Vec<(String, String)>,
    warnings: Vec<String>,
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

/// A chart that is looked at.
struct Job<'a> {
    /// As the configuration calls it.
    called: String,
    /// Where it comes from, for people: what a failure is named by.
    from: String,
    line: u32,
    paths: &'a [String],
    platforms: &'a [PlatformFilter],
    place: Place,
}

/// Where a chart is.
enum Place {
    Local(std::path::PathBuf),
    Web(Url, Entry),
    Registry(Reference),
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
    let mut carried = Carried::default();
    let mut jobs: Vec<Job<'a>> = Vec::new();
    carried.jobs(asked, &mut jobs).await;
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
            Ok(None) => {}
            Ok(Some((taken, warnings))) => {
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
                    _ => None,
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

/// A chart that no sequence carried as it is now.
#[derive(Debug, Clone, serde::Serialize)]
pub struct NewChart {
    /// Its name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub from: String,
    /// Whether another archive was carried under that name and version.
    pub changed: bool,
}

/// The charts that no sequence carried as they are now; those of repositories by what their index says.
pub(crate) async fn news(
    asked: &Asked<'_>,
    known: &Known,
    resolved: &mut Resolved,
) -> Vec<NewChart> {
    let mut carried = Carried::default();
    let mut jobs = Vec::new();
    carried.jobs(asked, &mut jobs).await;
    let mut found = Vec::new();
    for job in jobs {
        let (name, version, archive) = match &job.place {
            Place::Web(_, entry) => (job.called.clone(), entry.version.clone(), entry.expected()),
            Place::Registry(reference) => {
                let tag = reference.tag.as_ref().map_or("", |tag| tag.as_str());
                (job.called.clone(), tag.replace('_', "+"), None)
            }
            Place::Local(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || {
                    let archive = local::read(&path)?.archive;
                    let chart = Chart::read(&archive)?;
                    Ok::<_, CarryError>((chart.name, chart.version, Some(Digest::of(&archive))))
                });
                match reading.await {
                    Ok(Ok(read)) => read,
                    Ok(Err(error)) => {
                        let at = format!("{}:{}: ", asked.config.file, job.line);
                        carried.fail(
                            &job.from,
                            None,
                            fit(&format!("{at}{}", reason(&error))),
                            None,
                        );
                        continue;
                    }
                    Err(_) => continue,
                }
            }
        };
        let of = |resource: &&Resource| {
            let rest = resource.name.strip_prefix(KIND).and_then(|rest| rest.split_once('/'));
            rest.is_some_and(|(own, number)| own == name && bare(number) == bare(&version))
        };
        let before = known.resources().iter().find(of);
        let same = before.is_some_and(|resource| {
            let stated: Option<serde_json::Value> = serde_json::from_slice(&resource.content).ok();
            let digest =
                stated.and_then(|stated| stated["archive"]["digest"].as_str()?.parse().ok());
            archive.is_none() || digest == archive
        });
        if !same {
            found.push(NewChart {
                chart: name,
                version,
                from: job.from,
                changed: before.is_some(),
            });
        }
    }
    carried.tell(resolved);
    found
}

impl Carried {
    /// What could not be had, and what is to be told.
    fn tell(&mut self, resolved: &mut Resolved) {
        for Missed { name, kind, reason, hints } in std::mem::take(&mut self.failures) {
            resolved.fail(&name, ContentClass::Helm, kind, reason);
            resolved.advise(&name, hints);
        }
        resolved.blocked.append(&mut self.blocked);
        resolved.warnings.append(&mut self.warnings);
    }

    /// All charts that the configuration asks for.
    async fn jobs<'a>(&mut self, asked: &Asked<'a>, jobs: &mut Vec<Job<'a>>) {
        let Some(stanza) = asked.config.helm.as_ref().filter(|stanza| !stanza.is_empty()) else {
            return;
        };
        asked.progress.phase("reading Helm charts");
        for entry in &stanza.local {
            jobs.push(Job {
                called: entry.name.clone(),
                from: entry.path.display().to_string(),
                line: entry.at.line,
                paths: &entry.image_paths,
                platforms: &entry.platforms,
                place: Place::Local(entry.path.clone()),
            });
        }
        for repository in &stanza.repositories {
            self.find(repository, asked, jobs).await;
        }
        if jobs.len() > CHARTS_MAX {
            let reason = format!(
                "{} versions of charts are asked for, at most {CHARTS_MAX} are carried",
                jobs.len()
            );
            let hint = "name the `charts` and versions that are needed".to_owned();
            self.fail("mirror.helm", None, reason, Some(hint));
            jobs.clear();
        }
    }

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

    /// The charts of a repository that are asked for.
    async fn find<'a>(
        &mut self,
        repository: &'a HelmRepository,
        asked: &Asked<'a>,
        jobs: &mut Vec<Job<'a>>,
    ) {
        let (url, line) = (&repository.url, repository.at.line);
        let at = |line: u32| format!("{}:{line}: ", asked.config.file);
        if url.scheme() == "oci" {
            for chart in repository
                .charts
                .iter()
                .map(Some)
                .chain(repository.charts.is_empty().then_some(None))
            {
                let line = chart.map_or(line, |chart| chart.at.line);
                if let Err((error, kind, from)) = self.find_oci(url, chart, line, asked, jobs).await
                {
                    self.fail(&from, kind, fit(&format!("{}{error}", at(line))), None);
                }
            }
            return;
        }
        let index = match repository::index(asked.client, url).await {
            Ok(index) => index,
            Err(error) => {
                let text = fit(&format!("{}{}", at(line), reason(&error)));
                return self.fail(url.as_str(), error.kind(), text, None);
            }
        };
        let mut push = |name: &str, entry: &Entry, line: u32, chart: Option<&'a HelmChart>| {
            let place = match &entry.url {
                Some(archive) if archive.scheme() == "oci" => {
                    let place = archive.as_str().strip_prefix("oci://").unwrap_or_default().parse();
                    place
                        .map(Place::Registry)
                        .map_err(|error| format!("its address is wrong: {error}"))
                }
                Some(archive) => Ok(Place::Web(archive.clone(), entry.clone())),
                None => Err("`index.yaml` does not say where its archive is".to_owned()),
            };
            jobs.push(Job {
                called: name.to_owned(),
                from: format!("{}/{name} {}", url.as_str().trim_end_matches('/'), entry.version),
                line,
                paths: chart.map_or(&[], |chart| &chart.image_paths),
                platforms: chart.map_or(&[], |chart| &chart.platforms),
                place: place?,
            });
            Ok::<(), String>(())
        };
        let mut faults = Vec::new();
        let whole = repository.charts.is_empty();
        let named = repository.charts.iter().map(|chart| (chart.name.as_str(), Some(chart)));
        let every = index.charts.keys().filter(|_| whole).map(|name| (name.as_str(), None));
        for (name, chart) in named.chain(every) {
            let line = chart.map_or(line, |chart| chart.at.line);
            let from = format!("{}/{name}", url.as_str().trim_end_matches('/'));
            let Some(entries) = index.charts.get(name) else {
                let reason = format!("{}the repository has no chart `{name}`", at(line));
                faults.push((from, reason));
                continue;
            };
            let version = chart.and_then(|chart| chart.version.as_deref());
            let versions = match Versions::of(version) {
                Ok(versions) => versions,
                Err(error) => {
                    faults.push((from, format!("{}{error}", at(line))));
                    continue;
                }
            };
            let texts: Vec<&str> = entries.iter().map(|entry| entry.version.as_str()).collect();
            let chosen = versions.choose(&texts);
            if let (true, Some(version)) = (chosen.is_empty(), version) {
                let newest = Versions::All.choose(&texts);
                let newest = newest
                    .first()
                    .map_or(String::new(), |at| format!("; the newest is {}", texts[*at]));
                faults.push((
                    from,
                    format!("{}the repository has no version `{version}` of it{newest}", at(line)),
                ));
                continue;
            }
            for one in chosen {
                // Who names a library gets it.
                if entries[one].library && chart.is_none() {
                    continue;
                }
                if let Err(error) = push(name, &entries[one], line, chart) {
                    faults.push((format!("{from} {}", texts[one]), format!("{}{error}", at(line))));
                }
            }
        }
        for (from, reason) in faults {
            self.fail(&from, None, fit(&reason), None);
        }
    }

    /// The charts of one repository of a registry.
    async fn find_oci<'a>(
        &mut self,
        url: &Url,
        chart: Option<&'a HelmChart>,
        line: u32,
        asked: &Asked<'a>,
        jobs: &mut Vec<Job<'a>>,
    ) -> Result<(), (String, Option<WireKind>, String)> {
        let name = chart.map(|chart| chart.name.as_str());
        let from = match name {
            Some(name) => format!("{}/{name}", url.as_str().trim_end_matches('/')),
            None => url.as_str().to_owned(),
        };
        let said = |text: String| (text, None, from.clone());
        let place = oci::repository(url, name).map_err(said)?;
        let version = chart.and_then(|chart| chart.version.as_deref());
        let versions = Versions::of(version).map_err(|error| said(error.to_string()))?;
        let tags = oci::tags(asked.client, &place, &versions).await;
        let tags = tags.map_err(|error| (reason(&error), error.kind(), from.clone()))?;
        if tags.is_empty() {
            let which =
                version.map_or("a chart".to_owned(), |version| format!("the version `{version}`"));
            return Err(said(format!("there is no tag of {which}")));
        }
        for tag in tags {
            let own = place.repository.as_str().rsplit('/').next().unwrap_or_default();
            jobs.push(Job {
                called: name.unwrap_or(own).to_owned(),
                from: format!("oci://{place}:{tag}"),
                line,
                paths: chart.map_or(&[], |chart| &chart.image_paths),
                platforms: chart.map_or(&[], |chart| &chart.platforms),
                place: Place::Registry(Reference { tag: Some(tag), ..place.clone() }),
            });
        }
        Ok(())
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
        let same = |other: &&Taken| {
            other.destination == taken.destination
                || (other.name == taken.name && other.version == taken.version)
        };
        if let Some(other) = self.charts.iter().find(same) {
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
        self.tell(resolved);
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
        resolved.warnings.append(&mut found.warnings);
        resolved.failures.append(&mut found.failures);
        resolved.hints.append(&mut found.hints);
        resolved.causes.append(&mut found.causes);
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
            Source::Layout(image) => format!("oci://{}", image.path.display()),
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

/// Reads a chart and finds its images; nothing when it is a library that nobody named.
async fn one(
    job: &Job<'_>,
    asked: &Asked<'_>,
    origins: &Origins,
) -> Result<Option<(Taken, Vec<String>)>, CarryError> {
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
            (Source::Layout(image), Destination { repository, tag })
        }
    };
    let from = job.from.clone();
    let taken =
        Taken { name, version, from, source, destination, archive: size, how, images, skipped };
    Ok(Some((taken, warnings)))
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
