//! What the chosen bundles need of other packages.
//!
//! In: the catalog, and what was chosen of it. Out, as oc-mirror v1 does it: for every requirement of every bundle that is kept, and
//! of those that this adds, the newest bundle that satisfies it, with what updates that up to the head of its channel. For v2,
//! which adds nothing: what is missing, as a warning. A requirement that nobody in the catalog satisfies is told in both:
//! another catalog may, which a cluster has or not. What must hold: circles of packages end, because a bundle is looked at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use semver::Version;

use super::demand::Demand;
use super::draft::Draft;
use super::v1::upward;
use super::{Fault, Reason, Why};
use crate::catalog::graph::Graph;
use crate::catalog::model::{Bundle, Catalog, Gvk, Requirement};
use crate::catalog::wording::quoted;

/// Warnings of one kind that are told one by one.
const WARNINGS_MAX: usize = 20;

/// A bundle and its package.
type Named<'a> = (&'a str, &'a Arc<str>);

/// Adds what is needed. Packages that `failed` are not touched.
pub(super) fn add<'a>(
    catalog: &'a Catalog,
    drafts: &mut BTreeMap<&'a str, Draft<'a>>,
    failed: &BTreeSet<&str>,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) {
    let needs = Needs::of(catalog);
    let mut seen: HashSet<Named<'a>> = HashSet::new();
    let mut answered: HashSet<&Requirement> = HashSet::new();
    let mut told = Warnings::default();
    loop {
        let kept = kept_bundles(drafts);
        let new: Vec<Named<'a>> = kept.iter().copied().filter(|name| seen.insert(*name)).collect();
        if new.is_empty() {
            break;
        }
        for (package, of) in new {
            let Some(bundle) = needs.bundle(package, of) else { continue };
            for requirement in &bundle.requires {
                if !answered.insert(requirement) {
                    continue;
                }
                let unread = unread(requirement);
                if let Some(why) = &unread {
                    let (of, package) = (quoted(of), quoted(package));
                    told.push(format!(
                        "package {package}: {of} needs {why}; nothing is added for it"
                    ));
                }
                let newest = needs.newest(requirement, &kept);
                if newest.is_empty() && !needs.is_met(requirement, &kept) && unread.is_none() {
                    told.push(nobody_has(package, of, requirement));
                }
                for (package, bundle) in newest {
                    if failed.contains(package) {
                        continue;
                    }
                    let Some((name, from)) = catalog.packages.get_key_value(package) else {
                        continue;
                    };
                    let draft =
                        drafts.entry(name.as_str()).or_insert_with(|| Draft::needed(name, from));
                    match put(draft, bundle, of) {
                        Ok(true) => {}
                        Ok(false) => told.push(format!(
                            "package {}: {} needs {}, which the head of its channel skips; it is not added",
                            quoted(package), quoted(of), quoted(bundle)
                        )),
                        Err(fault) => faults.push(*fault),
                    }
                }
            }
        }
    }
    drafts.retain(|_, draft| draft.parts.iter().any(|part| !part.kept.is_empty()));
    told.into(warnings);
}

/// Says what the kept bundles need and nothing asks for, or nothing in the catalog has.
pub(super) fn missing(
    catalog: &Catalog,
    drafts: &BTreeMap<&str, Draft<'_>>,
    warnings: &mut Vec<String>,
) {
    let kept = kept_bundles(drafts);
    let needs = Needs::of(catalog);
    let mut answered: HashSet<&Requirement> = HashSet::new();
    let mut told = Warnings::default();
    for (package, of) in &kept {
        let Some(bundle) = needs.bundle(package, of) else { continue };
        for requirement in &bundle.requires {
            if !answered.insert(requirement) || needs.is_met(requirement, &kept) {
                continue;
            }
            let providers: BTreeSet<&str> =
                needs.newest(requirement, &kept).into_iter().map(|(package, _)| package).collect();
            if providers.is_empty() {
                told.push(nobody_has(package, of, requirement));
            } else {
                let providers: Vec<&str> = providers.into_iter().collect();
                told.push(format!(
                    "package {}: {} needs {}, which is not carried: add {} to `packages`",
                    quoted(package),
                    quoted(of),
                    said(requirement),
                    crate::catalog::wording::list(&providers)
                ));
            }
        }
    }
    told.into(warnings);
}

fn nobody_has(package: &str, of: &str, requirement: &Requirement) -> String {
    format!(
        "package {}: {} needs {}, which nothing in this catalog offers: another one has to",
        quoted(package),
        quoted(of),
        said(requirement)
    )
}

/// Warnings, the first of them and a count of the others.
#[derive(Default)]
struct Warnings {
    first: Vec<String>,
    more: usize,
}

impl Warnings {
    fn push(&mut self, warning: String) {
        if self.first.len() < WARNINGS_MAX { self.first.push(warning) } else { self.more += 1 }
    }

    fn into(self, warnings: &mut Vec<String>) {
        warnings.extend(self.first);
        if self.more > 0 {
            warnings.push(format!("and {} more bundles with such needs", self.more));
        }
    }
}

/// Every kept bundle, in the order of packages and names.
fn kept_bundles<'a>(drafts: &BTreeMap<&'a str, Draft<'a>>) -> BTreeSet<Named<'a>> {
    let mut kept = BTreeSet::new();
    for draft in drafts.values() {
        for (part, channel) in draft.parts.iter().zip(&draft.package.channels) {
            kept.extend(part.kept.keys().map(|place| (draft.name, &channel.entries[*place].name)));
        }
    }
    kept
}

/// Adds a bundle and what updates it. Says whether it was added; it is not where the head of its channel skips it.
fn put<'a>(draft: &mut Draft<'a>, bundle: &'a Arc<str>, by: &Arc<str>) -> Result<bool, Box<Fault>> {
    let package = draft.package;
    let mut places: Vec<(usize, usize)> = (package.channels.iter().enumerate())
        .filter_map(|(at, channel)| {
            channel.entries.iter().position(|entry| entry.name == *bundle).map(|place| (at, place))
        })
        .collect();
    // The default channel, then one that is carried, then the first.
    places.sort_by_key(|(at, _)| {
        let default = package.channels[*at].name == package.default_channel;
        (!default, draft.parts[*at].kept.is_empty(), *at)
    });
    let mut skipped = places.is_empty();
    let mut lost = None;
    for (at, place) in places {
        let channel = &package.channels[at];
        let (name, of) = (draft.name.to_owned(), Some(channel.name.clone()));
        let fault = |reason| Box::new(Fault { package: name, channel: of, at: None, reason });
        if draft.parts[at].kept.contains_key(&place) {
            return Ok(true);
        }
        let graph = Graph::of(&channel.entries);
        let way = graph.head().and_then(|head| {
            let chain = graph.chain(head)?;
            Ok((head, upward(&graph, &chain, &graph.replacers(), place)?))
        });
        match way {
            Ok((_, Some(way))) => {
                for here in way {
                    let needed = Why::Needed { by: by.clone() };
                    let above = Why::NeededAbove { bundle: bundle.clone(), by: by.clone() };
                    let why = if here == place { needed } else { above };
                    draft.parts[at].kept.entry(here).or_insert(why);
                }
                return Ok(true);
            }
            Ok((head, None)) if graph.skips(head).contains(&place) => skipped = true,
            Ok((head, None)) => {
                let (bundle, of) = (bundle.clone(), by.clone());
                let head = graph.entry(head).name.clone();
                lost.get_or_insert(fault(Reason::Unreachable { bundle, of, head }));
            }
            Err(what) => {
                lost.get_or_insert(fault(Reason::Flaw(what)));
            }
        }
    }
    match lost {
        Some(fault) if !skipped => Err(fault),
        _ => Ok(false),
    }
}

/// The catalog, by what its bundles offer.
struct Needs<'a> {
    catalog: &'a Catalog,
    offers: HashMap<&'a Gvk, BTreeSet<&'a str>>,
}

impl<'a> Needs<'a> {
    fn of(catalog: &'a Catalog) -> Self {
        let mut offers: HashMap<&Gvk, BTreeSet<&str>> = HashMap::new();
        for (name, package) in &catalog.packages {
            for gvk in package.bundles.values().flat_map(|bundle| &bundle.provides) {
                offers.entry(gvk).or_default().insert(name);
            }
        }
        Self { catalog, offers }
    }

    fn bundle(&self, package: &str, name: &str) -> Option<&'a Bundle> {
        self.catalog.packages.get(package)?.bundles.get(name)
    }

    /// The newest bundle that satisfies a requirement, of each package that has one. Where a package is carried that does,
    /// no other one is taken.
    fn newest(&self, requirement: &Requirement, kept: &BTreeSet<Named<'a>>) -> Vec<Named<'a>> {
        let mut packages = BTreeSet::new();
        self.candidates(requirement, &mut packages);
        let carried: BTreeSet<&str> = (packages.iter().copied())
            .filter(|name| self.carries(name, requirement, kept))
            .collect();
        let chosen = if carried.is_empty() { packages } else { carried };
        let found: Vec<Named<'a>> =
            chosen.iter().filter_map(|name| self.newest_of(name, requirement)).collect();
        if !found.is_empty() {
            return found;
        }
        match requirement {
            // No single bundle is all of it; several may be.
            Requirement::All(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.newest(part, kept));
                }
                all
            }
            // The alternative that is carried, else the first one that there is.
            Requirement::Any(parts) => {
                let met = parts.iter().filter(|part| self.is_met(part, kept));
                (met.chain(parts).map(|part| self.newest(part, kept)))
                    .find(|found| !found.is_empty())
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// The packages that a requirement may be about.
    fn candidates(&self, requirement: &Requirement, packages: &mut BTreeSet<&'a str>) {
        match requirement {
            Requirement::Package { name, .. } => {
                packages.extend(
                    self.catalog.packages.get_key_value(name).map(|(name, _)| name.as_str()),
                );
            }
            Requirement::Gvk(gvk) => packages.extend(self.offers.get(&**gvk).into_iter().flatten()),
            Requirement::All(parts) => {
                parts.iter().for_each(|part| self.candidates(part, packages));
            }
            Requirement::Any(_) | Requirement::Not(_) | Requirement::Cel(_) => {}
        }
    }

    fn newest_of(&self, package: &'a str, requirement: &Requirement) -> Option<Named<'a>> {
        let bundles = &self.catalog.packages.get(package)?.bundles;
        let met = bundles.iter().filter(|(_, bundle)| meets(requirement, package, bundle));
        let read = met.filter_map(|(name, bundle)| {
            bundle.version.parse::<Version>().ok().map(|version| (version, name))
        });
        let newest = read.max_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.cmp(other)))?;
        Some((package, newest.1))
    }

    /// Whether one bundle of a package that is carried satisfies a requirement.
    fn carries(
        &self,
        package: &str,
        requirement: &Requirement,
        kept: &BTreeSet<Named<'_>>,
    ) -> bool {
        let bundles = self.catalog.packages.get(package).into_iter().flat_map(|of| &of.bundles);
        let mut carried = bundles.filter(|(name, _)| kept.contains(&(package, *name)));
        carried.any(|(_, bundle)| meets(requirement, package, bundle))
    }

    /// Whether what is carried satisfies a requirement.
    fn is_met(&self, requirement: &Requirement, kept: &BTreeSet<Named<'a>>) -> bool {
        match requirement {
            Requirement::Any(parts) => parts.iter().any(|part| self.is_met(part, kept)),
            Requirement::Not(_) | Requirement::Cel(_) => true,
            Requirement::Package { .. } | Requirement::Gvk(_) | Requirement::All(_) => {
                let mut packages = BTreeSet::new();
                self.candidates(requirement, &mut packages);
                let one = packages.iter().any(|name| self.carries(name, requirement, kept));
                let parts = match requirement {
                    Requirement::All(parts) => parts.iter().all(|part| self.is_met(part, kept)),
                    _ => false,
                };
                one || parts
            }
        }
    }
}

/// Whether one bundle satisfies a requirement. An expression that nothing here evaluates counts as satisfied.
fn meets(requirement: &Requirement, package: &str, bundle: &Bundle) -> bool {
    match requirement {
        Requirement::Package { name, range } => {
            name == package
                && Demand::parse(range).is_some_and(|demand| {
                    bundle.version.parse().is_ok_and(|version| demand.has(&version))
                })
        }
        Requirement::Gvk(gvk) => bundle.provides.contains(gvk),
        Requirement::All(parts) => parts.iter().all(|part| meets(part, package, bundle)),
        Requirement::Any(parts) => parts.iter().any(|part| meets(part, package, bundle)),
        Requirement::Not(parts) => !parts.iter().any(|part| meets(part, package, bundle)),
        Requirement::Cel(_) => true,
    }
}

/// What of a requirement cannot be read, in words.
fn unread(requirement: &Requirement) -> Option<String> {
    match requirement {
        Requirement::Package { range, .. } => Demand::parse(range)
            .is_none()
            .then(|| format!("{}, which is no range of versions", said(requirement))),
        Requirement::Gvk(_) => None,
        Requirement::All(parts) | Requirement::Any(parts) | Requirement::Not(parts) => {
            parts.iter().find_map(unread)
        }
        Requirement::Cel(_) => Some(format!("{}, which is not evaluated", said(requirement))),
    }
}

/// A requirement in words.
fn said(requirement: &Requirement) -> String {
    let joined = |parts: &[Requirement], word: &str| {
        let mut out = String::new();
        for (n, part) in parts.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{}", if n == 0 { "" } else { word }, said(part));
        }
        out
    };
    match requirement {
        Requirement::Package { name, range } if range.is_empty() => {
            format!("package {}", quoted(name))
        }
        Requirement::Package { name, range } => {
            format!("package {} {}", quoted(name), quoted(range))
        }
        Requirement::Gvk(gvk) => {
            let Gvk { group, version, kind } = &**gvk;
            format!("the interface {}", quoted(&format!("{group}/{version} {kind}")))
        }
        Requirement::All(parts) => joined(parts, " and "),
        Requirement::Any(parts) => joined(parts, " or "),
        Requirement::Not(parts) => format!("not {}", joined(parts, " or ")),
        Requirement::Cel(rule) => format!("the expression {}", quoted(rule)),
    }
}
