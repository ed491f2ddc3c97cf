//! Helpers of the tests of selection: catalogs made in code, and the real ones, read into the model the plainest way.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::{Fault, Kept, PickedChannel, Selection, select};
use crate::catalog::model::{Bundle, Catalog, Channel, Entry, Gvk, Package, Place, Requirement};
use crate::config::{ApiVersion, ImageSetConfig};
use crate::release::testing::data;

const NOWHERE: Place = Place { file: 0, frame: 0, offset: 0, length: 0 };

/// `name`, then `>replaced`, `-skipped` and `~skipRange` after spaces.
pub(crate) fn entry(text: &str) -> Entry {
    let mut words = text.split(' ');
    let mut entry = Entry { name: words.next().unwrap().into(), ..Entry::default() };
    for word in words {
        match word.split_at(1) {
            (">", name) => entry.replaces = Some(name.into()),
            ("-", name) => entry.skips.push(name.into()),
            ("~", range) => entry.skip_range = Some(range.into()),
            _ => panic!("{text}"),
        }
    }
    entry
}

pub(crate) fn channel(name: &str, entries: &[&str]) -> Channel {
    let entries = entries.iter().map(|text| entry(text)).collect();
    Channel { name: name.to_owned(), object: NOWHERE, priority: None, entries }
}

pub(crate) fn bundle(name: &str, version: &str) -> (Arc<str>, Bundle) {
    let bundle = Bundle {
        object: NOWHERE,
        version: version.into(),
        provides: Vec::new(),
        requires: Vec::new(),
    };
    (name.into(), bundle)
}

pub(crate) fn package(
    default: &str,
    channels: Vec<Channel>,
    bundles: Vec<(Arc<str>, Bundle)>,
) -> Package {
    Package {
        object: NOWHERE,
        default_channel: default.to_owned(),
        display_name: None,
        channels,
        bundles: bundles.into_iter().collect(),
        deprecations: None,
        others: Vec::new(),
    }
}

/// A package whose bundles are called by their versions.
pub(crate) fn versioned(default: &str, channels: Vec<Channel>) -> Package {
    let mut bundles = BTreeMap::new();
    for entry in channels.iter().flat_map(|channel| &channel.entries) {
        bundles.insert(entry.name.clone(), bundle(&entry.name, &entry.name).1);
    }
    package(default, channels, bundles.into_iter().collect())
}

pub(crate) fn catalog(packages: impl IntoIterator<Item = (&'static str, Package)>) -> Catalog {
    let packages = packages.into_iter().map(|(name, package)| (name.to_owned(), package));
    Catalog { packages: packages.collect(), ..Catalog::default() }
}

pub(crate) fn gvk(text: &str) -> Arc<Gvk> {
    let (rest, kind) = text.split_once(' ').unwrap();
    let (group, version) = rest.split_once('/').unwrap();
    Arc::new(Gvk { group: group.into(), version: version.into(), kind: kind.into() })
}

/// What stands at an entry of `mirror.operators` beside `catalog`, as YAML of one line.
pub(crate) fn wanted(rest: &str, version: ApiVersion) -> crate::config::OperatorCatalog {
    let text = format!(
        "kind: ImageSetConfiguration\napiVersion: {}\nmirror:\n  operators:\n  - {{catalog: \"registry.example.com/a/b:v1\"{}{rest}}}\n",
        version.as_str(),
        if rest.is_empty() { "" } else { ", " }
    );
    let loaded = ImageSetConfig::parse(&text, "isc.yaml").unwrap_or_else(|error| panic!("{error}"));
    loaded.config.operators.into_iter().next().unwrap()
}

/// A real catalog below `catalogs/`, or `None` after saying that it is not on this machine.
pub(crate) fn real(files: &[&str]) -> Option<Catalog> {
    let mut catalog = Catalog::default();
    for file in files {
        let text = fs_err::read_to_string(data(&format!("catalogs/{file}"))?).unwrap();
        let objects = if text.trim_start().starts_with('{') {
            let stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            stream.collect::<Result<Vec<_>, _>>().unwrap()
        } else {
            documents(&text)
        };
        // Bundles and channels may stand before their package.
        let of = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
        for object in objects.iter().filter(|object| object["schema"] == "olm.package") {
            let made = package(&of(object, "defaultChannel"), Vec::new(), Vec::new());
            catalog.packages.insert(of(object, "name"), made);
        }
        for object in &objects {
            let Some(package) = catalog.packages.get_mut(&of(object, "package")) else { continue };
            match object["schema"].as_str().unwrap() {
                "olm.channel" => package.channels.push(channel_of(object)),
                "olm.bundle" => {
                    package.bundles.insert(of(object, "name").into(), bundle_of(object));
                }
                "olm.deprecations" => package.deprecations = Some(NOWHERE),
                _ => package.others.push(NOWHERE),
            }
        }
    }
    Some(catalog)
}

fn channel_of(object: &Value) -> Channel {
    let name = |value: &Value| value.as_str().map(Arc::from);
    let entries = object["entries"].as_array().unwrap().iter().map(|entry| Entry {
        name: name(&entry["name"]).unwrap(),
        replaces: name(&entry["replaces"]),
        skips: entry["skips"].as_array().into_iter().flatten().filter_map(name).collect(),
        skip_range: name(&entry["skipRange"]),
    });
    let entries = entries.collect();
    Channel {
        name: object["name"].as_str().unwrap().to_owned(),
        object: NOWHERE,
        priority: None,
        entries,
    }
}

fn bundle_of(object: &Value) -> Bundle {
    let mut bundle = bundle("", "").1;
    for property in object["properties"].as_array().unwrap() {
        let value = &property["value"];
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let gvk =
            || Arc::new(Gvk { group: text("group"), version: text("version"), kind: text("kind") });
        match property["type"].as_str().unwrap() {
            "olm.package" => bundle.version = text("version").into(),
            "olm.gvk" => bundle.provides.push(gvk()),
            "olm.gvk.required" => bundle.requires.push(Requirement::Gvk(gvk())),
            "olm.package.required" => bundle.requires.push(Requirement::Package {
                name: text("packageName"),
                range: text("versionRange"),
            }),
            _ => {}
        }
    }
    bundle
}

/// The documents of a YAML file; scalars are text, which is all that the fields above need.
fn documents(text: &str) -> Vec<Value> {
    let mut done = Vec::new();
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let ended = match event.unwrap().0 {
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::Scalar(text, style, ..) => match (&*text, style) {
                ("null" | "~", ScalarStyle::Plain) => Value::Null,
                _ => Value::String(text.into_owned()),
            },
            Event::MappingEnd | Event::SequenceEnd => open.pop().unwrap().0,
            Event::Alias(..) => panic!("an alias"),
            _ => continue,
        };
        match open.last_mut() {
            None => done.push(ended),
            Some((Value::Array(values), _)) => values.push(ended),
            Some((Value::Object(map), key)) => match key.take() {
                Some(key) => {
                    map.insert(key, ended);
                }
                None => *key = Some(ended.as_str().unwrap().to_owned()),
            },
            Some(_) => unreachable!(),
        }
    }
    done
}

/// What one line of configuration takes.
pub(crate) fn take(
    catalog: &Catalog,
    rest: &str,
    version: ApiVersion,
) -> Result<Selection, Vec<Fault>> {
    select(catalog, &wanted(rest, version), version)
}

pub(crate) fn ok(catalog: &Catalog, rest: &str, version: ApiVersion) -> Selection {
    take(catalog, rest, version).unwrap_or_else(|faults| panic!("{rest}: {faults:#?}"))
}

/// The one fault, as it prints, and its hints.
pub(crate) fn refused(catalog: &Catalog, rest: &str, version: ApiVersion) -> (String, Vec<String>) {
    let faults = take(catalog, rest, version).expect_err(rest);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    (faults[0].to_string(), faults[0].hints())
}

/// The channels of a package that are kept, each as `name: version version …`.
pub(crate) fn channels(catalog: &Catalog, selection: &Selection, name: &str) -> Vec<String> {
    let package = &catalog.packages[name];
    let picked = selection.packages.iter().find(|picked| picked.name == name).expect(name);
    let line = |channel: &PickedChannel| {
        let entries = &package.channels[channel.place].entries;
        let version = |kept: &Kept| package.bundles[&entries[kept.place].name].version.to_string();
        let versions: Vec<String> = channel.entries.iter().map(version).collect();
        format!("{}: {}", channel.name, versions.join(" "))
    };
    picked.channels.iter().map(line).collect()
}

pub(crate) fn whys(selection: &Selection, package: usize, channel: usize) -> Vec<String> {
    let entries = &selection.packages[package].channels[channel].entries;
    entries.iter().map(|kept| kept.why.to_string()).collect()
}
