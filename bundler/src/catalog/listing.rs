//! What a catalog has: its packages, their channels, and the bundles of a channel in the order of their updates.
//!
//! In: a catalog. Out: values that print as JSON. What must hold: what is wrong with a channel is a part of the answer, no
//! failure; each entry of a channel stands in it once, whatever its updates are.

use std::collections::{BTreeSet, HashMap};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::fields;
use super::graph::{Graph, check_package};
use super::model::{Bundle, Catalog, Channel, Package};
use super::select::{Fault, Reason};
use super::store::{Store, StoreError};
use super::wording::nearest;

/// A package of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageView {
    /// Its name.
    pub name: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The channel that a subscription without one gets.
    pub default_channel: String,
    /// Bundles that it has.
    pub bundles: usize,
    /// What its publisher says of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// What is wrong with it, besides what is wrong with its channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Its channels, in the order of the catalog.
    pub channels: Vec<ChannelView>,
}

/// A channel of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// The bundle that a new installation gets; none where the catalog does not have exactly one.
    pub head: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Entries that it has.
    pub bundles: usize,
    /// What its publisher says of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Its entries, the head first, when they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<EntryView>>,
}

/// A bundle in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    /// Its name.
    pub name: String,
    /// Its version; none where the package has no such bundle.
    pub version: Option<String>,
    /// Whether nothing in the channel updates it.
    pub head: bool,
    /// The bundle that it updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Bundles that it updates too and that nobody should install any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<String>,
    /// Versions that a cluster may update from besides these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_range: Option<String>,
    /// The entry that skips it and below which it stands; none for those on the way over `replaces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_by: Option<String>,
    /// What its publisher says of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
}

/// A package of a catalog, and one of its channels when one is named. Errors: one of them is not there; the nearest are told.
pub fn find<'a>(
    catalog: &'a Catalog,
    package: &str,
    channel: Option<&str>,
) -> Result<(&'a Package, Option<&'a Channel>), Box<Fault>> {
    let fault = |channel: Option<&str>, reason| {
        let (package, channel) = (package.to_owned(), channel.map(ToOwned::to_owned));
        Box::new(Fault { package, channel, at: None, reason })
    };
    let Some(found) = catalog.packages.get(package) else {
        let nearest = nearest(package, catalog.packages.keys().map(String::as_str));
        return Err(fault(None, Reason::UnknownPackage { nearest }));
    };
    let Some(name) = channel else { return Ok((found, None)) };
    let names = || found.channels.iter().map(|channel| channel.name.as_str());
    match found.channels.iter().find(|channel| channel.name == name) {
        Some(channel) => Ok((found, Some(channel))),
        None => {
            let (nearest, known) =
                (nearest(name, names()), names().map(ToOwned::to_owned).collect());
            Err(fault(channel, Reason::UnknownChannel { nearest, known }))
        }
    }
}

/// A package with its channels; with one of them alone and its entries, when it is named.
pub fn view(
    name: &str,
    package: &Package,
    channel: Option<&Channel>,
    store: &Store,
) -> Result<PackageView, StoreError> {
    let deprecations = Deprecations::of(package, store)?;
    let flaws = check_package(name, package);
    let faults = |channel: Option<&str>| {
        let own = flaws.iter().filter(|flaw| flaw.channel.as_deref() == channel);
        own.map(|flaw| flaw.what.to_string()).collect()
    };
    let of_channel = |channel: &Channel| {
        of_channel(package, channel, &deprecations, faults(Some(&channel.name)))
    };
    let channels = match channel {
        Some(channel) => {
            let mut shown = of_channel(channel);
            shown.entries = Some(entries(package, channel, &deprecations));
            vec![shown]
        }
        None => package.channels.iter().map(of_channel).collect(),
    };
    Ok(PackageView {
        name: name.to_owned(),
        display_name: package.display_name.clone(),
        default_channel: package.default_channel.clone(),
        bundles: package.bundles.len(),
        deprecated: deprecations.get("olm.package", ""),
        faults: faults(None),
        channels,
    })
}

/// Every package of a catalog, by name.
pub fn all(catalog: &Catalog, store: &Store) -> Result<Vec<PackageView>, StoreError> {
    catalog.packages.iter().map(|(name, package)| view(name, package, None, store)).collect()
}

/// Every image that the bundles of a catalog need, as the catalog writes it.
pub fn images(catalog: &Catalog, store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let mut images = BTreeSet::new();
    for bundle in catalog.packages.values().flat_map(|package| package.bundles.values()) {
        // One whose images cannot be read was not carried.
        let Ok(of_bundle) = fields::images(&store.object(bundle.object)?) else { continue };
        images.insert(of_bundle.bundle);
        images.extend(of_bundle.related.into_iter().map(|(_, image)| image));
    }
    images.remove("");
    Ok(images)
}

fn of_channel(
    package: &Package,
    channel: &Channel,
    deprecations: &Deprecations,
    faults: Vec<String>,
) -> ChannelView {
    let graph = Graph::of(&channel.entries);
    let head = graph.head().ok().map(|head| graph.entry(head).name.as_ref());
    ChannelView {
        name: channel.name.clone(),
        head: head.map(ToOwned::to_owned),
        version: head.and_then(|head| version(package, head)),
        bundles: channel.entries.len(),
        deprecated: deprecations.get("olm.channel", &channel.name),
        faults,
        entries: None,
    }
}

fn version(package: &Package, bundle: &str) -> Option<String> {
    package.bundles.get(bundle).map(|bundle: &Bundle| bundle.version.to_string())
}

fn entries(package: &Package, channel: &Channel, deprecations: &Deprecations) -> Vec<EntryView> {
    let graph = Graph::of(&channel.entries);
    let mut heads = vec![false; graph.len()];
    for head in graph.heads() {
        heads[head] = true;
    }
    let shown = order(&graph, package).into_iter().map(|(place, above)| {
        let entry = graph.entry(place);
        EntryView {
            name: entry.name.to_string(),
            version: version(package, &entry.name),
            head: heads[place],
            replaces: entry.replaces.as_deref().filter(|it| !it.is_empty()).map(ToOwned::to_owned),
            skips: entry.skips.iter().map(ToString::to_string).collect(),
            skip_range: entry.skip_range.as_deref().map(ToOwned::to_owned),
            skipped_by: above.map(|above| graph.entry(above).name.to_string()),
            deprecated: deprecations.get("olm.bundle", &entry.name),
        }
    });
    shown.collect()
}

/// The places of a channel in the order of the updates: from each head down over `replaces`; after each entry those that it
/// skips and that stand nowhere else, with the place that skips them. At the end what no head leads to.
fn order(graph: &Graph<'_>, package: &Package) -> Vec<(usize, Option<usize>)> {
    let newest_first = |places: &mut Vec<usize>| {
        let version = |place: &usize| {
            let bundle = package.bundles.get(&graph.entry(*place).name);
            bundle.and_then(|bundle| bundle.version.parse::<Version>().ok())
        };
        places.sort_by_cached_key(|place| std::cmp::Reverse(version(place)));
    };
    let mut on_the_way = vec![false; graph.len()];
    let mut starts = graph.heads();
    newest_first(&mut starts);
    for head in &starts {
        let mut at = Some(*head);
        while let Some(place) = at.filter(|at| !std::mem::replace(&mut on_the_way[*at], true)) {
            at = graph.replaces(place);
        }
    }
    let mut rest: Vec<usize> = (0..graph.len()).collect();
    newest_first(&mut rest);
    starts.append(&mut rest);
    let mut shown = vec![false; graph.len()];
    let mut order = Vec::with_capacity(graph.len());
    for start in starts {
        let mut at = Some(start);
        while let Some(place) = at.filter(|at| !std::mem::replace(&mut shown[*at], true)) {
            order.push((place, None));
            let fresh =
                |below: &usize| !on_the_way[*below] && !std::mem::replace(&mut shown[*below], true);
            let mut skipped: Vec<usize> =
                graph.skips(place).iter().copied().filter(fresh).collect();
            newest_first(&mut skipped);
            order.extend(skipped.into_iter().map(|below| (below, Some(place))));
            at = graph.replaces(place);
        }
    }
    order
}

/// The messages of a package's `olm.deprecations`, by schema and name.
#[derive(Default)]
struct Deprecations(HashMap<(String, String), String>);

impl Deprecations {
    fn of(package: &Package, store: &Store) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Object {
            entries: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            reference: Reference,
            message: String,
        }
        #[derive(Deserialize)]
        struct Reference {
            schema: String,
            name: Option<String>,
        }
        let Some(place) = package.deprecations else { return Ok(Self::default()) };
        let json = store.object(place)?;
        // They are words for people: one that cannot be read hides no package.
        let Ok(Object { entries }) = serde_json::from_slice(&json) else {
            return Ok(Self::default());
        };
        let messages = entries.into_iter().map(|Entry { reference, message }| {
            ((reference.schema, reference.name.unwrap_or_default()), message)
        });
        Ok(Self(messages.collect()))
    }

    fn get(&self, schema: &str, name: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(schema.to_owned(), name.to_owned())).cloned()
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
