//! Which of the names that stand at a target the stanzas of a DeleteImageSetConfiguration mean.
//!
//! In: the stanzas, what stands, and of catalogs the images that they need. Out: names with their kind as oc-mirror calls
//! it, each once; and the stanzas that mean nothing there.

use std::collections::{BTreeMap, BTreeSet};

use ::registry::reference::Reference;
use bundler::config::{DeleteImageSetConfig, ImageSource, ReleaseChannel, ReleaseStanza};
use format_spec::head::ContentClass;
use importer::{Standing, StandingName, StandingRelease, StandingThing};

use crate::failure::Failure;

/// The images that each catalog at the target needs, by the place of the catalog in [`Standing::catalogs`].
pub type Needed = Vec<BTreeSet<String>>;

/// What is chosen.
#[derive(Default)]
pub struct Selected<'a> {
    /// Names by where they stand, each with its kind.
    pub names: BTreeMap<String, (&'a StandingName, &'static str)>,
    /// What the file names and the target does not have.
    pub nothing: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl<'a> Selected<'a> {
    /// Adds names, or tells that there were none.
    fn add(&mut self, names: impl Iterator<Item = (&'a StandingName, &'static str)>, of: String) {
        let before = self.names.len();
        let mut some = false;
        for (name, kind) in names {
            some = true;
            self.names.entry(name.at.to_string()).or_insert((name, kind));
        }
        if !some && before == self.names.len() {
            self.nothing.push(of);
        }
    }
}

/// Refuses what cannot be said from inside the gap, before anything is asked.
pub fn check(config: &DeleteImageSetConfig) -> Result<(), Failure> {
    for entry in &config.operators {
        if let Some(package) = entry.packages.first() {
            let name = crate::output::plain(&package.name);
            return Err(Failure::usage(format!(
                "{}:{}: package `{name}` cannot be deleted by itself: its catalog would go on to offer it",
                config.file, package.at.line
            ))
            .with_hint(
                "take it out of the ImageSetConfiguration: the next sequence brings the catalog without it, and its import \
                 removes its images; or leave `packages` out to delete the whole catalog",
            ));
        }
    }
    for repository in config.helm.iter().flat_map(|helm| &helm.repositories) {
        if repository.charts.is_empty() {
            return Err(Failure::usage(format!(
                "{}:{}: of the chart repository `{}` nothing is chosen: which charts came from it is not known here",
                config.file, repository.at.line, repository.name
            ))
            .with_hint("name its charts: `charts: [{name: NAME, version: VERSION}]`"));
        }
    }
    let channels = config.platform.iter().flat_map(|platform| &platform.channels);
    for channel in channels {
        let problem = match channel {
            _ if channel.shortest_path => {
                "the shortest path needs the update graph, which is not here"
            }
            _ if channel.range.is_open() && !channel.full => "it does not say which versions",
            _ => continue,
        };
        return Err(Failure::usage(format!(
            "{}:{}: of channel `{}` nothing is chosen: {problem}",
            config.file, channel.at.line, channel.name
        ))
        .with_hint(
            "write `minVersion` and `maxVersion`, or `full: true` for every version that is there",
        ));
    }
    Ok(())
}

/// Chooses.
pub fn select<'a>(
    config: &DeleteImageSetConfig,
    standing: &'a Standing,
    chosen: &[Vec<usize>],
    needed: &Needed,
) -> Selected<'a> {
    let mut selected = Selected::default();
    let at = |line: u32| format!("{}:{line}", config.file);
    for image in &config.additional_images {
        let mut names: Vec<_> = from(standing, &image.source).collect();
        names.retain(|one| {
            image.target_repo.as_ref().is_none_or(|repository| *repository == one.repository)
                && image.target_tag.as_ref().is_none_or(|tag| one.at.tag.as_ref() == Some(tag))
        });
        let names = names.into_iter().map(|one| (one, kind(one.class)));
        selected.add(names, format!("{}: `{}`", at(image.line), image.source));
    }
    if let Some(platform) = &config.platform {
        releases(platform, standing, &config.file, &mut selected);
    }
    let gone: BTreeSet<usize> = chosen.iter().flatten().copied().collect();
    let kept = images((0..standing.catalogs.len()).filter(|one| !gone.contains(one)), needed);
    for (entry, catalogs) in config.operators.iter().zip(chosen) {
        let of = format!("{}: catalog `{}`", at(entry.at.line), entry.catalog);
        let own = catalogs.iter().flat_map(|one| named(standing, &standing.catalogs[*one]));
        selected.add(own.map(|one| (one, "operatorCatalog")), of);
        let wanted = images(catalogs.iter().copied(), needed);
        for one in standing.names.iter().filter(|one| one.class == ContentClass::Operator) {
            let Ok(source) = one.source.parse::<Reference>() else { continue };
            let is_in =
                |images: &BTreeSet<Reference>| keys(&source).any(|key| images.contains(&key));
            if is_in(&wanted) && !is_in(&kept) {
                selected.names.entry(one.at.to_string()).or_insert((one, "operatorRelatedImage"));
            }
        }
    }
    charts(config, standing, &mut selected);
    selected
}

/// The catalogs that each entry of `operators` means, as places in [`Standing::catalogs`].
pub fn catalogs(config: &DeleteImageSetConfig, standing: &Standing) -> Vec<Vec<usize>> {
    let of_entry = |entry: &bundler::config::OperatorCatalog| {
        let is = |catalog: &StandingThing| {
            is_from(&entry.catalog, &catalog.label)
                && entry.target_catalog.as_ref().is_none_or(|name| *name == catalog.repository)
                && entry.target_tag.as_ref().is_none_or(|tag| *tag == catalog.tag)
        };
        let found = standing.catalogs.iter().enumerate().filter(|(_, catalog)| is(catalog));
        found.map(|(place, _)| place).collect()
    };
    config.operators.iter().map(of_entry).collect()
}

fn releases<'a>(
    platform: &ReleaseStanza,
    standing: &'a Standing,
    file: &str,
    selected: &mut Selected<'a>,
) {
    let of_release = |release: &'a StandingRelease| {
        let names = standing.of_release(release);
        names.map(|one| {
            let image = one.repository == release.repository;
            (one, if image { "ocpRelease" } else { "ocpReleaseContent" })
        })
    };
    let amd64 = ["amd64".to_owned()];
    let architectures = match platform.architectures.as_slice() {
        [] => &amd64[..],
        some => some,
    };
    for channel in &platform.channels {
        let is = |release: &&StandingRelease| {
            architectures.contains(&release.architecture) && is_in(channel, release)
        };
        let names = standing.releases.iter().filter(is).flat_map(of_release);
        selected.add(names, format!("{file}:{}: channel `{}`", channel.at.line, channel.name));
    }
    if let Some(payload) = &platform.release {
        let is = |release: &&StandingRelease| {
            release.source.parse::<Reference>().is_ok_and(|source| is_same(payload, &source))
        };
        let names = standing.releases.iter().filter(is).flat_map(of_release);
        selected.add(names, format!("{file}:{}: `{payload}`", platform.at.line));
    }
    if platform.graph {
        let names = standing.graph.iter().flat_map(|graph| named(standing, graph));
        let of = format!("{file}:{}: the update graph", platform.at.line);
        selected.add(names.map(|one| (one, "cincinnatiGraph")), of);
    }
    if platform.kubevirt_container {
        selected.warnings.push(format!(
            "{file}:{}: boot images of KubeVirt are not told apart here: those that are named by `additionalImages` go",
            platform.at.line
        ));
    }
}

fn is_in(channel: &ReleaseChannel, release: &StandingRelease) -> bool {
    release.channels.contains(&channel.name) && channel.range.contains(&release.version)
}

fn charts<'a>(config: &DeleteImageSetConfig, standing: &'a Standing, selected: &mut Selected<'a>) {
    let Some(helm) = &config.helm else { return };
    let mut of = |name: &str, version: Option<&str>, line: u32, what: String| {
        let is = |chart: &&StandingThing| {
            chart.label.rsplit_once('/').is_some_and(|(chart, found)| {
                chart == name && version.is_none_or(|version| version == found)
            })
        };
        let names = standing.charts.iter().filter(is).flat_map(|chart| named(standing, chart));
        let names = names.map(|one| (one, "helmChart"));
        selected.add(names, format!("{}:{line}: {what}", config.file));
    };
    for repository in &helm.repositories {
        for chart in &repository.charts {
            let what = format!("chart `{}`", chart.name);
            of(&chart.name, chart.version.as_deref(), chart.at.line, what);
        }
    }
    for chart in &helm.local {
        of(&chart.name, None, chart.at.line, format!("chart `{}`", chart.name));
    }
}

/// The names that came from a source.
fn from<'a, 'b>(
    standing: &'a Standing,
    source: &'b ImageSource,
) -> impl Iterator<Item = &'a StandingName> + use<'a, 'b> {
    standing.names.iter().filter(move |one| is_from(source, &one.source))
}

/// Whether something came from a source, as its sequence tells it.
fn is_from(source: &ImageSource, told: &str) -> bool {
    match source {
        ImageSource::Registry(wanted) => {
            told.parse::<Reference>().is_ok_and(|found| is_same(wanted, &found))
        }
        ImageSource::OciLayout(_) => told == source.to_string(),
    }
}

/// Whether a source is the one that is meant: by the tag, else by the digest.
fn is_same(wanted: &Reference, found: &Reference) -> bool {
    let place = wanted.registry == found.registry && wanted.repository == found.repository;
    place
        && match (&wanted.digest, &wanted.tag) {
            (Some(digest), _) => found.digest.as_ref() == Some(digest),
            (None, tag) => found.tag == *tag,
        }
}

/// The images of some catalogs: each with its digest, else with its tag.
fn images(catalogs: impl Iterator<Item = usize>, needed: &Needed) -> BTreeSet<Reference> {
    let images = catalogs.filter_map(|one| needed.get(one)).flatten();
    images.filter_map(|image| keys(&image.parse().ok()?).next()).collect()
}

/// What an image may be asked for by: its digest, its tag.
fn keys(image: &Reference) -> impl Iterator<Item = Reference> + use<> {
    let by_digest = image.digest.map(|_| Reference { tag: None, ..image.clone() });
    let by_tag = image.tag.as_ref().map(|_| Reference { digest: None, ..image.clone() });
    by_digest.into_iter().chain(by_tag)
}

fn named<'a>(
    standing: &'a Standing,
    thing: &'a StandingThing,
) -> impl Iterator<Item = &'a StandingName> {
    standing.named(&thing.repository, &thing.tag)
}

/// What oc-mirror calls an image of a class.
fn kind(class: ContentClass) -> &'static str {
    match class {
        ContentClass::Release => "ocpReleaseContent",
        ContentClass::Operator => "operatorRelatedImage",
        ContentClass::Additional => "generic",
        ContentClass::Helm => "helmImage",
    }
}
