//! What the configuration asks of a channel, and what that keeps.
//!
//! In: a package and what is written about it. Out: one rule for each channel, and the entries that it keeps. Whether they
//! are a channel is not asked here.

use semver::Version;

use super::version::{Bounds, Reading};
use super::{Kept, Reason, Rule, Start, Why, v1, v2, works};
use crate::catalog::graph::{Graph, GraphFault};
use crate::catalog::model::{Channel, Package};
use crate::config::{ApiVersion, OperatorChannel, OperatorPackage, VersionRange};

/// What is asked of a channel, and whether it is written at the channel itself.
pub(super) fn rule(
    wanted: Option<&OperatorPackage>,
    asked: Option<&OperatorChannel>,
    full: bool,
    version: ApiVersion,
) -> (Rule, bool) {
    let whole = if full { Rule::Full } else { Rule::Head };
    let Some(wanted) = wanted else { return (whole, false) };
    if !wanted.bundles.is_empty() {
        let names = wanted.bundles.iter().map(|bundle| bundle.name.clone()).collect();
        return (Rule::Bundles(names), false);
    }
    let own = asked.filter(|asked| !asked.range.is_open() || asked.min_bundle.is_some());
    let (range, bundle) = match own {
        Some(asked) => (&asked.range, &asked.min_bundle),
        None => (&wanted.range, &wanted.min_bundle),
    };
    let bounds = Bounds::of(range, version);
    let rule = match (range, bundle, version) {
        (VersionRange { max, .. }, Some(bundle), _) => {
            Rule::From(Start::Bundle(bundle.clone()), max.clone())
        }
        (range, None, _) if range.is_open() => whole,
        (VersionRange { min: Some(min), max: None }, None, ApiVersion::V1Alpha2) => {
            Rule::From(Start::Version(min.clone()), None)
        }
        (_, None, ApiVersion::V2Alpha1) => match bounds.one() {
            Some(one) => Rule::One(one.clone()),
            None => Rule::Range(bounds),
        },
        (_, None, ApiVersion::V1Alpha2) => Rule::Range(bounds),
    };
    (rule, own.is_some())
}

/// What a rule keeps of a channel.
pub(super) fn keep(
    package: &Package,
    channel: &Channel,
    rule: &Rule,
    version: ApiVersion,
) -> Result<Vec<Kept>, Vec<Reason>> {
    let graph = Graph::of(&channel.entries);
    let all = |why: &dyn Fn(usize) -> Option<Why>| {
        v2::kept((0..graph.len()).map(why).collect::<Vec<Option<Why>>>())
    };
    let flaw = |what| vec![Reason::Flaw(what)];
    match rule {
        Rule::Head => {
            let head = graph.head().map_err(flaw)?;
            Ok(vec![Kept { place: head, why: Why::Head }])
        }
        Rule::Full => Ok(all(&|_| Some(Why::Full))),
        Rule::Bundles(names) => {
            Ok(all(&|place| names.contains(&*graph.entry(place).name).then_some(Why::Named)))
        }
        Rule::Range(bounds) => {
            let versions = versions(package, channel)?;
            in_range(&graph, &versions, bounds).map_err(flaw)
        }
        Rule::One(one) => {
            let versions = versions(package, channel)?;
            let starts = named(&versions, one, version);
            match starts[..] {
                [] => Ok(Vec::new()),
                [place] => Ok(vec![Kept { place, why: Why::One }]),
                // Versions that differ in build metadata alone.
                _ => {
                    let within: Vec<bool> =
                        (0..graph.len()).map(|place| starts.contains(&place)).collect();
                    v2::range(&graph, &within).map_err(flaw)
                }
            }
        }
        Rule::From(start, max) => {
            let versions = versions(package, channel)?;
            let starts = match start {
                Start::Version(min) => named(&versions, min, version),
                Start::Bundle(name) => graph.find(name).into_iter().collect(),
            };
            if starts.is_empty() {
                return Ok(Vec::new());
            }
            let mut kept = v1::from(&graph, &starts).map_err(flaw)?;
            if let Some(max) = max {
                kept.retain(|kept| {
                    let version = versions[kept.place].as_ref();
                    version.is_some_and(|version| version.cmp_precedence(max).is_le())
                });
            }
            Ok(kept)
        }
    }
}

/// What bounds keep of a channel.
fn in_range(
    graph: &Graph<'_>,
    versions: &[Option<Version>],
    bounds: &Bounds,
) -> Result<Vec<Kept>, GraphFault> {
    let within: Vec<bool> =
        versions.iter().map(|version| version.as_ref().is_some_and(|v| bounds.has(v))).collect();
    match bounds.reading {
        Reading::Masterminds => v2::range(graph, &within),
        Reading::Plain => {
            Ok(v2::kept(within.into_iter().map(|within| within.then_some(Why::Range)).collect()))
        }
    }
}

/// The entries of one version: as it is written, else equal to it, else, in v1, without what follows `-`.
fn named(versions: &[Option<Version>], one: &Version, version: ApiVersion) -> Vec<usize> {
    let find = |like: &dyn Fn(&Version) -> bool| -> Vec<usize> {
        let known = versions.iter().enumerate();
        known.filter(|(_, v)| v.as_ref().is_some_and(like)).map(|(place, _)| place).collect()
    };
    let mut found = find(&|v| v == one);
    if found.is_empty() {
        found = find(&|v| v.cmp_precedence(one).is_eq());
    }
    if found.is_empty() && version == ApiVersion::V1Alpha2 && one.pre.is_empty() {
        let numbers = |v: &Version| (v.major, v.minor, v.patch);
        found = find(&|v| numbers(v) == numbers(one));
    }
    found
}

/// The version of each entry; `None` where the package has no such bundle.
fn versions(package: &Package, channel: &Channel) -> Result<Vec<Option<Version>>, Vec<Reason>> {
    let mut reasons = Vec::new();
    let mut out = Vec::with_capacity(channel.entries.len());
    for entry in &channel.entries {
        let bundle = package.bundles.get(&entry.name);
        out.push(bundle.and_then(|bundle| match bundle.version.parse::<Version>() {
            Ok(version) => Some(version),
            Err(error) => {
                reasons.push(Reason::Version {
                    bundle: entry.name.clone(),
                    text: bundle.version.clone(),
                    problem: error.to_string(),
                });
                None
            }
        }));
    }
    if reasons.is_empty() { Ok(out) } else { Err(reasons) }
}

/// The versions of a channel that can be read.
pub(super) fn known(package: &Package, channel: &Channel) -> Vec<Version> {
    let bundles = channel.entries.iter().filter_map(|entry| package.bundles.get(&entry.name));
    bundles.filter_map(|bundle| bundle.version.parse().ok()).collect()
}

/// The nearest bounds of which something is left that is a channel.
pub(super) fn would_work(package: &Package, channel: &Channel, bounds: &Bounds) -> Option<Bounds> {
    let graph = Graph::of(&channel.entries);
    let versions = versions(package, channel).ok()?;
    works::nearest(&mut known(package, channel), bounds, |bounds| {
        let kept = in_range(&graph, &versions, bounds).unwrap_or_default();
        let entries = kept.iter().map(|kept| &channel.entries[kept.place]);
        // An empty channel is a fault too.
        Graph::of(entries).faults(|name| package.bundles.contains_key(name)).is_empty()
    })
}
