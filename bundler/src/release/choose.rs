//! One entry of `mirror.platform.channels` and one graph: which releases are carried, and why.
//!
//! In: the entry, the channel's graph, the accepted risks. Out: a selection, which knows for every release why it is
//! in or not. The rules are those of oc-mirror, with two differences that are decided in `docs/decisions/0012`: a
//! `maxVersion` alone begins at the first release of its own minor, and a shortest path that there is not is an
//! error. What no cluster could walk is told ([`gaps`]). What must hold: versions are compared as semantic versions, never as text; nothing that was asked for is
//! left out without a word.

use std::fmt;

use semver::Version;
use serde::Serialize;

use super::fault::ReleaseError;
use super::gaps;
use super::graph::Graph;
use super::limits::NEAREST;
use super::path::{self, AcceptedRisks, Path};
use crate::config::ReleaseChannel;

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// The newest release alone.
    Head,
    /// One release.
    One,
    /// All from one version to another.
    Range,
    /// The whole channel.
    Full,
    /// The shortest update path from one to another.
    Path,
}

/// What one entry takes of one graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What is asked for.
    pub asked: Asked,
    /// Its lower end, as named or found.
    pub from: Version,
    /// Its upper end.
    pub to: Version,
    /// The places of the chosen releases in the graph, in their order.
    pub chosen: Vec<usize>,
    /// The path, when one was asked for.
    pub path: Option<Path>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Why a release is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The newest of its channel.
    Head,
    /// Named alone.
    One,
    /// Within the range.
    Range(Version, Version),
    /// The whole channel is.
    Full,
    /// On the path between these two.
    Path(Version, Version),
    /// On the way from one channel to another.
    Hop {
        /// Where the way begins.
        from: Version,
        /// Where it leads.
        to: Version,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("the newest of the channel"),
            Self::One => f.write_str("named"),
            Self::Range(from, to) => write!(f, "from {from} to {to}"),
            Self::Full => f.write_str("the whole channel"),
            Self::Path(from, to) => write!(f, "on the shortest path from {from} to {to}"),
            Self::Hop { from, to } => {
                write!(f, "on the way from {from} to {to} over several channels")
            }
        }
    }
}

/// Why a release is not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// The newest one alone is.
    NotHead,
    /// Below the lower end.
    Below(Version),
    /// Above the upper end.
    Above(Version),
    /// Between the ends, and not on the path.
    OffPath,
    /// The channel does not have it.
    Absent,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHead => f.write_str(
                "older than the newest, which comes alone without `minVersion` or `full`",
            ),
            Self::Below(min) => write!(f, "below {min}"),
            Self::Above(max) => write!(f, "above {max}"),
            Self::OffPath => f.write_str("not on the path"),
            Self::Absent => f.write_str("not in the channel"),
        }
    }
}

/// What an entry takes of a graph.
pub fn select(
    entry: &ReleaseChannel,
    graph: &Graph,
    risks: &AcceptedRisks,
) -> Result<Selection, ReleaseError> {
    let (Some(first), Some(head)) = (graph.nodes().first(), graph.nodes().last()) else {
        let (channel, architecture) = (graph.channel.clone(), graph.architecture.clone());
        return Err(ReleaseError::Empty { channel, architecture, known: Vec::new() });
    };
    let (first, head) = (&first.version, &head.version);
    let mut warnings = Vec::new();
    let (min, max) = match (&entry.range.min, &entry.range.max) {
        (Some(min), Some(max)) => (min.clone(), max.clone()),
        (Some(min), None) => (min.clone(), head.clone()),
        (None, None) if entry.full => (first.clone(), head.clone()),
        (None, None) => (head.clone(), head.clone()),
        (None, Some(max)) if entry.full => (first.clone(), max.clone()),
        (None, Some(max)) => (own_minor(graph, max, &mut warnings)?, max.clone()),
    };
    let asked = match &entry.range {
        range if range.is_open() && !entry.full => Asked::Head,
        _ if min == max => Asked::One,
        _ if entry.shortest_path => Asked::Path,
        range if range.is_open() => Asked::Full,
        _ => Asked::Range,
    };
    let (chosen, path) = match asked {
        Asked::Path => {
            let path = on_path(graph, &min, &max, risks)?;
            let mut chosen = path.nodes.clone();
            chosen.sort_unstable();
            (chosen, Some(path))
        }
        Asked::One => {
            let at = place(graph, &min)?;
            // Several that differ in what a build adds, and none of them is named.
            let exact = *graph.version(at) == min;
            (if exact { vec![at] } else { within(graph, &min, &max)? }, None)
        }
        _ => (within(graph, &min, &max)?, None),
    };
    let between = max.minor.saturating_sub(min.minor);
    if asked == Asked::Range && between >= 2 && graph.channel.starts_with("eus-") {
        warnings.push(format!(
            "`{}`: all releases from {min} to {max} are carried, over {between} minor releases; `shortestPath: true` \
             carries only those of one update path",
            graph.channel
        ));
    }
    warnings.extend(match asked {
        Asked::Range => gaps::of_range(graph, &chosen, risks),
        Asked::Full => gaps::of_channel(graph, &chosen, risks),
        Asked::Head | Asked::One | Asked::Path => None,
    });
    Ok(Selection { asked, from: min, to: max, chosen, path, warnings })
}

/// The first release of the minor that `max` belongs to.
fn own_minor(
    graph: &Graph,
    max: &Version,
    warnings: &mut Vec<String>,
) -> Result<Version, ReleaseError> {
    let own = |version: &Version| (version.major, version.minor) == (max.major, max.minor);
    let mut nodes = graph.nodes().iter().map(|node| &node.version);
    let Some(min) = nodes.find(|version| own(version)) else {
        return Err(nothing(graph, format!("of {}.{} up to {max}", max.major, max.minor), max));
    };
    let (first, channel) = (graph.version(0), &graph.channel);
    if first != min {
        warnings.push(format!(
            "`{channel}`: `maxVersion: {max}` alone begins at {min}, the first release of {}.{}; oc-mirror begins at \
             {first}, the oldest of the channel, which `minVersion: {first}` asks for; to have {max} alone write it as \
             `minVersion` too",
            max.major, max.minor
        ));
    }
    Ok(min.clone())
}

fn within(graph: &Graph, min: &Version, max: &Version) -> Result<Vec<usize>, ReleaseError> {
    let inside = |version: &Version| {
        version.cmp_precedence(min).is_ge() && version.cmp_precedence(max).is_le()
    };
    let all = 0..graph.nodes().len();
    let chosen: Vec<usize> = all.filter(|at| inside(graph.version(*at))).collect();
    if chosen.is_empty() {
        let range = if min.cmp_precedence(max).is_gt() {
            format!("from {min} on: {max} is the last one")
        } else {
            format!("from {min} to {max}")
        };
        return Err(nothing(graph, range, min));
    }
    Ok(chosen)
}

fn nothing(graph: &Graph, range: String, near: &Version) -> ReleaseError {
    ReleaseError::Nothing {
        channel: graph.channel.clone(),
        architecture: graph.architecture.clone(),
        range,
        nearest: graph.nearest(near, NEAREST),
    }
}

/// Where a release stands that must be there.
pub(super) fn place(graph: &Graph, version: &Version) -> Result<usize, ReleaseError> {
    graph.find(version).ok_or_else(|| ReleaseError::Unknown {
        channel: graph.channel.clone(),
        architecture: graph.architecture.clone(),
        version: version.clone(),
        nearest: graph.nearest(version, NEAREST),
    })
}

/// The shortest path between two releases of a channel.
pub fn on_path(
    graph: &Graph,
    min: &Version,
    max: &Version,
    risks: &AcceptedRisks,
) -> Result<Path, ReleaseError> {
    let (from, to) = (place(graph, min)?, place(graph, max)?);
    path::shortest(graph, from, to, risks)
        .ok_or_else(|| ReleaseError::NoPath(Box::new(path::nearest(graph, from, to, risks))))
}

impl Selection {
    /// Why the chosen ones are.
    pub fn why(&self) -> Why {
        let ends = || (self.from.clone(), self.to.clone());
        match self.asked {
            Asked::Head => Why::Head,
            Asked::One => Why::One,
            Asked::Full => Why::Full,
            Asked::Range => Why::Range(ends().0, ends().1),
            Asked::Path => Why::Path(ends().0, ends().1),
        }
    }

    /// Why a version is not chosen; `None` when it is.
    pub fn why_not(&self, graph: &Graph, version: &Version) -> Option<WhyNot> {
        let Some(at) = graph.find(version) else { return Some(WhyNot::Absent) };
        self.why_not_at(graph, at)
    }

    /// The same of a release by its place.
    pub(super) fn why_not_at(&self, graph: &Graph, at: usize) -> Option<WhyNot> {
        if self.chosen.binary_search(&at).is_ok() {
            return None;
        }
        let version = graph.version(at);
        Some(if self.asked == Asked::Head {
            WhyNot::NotHead
        } else if version.cmp_precedence(&self.from).is_lt() {
            WhyNot::Below(self.from.clone())
        } else if version.cmp_precedence(&self.to).is_gt() {
            WhyNot::Above(self.to.clone())
        } else {
            WhyNot::OffPath
        })
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
