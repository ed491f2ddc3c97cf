//! `mirror.operators`: which Operator catalogs, packages and channels.

use std::collections::HashMap;
use std::path::PathBuf;

use format_spec::{Repository, Tag};

use super::ApiVersion;
use super::fields::{Fields, Item, Text};
use super::finding::{Report, Spot};
use super::source::{ImageSource, PlatformFilter, platforms, source, target_path, target_tag};
use super::tree::Position;
use super::versions::{VersionRange, range};

/// One entry of `mirror.operators`.
#[derive(Debug, Clone)]
pub struct OperatorCatalog {
    /// The catalog image or directory.
    pub catalog: ImageSource,
    /// Everything, not only the heads of the channels.
    pub full: bool,
    /// Replaces the repository path at the destination (v1alpha2 `targetName`: its last component).
    pub target_catalog: Option<Repository>,
    /// v1alpha2 `targetName`: replaces the last component of the path; `targetCatalog` wins.
    pub target_name: Option<Repository>,
    /// Replaces the tag at the destination.
    pub target_tag: Option<Tag>,
    /// Template of the CatalogSource to generate.
    pub catalog_source_template: Option<PathBuf>,
    /// Do not add the packages that the chosen ones need.
    pub skip_dependencies: bool,
    /// Platforms to carry; empty means all.
    pub platforms: Vec<PlatformFilter>,
    /// The packages; empty means all.
    pub packages: Vec<OperatorPackage>,
    /// Where the entry stands.
    pub at: Position,
}

/// One entry of `packages`.
#[derive(Debug, Clone)]
pub struct OperatorPackage {
    /// Package name.
    pub name: String,
    /// Overrides the default channel.
    pub default_channel: Option<String>,
    /// Versions in all channels.
    pub range: VersionRange,
    /// v1alpha2 `minBundle`: the lower bound as the name of a bundle.
    pub min_bundle: Option<String>,
    /// The channels; empty means all.
    pub channels: Vec<OperatorChannel>,
    /// Bundles by name, and nothing else of the package; empty means that the other fields choose.
    pub bundles: Vec<SelectedBundle>,
    /// Where the entry stands.
    pub at: Position,
}

/// One entry of `packages[].bundles`.
#[derive(Debug, Clone)]
pub struct SelectedBundle {
    /// Its name.
    pub name: String,
    /// Where the entry stands.
    pub at: Position,
}

/// One entry of `packages[].channels`.
#[derive(Debug, Clone)]
pub struct OperatorChannel {
    /// Channel name.
    pub name: String,
    /// Versions in this channel.
    pub range: VersionRange,
    /// v1alpha2 `minBundle`: the lower bound as the name of a bundle.
    pub min_bundle: Option<String>,
    /// Where the entry stands.
    pub at: Position,
}

pub(super) fn stanza(
    mirror: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Vec<OperatorCatalog> {
    let mut out = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for item in mirror.list(report, "operators") {
        let Some((catalog, name)) = one_catalog(&item, report, version) else { continue };
        let key = unique_name(&catalog);
        if let Some(first) = seen.get(&key) {
            let problem = format!("duplicate catalog `{key}`, first on line {first}");
            const HINT: &str =
                "merge the two entries, or give one a `targetCatalog` or `targetTag`";
            report.error(&name.spot, problem, HINT);
            continue;
        }
        seen.insert(key, name.spot.at.line);
        out.push(catalog);
    }
    out
}

fn one_catalog(
    item: &Item<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Option<(OperatorCatalog, Text)> {
    let mut entry = item.fields(report, "catalog: registry.example.com/namespace/index:v4.18")?;
    let name = entry.required(report, "catalog");
    let catalog = name.as_ref().and_then(|name| source(name, version, report));
    let full = entry.flag(report, "full");
    let target_catalog = target_path(&mut entry, report, "targetCatalog");
    let mut target_name = None;
    if entry.went_with_v1(report, version, "targetName", "use `targetCatalog`") {
        if let Some(spot) = entry.key_spot("targetName") {
            let problem = if target_catalog.is_some() {
                "is not used, because `targetCatalog` wins"
            } else {
                "is deprecated"
            };
            report.warn(&spot, problem, "use `targetCatalog`");
        }
        target_name = target_path(&mut entry, report, "targetName");
    }
    let target_tag = target_tag(&mut entry, report);
    if entry.went_with_v1(report, version, "originalRef", "remove it; it never had an effect") {
        if let Some(spot) = entry.key_spot("originalRef") {
            report.warn(&spot, "is deprecated and not used", "remove it");
        }
        entry.text(report, "originalRef");
    }
    entry.came_with_v2(report, version, "targetCatalogSourceTemplate");
    let template = entry.text(report, "targetCatalogSourceTemplate");
    let skip_dependencies = entry.flag(report, "skipDependencies");
    if version == ApiVersion::V2Alpha1
        && let Some(spot) = entry.key_spot("skipDependencies")
    {
        report.warn(&spot, "has no effect in oc-mirror v2, which never adds dependencies", "");
    }
    let platforms = platforms(&mut entry, report, version);
    let mut packages = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for item in entry.list(report, "packages") {
        let Some((package, spot)) = one_package(&item, report, version) else { continue };
        if let Some(first) = seen.get(&package.name) {
            let problem = format!("duplicate package `{}`, first on line {first}", package.name);
            report.error(&spot, problem, "merge the two entries");
            continue;
        }
        seen.insert(package.name.clone(), spot.at.line);
        check_full(full, &package, &spot, report, version);
        packages.push(package);
    }
    entry.done(report);
    let catalog = OperatorCatalog {
        catalog: catalog?,
        full,
        target_catalog,
        target_name,
        target_tag,
        catalog_source_template: template.map(|text| PathBuf::from(text.value)),
        skip_dependencies,
        platforms,
        packages,
        at: item.spot.at,
    };
    Some((catalog, name?))
}

/// oc-mirror v2: `Full: true cannot be mixed with versionRange`, said after the catalog's download.
fn check_full(
    full: bool,
    package: &OperatorPackage,
    spot: &Spot,
    report: &mut Report,
    version: ApiVersion,
) {
    let ranged = !package.range.is_open() || package.channels.iter().any(|c| !c.range.is_open());
    if full && ranged && version == ApiVersion::V2Alpha1 {
        let problem = format!("package `{}` has a version range in a `full` catalog", package.name);
        report.error(spot, problem, "remove `full: true` or the range");
    }
    if full && !package.bundles.is_empty() {
        let problem = format!("package `{}` has `bundles` in a `full` catalog", package.name);
        report.error(spot, problem, "remove `full: true` or `bundles`");
    }
}

fn one_package(
    item: &Item<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> Option<(OperatorPackage, Spot)> {
    let mut entry = item.fields(report, "name: my-operator")?;
    let name = entry.required(report, "name");
    let default_channel = entry.text(report, "defaultChannel");
    let (range, min_bundle) = bounds(&mut entry, report, version);
    let mut channels: Vec<OperatorChannel> = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for item in entry.list(report, "channels") {
        let Some(mut fields) = item.fields(report, "name: stable") else { continue };
        let channel = fields.required(report, "name");
        let (channel_range, min_bundle) = bounds(&mut fields, report, version);
        fields.done(report);
        let Some(channel) = channel else { continue };
        if !range.is_open() && !channel_range.is_open() {
            const HINT: &str = "keep the range of the package or those of its channels";
            let problem = "a version range of the package and of a channel cannot be mixed";
            report.error(&item.spot, problem, HINT);
        }
        if let Some(first) = seen.get(&channel.value) {
            let problem = format!("duplicate channel `{}`, first on line {first}", channel.value);
            report.error(&channel.spot, problem, "merge the two entries");
            continue;
        }
        seen.insert(channel.value.clone(), channel.spot.at.line);
        let (name, at) = (channel.value, item.spot.at);
        channels.push(OperatorChannel { name, range: channel_range, min_bundle, at });
    }
    if let Some(default) = &default_channel
        && !channels.is_empty()
        && !seen.contains_key(&default.value)
    {
        let problem = format!("the default channel `{}` is not among `channels`", default.value);
        report.error(&default.spot, problem, "add it to `channels`");
    }
    let bounded = !range.is_open() || min_bundle.is_some();
    let bundles = bundles(&mut entry, report, version, bounded, !channels.is_empty());
    entry.done(report);
    let name = name?;
    let package = OperatorPackage {
        name: name.value,
        default_channel: default_channel.map(|text| text.value),
        range,
        min_bundle,
        channels,
        bundles,
        at: item.spot.at,
    };
    Some((package, name.spot))
}

/// The bundles by name, which choose alone. oc-mirror v2 had the field up to 4.17.
fn bundles(
    entry: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
    bounded: bool,
    channels: bool,
) -> Vec<SelectedBundle> {
    entry.came_with_v2(report, version, "bundles");
    let spot = entry.key_spot("bundles");
    let mut out: Vec<SelectedBundle> = Vec::new();
    for item in entry.list(report, "bundles") {
        let Some(mut fields) = item.fields(report, "name: my-operator.v1.0.0") else { continue };
        let name = fields.required(report, "name");
        fields.done(report);
        let Some(name) = name else { continue };
        if let Some(first) = out.iter().find(|known| known.name == name.value) {
            let problem =
                format!("duplicate bundle `{}`, first on line {}", name.value, first.at.line);
            report.error(&name.spot, problem, "remove one of them");
            continue;
        }
        out.push(SelectedBundle { name: name.value, at: item.spot.at });
    }
    if let Some(spot) = spot.filter(|_| !out.is_empty()) {
        for (there, what) in [(channels, "`channels`"), (bounded, "versions")] {
            if there {
                let problem = format!("cannot be used together with {what} of the package");
                report.error(&spot, problem, "keep one of them");
            }
        }
        if version == ApiVersion::V2Alpha1 {
            const HINT: &str = "name `channels` with `minVersion` and `maxVersion` instead";
            report.warn(&spot, "is used, though oc-mirror has refused it since 4.18", HINT);
        }
    }
    out
}

/// The version range, and the lower bound that v1alpha2 can name as a bundle.
fn bounds(
    fields: &mut Fields<'_>,
    report: &mut Report,
    version: ApiVersion,
) -> (VersionRange, Option<String>) {
    let range = range(fields, report);
    if !fields.went_with_v1(report, version, "minBundle", "use `minVersion`") {
        return (range, None);
    }
    let bundle = fields.text(report, "minBundle");
    if let Some(text) = &bundle
        && range.min.is_some()
    {
        report.error(&text.spot, "cannot be used together with `minVersion`", "keep one of them");
    }
    (range, bundle.map(|text| text.value))
}

/// The name that oc-mirror compares: the catalog with its target's path and tag put in.
fn unique_name(catalog: &OperatorCatalog) -> String {
    let path = catalog.target_catalog.as_ref().or(catalog.target_name.as_ref());
    match &catalog.catalog {
        ImageSource::Registry(reference) => {
            let path = path.unwrap_or(&reference.repository);
            match (&catalog.target_tag, &reference.tag, &reference.digest) {
                (Some(tag), _, _) => format!("{}/{path}:{tag}", reference.registry),
                (None, Some(tag), _) => format!("{}/{path}:{tag}", reference.registry),
                (None, None, Some(digest)) => format!("{}/{path}@{digest}", reference.registry),
                (None, None, None) => format!("{}/{path}", reference.registry),
            }
        }
        ImageSource::OciLayout(dir) => {
            let path = path.map_or_else(|| dir.display().to_string(), ToString::to_string);
            let tag = catalog.target_tag.as_ref().map_or("latest", Tag::as_str);
            format!("oci://{path}:{tag}")
        }
    }
}
