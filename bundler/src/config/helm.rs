//! `mirror.helm`: which charts, from repositories and from this machine.

use std::path::PathBuf;

use url::Url;

use super::ApiVersion;
use super::fields::{Fields, Item};
use super::finding::{Report, quote};
use super::source::{PlatformFilter, platforms};
use super::tree::Position;
use crate::helm::paths::JsonPath;
use crate::helm::versions::Asked;

/// `mirror.helm`.
#[derive(Debug, Clone)]
pub struct HelmStanza {
    /// Chart repositories.
    pub repositories: Vec<HelmRepository>,
    /// Charts on this machine.
    pub local: Vec<LocalChart>,
    /// Where the stanza stands.
    pub at: Position,
}

/// One entry of `mirror.helm.repositories`.
#[derive(Debug, Clone)]
pub struct HelmRepository {
    /// Its name.
    pub name: String,
    /// Where its `index.yaml` lies.
    pub url: Url,
    /// The charts; empty means all of them in all versions.
    pub charts: Vec<HelmChart>,
    /// Where the entry stands.
    pub at: Position,
}

/// One entry of `charts`.
#[derive(Debug, Clone)]
pub struct HelmChart {
    /// Chart name.
    pub name: String,
    /// Chart version; `None` means all.
    pub version: Option<String>,
    /// More JSONPath expressions under which images are searched.
    pub image_paths: Vec<String>,
    /// Platforms to carry; empty means all.
    pub platforms: Vec<PlatformFilter>,
    /// Where the entry stands.
    pub at: Position,
}

/// One entry of `mirror.helm.local`.
#[derive(Debug, Clone)]
pub struct LocalChart {
    /// Its name.
    pub name: String,
    /// A chart directory or archive.
    pub path: PathBuf,
    /// More JSONPath expressions under which images are searched.
    pub image_paths: Vec<String>,
    /// Platforms to carry; empty means all.
    pub platforms: Vec<PlatformFilter>,
    /// Where the entry stands.
    pub at: Position,
}

pub(super) fn stanza(
    mirror: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Option<HelmStanza> {
    let at = mirror.key_spot("helm")?.at;
    let mut fields = mirror.map(report, "helm", "local: [{name: chart, path: ./chart.tgz}]")?;
    let repositories = (fields.list(report, "repositories").iter())
        .filter_map(|item| repository(item, report, version))
        .collect();
    let local = (fields.list(report, "local").iter())
        .filter_map(|item| local(item, report, version))
        .collect();
    fields.done(report);
    Some(HelmStanza { repositories, local, at })
}

impl HelmStanza {
    /// Whether the stanza asks for anything.
    pub fn is_empty(&self) -> bool {
        self.repositories.is_empty() && self.local.is_empty()
    }
}

fn repository(item: &Item<'_>, report: &mut Report, version: ApiVersion) -> Option<HelmRepository> {
    let mut entry = item.fields(report, "{name: charts, url: https://charts.example.com}")?;
    let name = entry.required(report, "name");
    let url = entry.required(report, "url").and_then(|text| {
        const HINT: &str = "write `https://host/path`";
        match Url::parse(&text.value) {
            Ok(url) if !matches!(url.scheme(), "https" | "http" | "oci") => {
                let problem = format!("the scheme {} is not supported here", quote(url.scheme()));
                report.error(&text.spot, problem, HINT);
                None
            }
            // A configuration is shared and shipped around: no place for a password.
            Ok(url) if url.password().is_some() || !url.username().is_empty() => {
                const HINT: &str = "put credentials into the file that --authfile names";
                report.error(&text.spot, "the URL holds credentials", HINT);
                None
            }
            Ok(url) => Some(url),
            Err(error) => {
                let problem = format!("not a URL ({error}): {}", quote(&text.value));
                report.error(&text.spot, problem, HINT);
                None
            }
        }
    });
    let charts = (entry.list(report, "charts").iter())
        .filter_map(|item| {
            let mut entry = item.fields(report, "{name: chart, version: 1.2.3}")?;
            let name = entry.required(report, "name");
            let chart_version = entry.text(report, "version");
            let image_paths = image_paths(&mut entry, report);
            let platforms = platforms(&mut entry, report, version);
            entry.done(report);
            if let Some(text) = &chart_version
                && let Err(error) = Asked::of(Some(&text.value))
            {
                const HINT: &str = "write `1.2.3`, or a range as Helm knows it: `^1.2`, `>=1.2 <2`";
                report.error(&text.spot, error.to_string(), HINT);
            }
            let version = chart_version.map(|text| text.value);
            let at = item.spot.at;
            Some(HelmChart { name: name?.value, version, image_paths, platforms, at })
        })
        .collect();
    entry.done(report);
    Some(HelmRepository { name: name?.value, url: url?, charts, at: item.spot.at })
}

fn local(item: &Item<'_>, report: &mut Report, version: ApiVersion) -> Option<LocalChart> {
    let mut entry = item.fields(report, "{name: chart, path: ./chart.tgz}")?;
    let name = entry.required(report, "name");
    let path = entry.required(report, "path");
    let image_paths = image_paths(&mut entry, report);
    let platforms = platforms(&mut entry, report, version);
    entry.done(report);
    let path = PathBuf::from(path?.value);
    let at = item.spot.at;
    Some(LocalChart { name: name?.value, path, image_paths, platforms, at })
}

fn image_paths(fields: &mut Fields<'_>, report: &mut Report) -> Vec<String> {
    (fields.list(report, "imagePaths").iter())
        .filter_map(|item| {
            let text = item.text(report)?;
            if let Err(error) = text.value.parse::<JsonPath>() {
                const HINT: &str =
                    "write a path as kubectl knows it: `{.spec.containers[*].image}`";
                let problem =
                    format!("{} is no path that is known here: {error}", quote(&text.value));
                report.error(&text.spot, problem, HINT);
            }
            Some(text.value)
        })
        .collect()
}
