//! What a catalog would add to what earlier sequences carried.
//!
//! In: what is taken of the catalogs, what is known of the target. Out: for each catalog its new bundles, and which packages come
//! and leave. What must hold: no image of a bundle is asked for: a bundle is known when the name of its image is; what is told
//! is what a create would carry, as far as that can be said without them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use format_spec::Digest;
use format_spec::index::Resource;
use semver::Version;
use serde::Serialize;
use serde_json::Value;

use super::carry::{Carried, Chosen, Need, Needs};
use super::model::Package;
use super::select::Picked;
use super::settle::{KIND, packages, stated};
use crate::destination::Destination;
use crate::history::{Known, Name};
use crate::resolve::Resolved;

/// What a catalog would add.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogNews {
    /// As the configuration names it.
    pub catalog: String,
    /// The digest that it has at its source.
    pub source_digest: Digest,
    /// Its name at the target, below the target's namespace; none when that is a digest that it does not have yet.
    pub name: Option<String>,
    /// Whether it is carried as it is.
    pub whole: bool,
    /// The digest that the last sequence states for it; none when it is new.
    pub previous: Option<String>,
    /// Packages that the catalog at the target does not have.
    pub packages_added: Vec<String>,
    /// Packages that the catalog at the target has, and would not have any more.
    pub packages_removed: Vec<String>,
    /// The packages with bundles that no sequence carried.
    pub packages: Vec<PackageNews>,
    /// Bundles that sequences carried.
    pub bundles_known: usize,
}

/// The new bundles of a package.
#[derive(Debug, Clone, Serialize)]
pub struct PackageNews {
    /// Its name.
    pub package: String,
    /// The bundles.
    pub bundles: Vec<NewBundle>,
}

/// A bundle that no sequence carried.
#[derive(Debug, Clone, Serialize)]
pub struct NewBundle {
    /// Its name.
    pub bundle: String,
    /// Its version.
    pub version: String,
    /// Its image.
    pub image: String,
    /// The channels that it is taken in.
    pub channels: Vec<String>,
    /// Why.
    pub why: Vec<String>,
}

impl CatalogNews {
    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        let moved = self.whole && self.previous != Some(self.source_digest.to_string());
        let same = self.packages_added.is_empty() && self.packages_removed.is_empty();
        self.previous.is_some() && !moved && same && self.packages.is_empty()
    }

    /// The number of its new bundles.
    pub fn bundles(&self) -> usize {
        self.packages.iter().map(|package| package.bundles.len()).sum()
    }
}

impl Carried<'_> {
    /// What each catalog would add. What cannot be had of it, as far as that is known, is noted.
    pub(crate) fn news(&mut self, known: &Known, resolved: &mut Resolved) -> Vec<CatalogNews> {
        let mut all = Vec::with_capacity(self.catalogs.len());
        for catalog in &mut self.catalogs {
            // As if all images could be had.
            let lost = catalog.lost(|_| true, &HashSet::new(), known.resources(), resolved);
            let Some(lost) = lost else { continue };
            all.push(catalog.news(|needs| !lost.contains(&needs.package), known));
        }
        all
    }
}

impl Chosen<'_> {
    fn news(&self, is_carried: impl Fn(&&Needs) -> bool, known: &Known) -> CatalogNews {
        let told = self.stated(known.resources());
        let previous = told.as_ref().and_then(|told| told["digest"].as_str());
        let there = told.as_ref().map(packages).unwrap_or_default();
        let carried = || self.packages.iter().filter(&is_carried);
        let names: BTreeSet<String> = carried().map(|needs| needs.package.clone()).collect();
        let mut news = CatalogNews {
            catalog: self.name.clone(),
            source_digest: self.opened.digest,
            name: self.tag.as_ref().map(|tag| format!("{}:{tag}", self.repository)),
            whole: self.selection.whole,
            previous: previous.map(ToOwned::to_owned),
            packages_added: names.difference(&there).cloned().collect(),
            packages_removed: there.difference(&names).cloned().collect(),
            packages: Vec::new(),
            bundles_known: 0,
        };
        for needs in carried() {
            let bundles = self.bundles(needs, known);
            news.bundles_known += needs.bundles.len() - bundles.len();
            if !bundles.is_empty() {
                let package = needs.package.clone();
                news.packages.push(PackageNews { package, bundles });
            }
        }
        news
    }

    /// What the last sequence says of it. One that is named by the digest that it will have is found by its source, which is a
    /// digest too.
    fn stated(&self, standing: &[Resource]) -> Option<Value> {
        let name = match &self.tag {
            Some(tag) => format!("{KIND}{}/{tag}", self.repository),
            None => format!("{KIND}{}/sha256-", self.repository),
        };
        let mut told = standing.iter().filter(|resource| match self.tag {
            Some(_) => resource.name == name,
            None => resource.name.starts_with(&name),
        });
        told.find_map(|resource| {
            stated(resource).filter(|told| self.tag.is_some() || told["source"] == *self.name)
        })
    }

    /// The bundles of a package that no sequence carried, the newest version first.
    fn bundles(&self, needs: &Needs, known: &Known) -> Vec<NewBundle> {
        let package = self.opened.model.packages.get(&needs.package);
        let picked = self.selection.packages.iter().find(|picked| picked.name == needs.package);
        let (Some(package), Some(picked)) = (package, picked) else { return Vec::new() };
        let whys = whys(picked, package);
        let is_new = |need: &&Need| {
            let Destination { repository, tag } = &need.destination;
            known.reference(repository, &Name::Tag(tag.clone())).is_none()
        };
        let bundles = needs.bundles.iter().filter(is_new).map(|need| {
            let (channels, why) = whys.get(&need.bundle).cloned().unwrap_or_default();
            let version =
                package.bundles.get(&need.bundle).map(|bundle| bundle.version.to_string());
            NewBundle {
                bundle: need.bundle.to_string(),
                version: version.unwrap_or_default(),
                image: need.name.clone(),
                channels,
                why,
            }
        });
        let mut bundles: Vec<_> = bundles.collect();
        let version = |bundle: &NewBundle| bundle.version.parse::<Version>().ok();
        bundles.sort_by_cached_key(|bundle| Reverse((version(bundle), bundle.bundle.clone())));
        bundles
    }
}

/// Channels, and the reasons for a bundle in these.
type Whys = (Vec<String>, Vec<String>);

/// Of each bundle the channels that it is taken in, and why.
fn whys<'a>(picked: &Picked, package: &'a Package) -> HashMap<&'a Arc<str>, Whys> {
    let mut whys: HashMap<_, Whys> = HashMap::new();
    for channel in &picked.channels {
        let Some(of) = package.channels.get(channel.place) else { continue };
        for entry in &channel.entries {
            let Some(named) = of.entries.get(entry.place) else { continue };
            let (channels, all) = whys.entry(&named.name).or_default();
            channels.push(channel.name.clone());
            let why = entry.why.to_string();
            if !all.contains(&why) {
                all.push(why);
            }
        }
    }
    whys
}
