//! What is asked for: which chart, in which version, and where it is.
//!
//! In: `mirror.helm`, the indexes of repositories, the tags of registries. Out: one entry for each chart that is to be looked at.
//! What must hold: a repository that fails stops no other; each fault has its line of the configuration.

use std::path::Path;
use std::sync::Arc;

use registry::client::{Client, ErrorKind as WireKind};
use registry::progress::Progress;
use registry::reference::Reference;
use url::Url;

use super::HelmOptions;
use super::limits::CHARTS_MAX;
use super::oci;
use super::repository::{self, Entry};
use super::versions::Asked as Versions;
use crate::config::{HelmChart, HelmRepository, ImageSetConfig, PlatformFilter};
use crate::error::{fit, reason};
use crate::release::carry::Missed;

/// What has to be known.
pub(crate) struct Asked<'a> {
    pub(crate) config: &'a ImageSetConfig,
    pub(crate) workspace: &'a Path,
    pub(crate) max_nested_paths: usize,
    pub(crate) options: &'a HelmOptions,
    pub(crate) client: &'a Client,
    pub(crate) progress: &'a Arc<Progress>,
}

/// A chart that is looked at.
pub(super) struct Job<'a> {
    /// As the configuration calls it.
    pub(super) called: String,
    /// Where it comes from, for people: what a failure is named by.
    pub(super) from: String,
    pub(super) line: u32,
    pub(super) paths: &'a [String],
    pub(super) platforms: &'a [PlatformFilter],
    pub(super) place: Place,
}

/// Where a chart is.
pub(super) enum Place {
    Local(std::path::PathBuf),
    Web(Url, Entry),
    Registry(Reference),
}

/// All charts that are asked for, and what could not be found of them.
pub(super) struct Jobs<'a> {
    pub(super) jobs: Vec<Job<'a>>,
    pub(super) failures: Vec<Missed>,
}

impl<'a> Jobs<'a> {
    /// All charts that the configuration asks for.
    pub(super) async fn all(asked: &Asked<'a>) -> Self {
        let mut this = Self { jobs: Vec::new(), failures: Vec::new() };
        let Some(stanza) = asked.config.helm.as_ref().filter(|stanza| !stanza.is_empty()) else {
            return this;
        };
        asked.progress.phase("reading Helm charts");
        for entry in &stanza.local {
            this.jobs.push(Job {
                called: entry.name.clone(),
                from: entry.path.display().to_string(),
                line: entry.at.line,
                paths: &entry.image_paths,
                platforms: &entry.platforms,
                place: Place::Local(entry.path.clone()),
            });
        }
        for repository in &stanza.repositories {
            this.find(repository, asked).await;
        }
        if this.jobs.len() > CHARTS_MAX {
            let reason = format!(
                "{} versions of charts are asked for, at most {CHARTS_MAX} are carried",
                this.jobs.len()
            );
            let hint = "name the `charts` and versions that are needed".to_owned();
            this.fail("mirror.helm", None, reason, Some(hint));
            this.jobs.clear();
        }
        this
    }

    fn fail(&mut self, name: &str, kind: Option<WireKind>, reason: String, hint: Option<String>) {
        let hints = hint.into_iter().collect();
        self.failures.push(Missed { name: name.to_owned(), kind, reason, hints });
    }

    /// The charts of a repository that are asked for.
    async fn find(&mut self, repository: &'a HelmRepository, asked: &Asked<'a>) {
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
                if let Err((error, kind, from)) = self.find_oci(url, chart, line, asked).await {
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
            self.jobs.push(Job {
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
    async fn find_oci(
        &mut self,
        url: &Url,
        chart: Option<&'a HelmChart>,
        line: u32,
        asked: &Asked<'a>,
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
            self.jobs.push(Job {
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
}
