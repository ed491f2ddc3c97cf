//! The way over several channels: from the lowest release that is asked for to the highest, when they are in
//! different ones.
//!
//! In: what was chosen of each channel of OpenShift, and the graphs of the channels on the way. Out: the releases in
//! between, or where the way is blocked. A [`Journey`] says which channels are on the way, before any is fetched;
//! [`Journey::walk`] finds the way in their graphs. What must hold: as in oc-mirror a channel is left at its newest
//! release, but not at one from which nothing leads on: then at the newest one that does, and that is told (oc-mirror
//! carries the one that leads nowhere). EUS
//! channels follow each other by two minor releases, and their graphs have the odd one in between.

use semver::Version;
use serde::Serialize;

use super::fault::{ChannelName, list, opening};
use super::graph::Graph;
use super::limits::{LEGS_MAX, NEAREST};
use super::path::{self, AcceptedRisks, Crossing};

/// What was chosen of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The lowest release.
    pub min: &'a Version,
    /// The highest one.
    pub max: &'a Version,
}

/// A way that is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// The channel of the lowest release.
    pub source: String,
    /// The lowest release.
    pub from: Version,
    /// The highest one.
    pub to: Version,
    /// The channels on the way, in order; the last one is that of the highest release.
    pub legs: Vec<String>,
}

/// The way, as far as it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// The releases in each channel.
    pub steps: Vec<Step>,
    /// The steps that carry risks.
    pub risks: Vec<Crossing>,
    /// Why it does not reach its end; `None` when it does.
    pub blocked: Option<String>,
    /// What else a person should know.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// The part of a way that is in one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The channel.
    pub channel: String,
    /// The releases, both ends among them.
    pub releases: Vec<Version>,
}

/// Which channels are on the way, if there is one to be found. The text is why it cannot be planned.
pub fn journey(bounds: &[Bounds<'_>]) -> Result<Option<Journey>, String> {
    let low = bounds.iter().map(|bounds| bounds.min).min_by(|a, b| a.cmp_precedence(b));
    let high = bounds.iter().map(|bounds| bounds.max).max_by(|a, b| a.cmp_precedence(b));
    let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
    let has_low = |bounds: &&Bounds<'_>| bounds.min.cmp_precedence(low).is_eq();
    let has_high = |bounds: &&Bounds<'_>| bounds.max.cmp_precedence(high).is_eq();
    // A channel that has both ends needs no way to another one.
    if bounds.iter().any(|bounds| has_low(&bounds) && has_high(&bounds)) {
        return Ok(None);
    }
    let (Some(source), Some(target)) = (bounds.iter().find(has_low), bounds.iter().find(has_high))
    else {
        return Ok(None);
    };
    Ok(Some(Journey {
        source: source.channel.to_owned(),
        from: low.clone(),
        to: high.clone(),
        legs: legs(source.channel, target.channel)?,
    }))
}

fn legs(source: &str, target: &str) -> Result<Vec<String>, String> {
    let name = |channel| {
        ChannelName::of(channel).ok_or_else(|| {
            format!(
                "the way from `{source}` to `{target}` is not planned: `{channel}` is not named as `stable-4.18`; the \
                 releases of each channel are carried"
            )
        })
    };
    let (from, to) = (name(source)?, name(target)?);
    let mut legs = Vec::new();
    if from.major == to.major && from.minor < to.minor {
        legs.push(source.to_owned());
        let by = if from.prefix == "eus" { 2 } else { 1 };
        let mut minor = from.minor + by;
        while minor < to.minor {
            legs.push(format!("{}-{}.{minor}", from.prefix, from.major));
            minor += by;
        }
        if legs.len() >= LEGS_MAX {
            return Err(format!(
                "the way from `{source}` to `{target}` is not planned: it goes over more than {LEGS_MAX} channels"
            ));
        }
    }
    legs.push(target.to_owned());
    Ok(legs)
}

impl Journey {
    /// The way through these graphs, one for each leg; `None` is a channel that could not be had.
    pub fn walk(&self, graphs: &[Option<&Graph>], risks: &AcceptedRisks) -> Way {
        let mut way = self.find(graphs, risks);
        if let Some(why) = &mut way.blocked {
            let all = self.find(graphs, &AcceptedRisks::All);
            let open = path::unaccepted(&all.risks, risks);
            if all.blocked.is_none() && !open.is_empty() {
                why.push_str("; ");
                why.push_str(&opening(&open, &format!("{} to {}", self.from, self.to)));
            }
        }
        way
    }

    fn find(&self, graphs: &[Option<&Graph>], risks: &AcceptedRisks) -> Way {
        let mut way = Way::default();
        let onward = self.onward(graphs, risks);
        let mut here = self.from.clone();
        for (leg, channel) in self.legs.iter().enumerate() {
            let Some(graph) = graphs.get(leg).copied().flatten() else {
                let why = format!("channel `{channel}` could not be had");
                return self.blocked(way, &here, &why);
            };
            let Some(at) = graph.find(&here) else {
                let near = list(&graph.nearest(&here, NEAREST));
                let why = format!("`{channel}` does not have {here}; it has {near}");
                return self.blocked(way, &here, &why);
            };
            let last = leg + 1 == self.legs.len();
            let (to, leads_on) = if last {
                (graph.find(&self.to), true)
            } else {
                self.leave(graph, at, &onward[leg], risks, &mut way)
            };
            let Some(path) = to.and_then(|to| path::shortest(graph, at, to, risks)) else {
                let end = if last { self.to.to_string() } else { "its newest release".to_owned() };
                let why = format!("in `{channel}` no update path leads from {here} to {end}");
                return self.blocked(way, &here, &why);
            };
            let releases = path.nodes.iter().map(|at| graph.version(*at).clone()).collect();
            way.steps.push(Step { channel: channel.clone(), releases });
            way.risks.extend(path.crossings);
            if let Some(end) = to {
                here = graph.version(end).clone();
            }
            if !leads_on {
                let next = self.legs.get(leg + 1).map_or("", String::as_str);
                let there = graphs.get(leg + 1).copied().flatten();
                let why = match there {
                    None => format!("channel `{next}` could not be had"),
                    Some(graph) if graph.find(&here).is_none() => {
                        format!("`{next}` does not have {here}")
                    }
                    Some(_) => format!("in `{next}` no update path leads on from {here}"),
                };
                return self.blocked(way, &here, &why);
            }
        }
        way
    }

    fn blocked(&self, mut way: Way, here: &Version, why: &str) -> Way {
        way.blocked = Some(format!(
            "the way from {} (`{}`) to {} (`{}`) is blocked at {here}: {why}",
            self.from,
            self.source,
            self.to,
            self.legs.last().map_or("", String::as_str),
        ));
        way
    }

    /// For each leg, at which of its releases the next leg can be begun so that the end is reached.
    fn onward(&self, graphs: &[Option<&Graph>], risks: &AcceptedRisks) -> Vec<Vec<bool>> {
        let mut all: Vec<Vec<bool>> = vec![Vec::new(); self.legs.len()];
        // Of the leg after: its graph, and from where in it the end is reached.
        let mut after: Option<(&Graph, Vec<bool>)> = None;
        for leg in (0..self.legs.len()).rev() {
            let Some(graph) = graphs.get(leg).copied().flatten() else { return all };
            let last = leg + 1 == self.legs.len();
            let leads = |version: &Version| match &after {
                None => last && version.cmp_precedence(&self.to).is_eq(),
                Some((next, good)) => next.find(version).is_some_and(|at| good[at]),
            };
            all[leg] = graph.nodes().iter().map(|node| leads(&node.version)).collect();
            after = Some((graph, path::reaching(graph, &all[leg], risks)));
        }
        all
    }

    /// At which release a channel is left, and whether the way goes on from there.
    fn leave(
        &self,
        graph: &Graph,
        at: usize,
        onward: &[bool],
        risks: &AcceptedRisks,
        way: &mut Way,
    ) -> (Option<usize>, bool) {
        let reached = path::reachable(graph, at, risks);
        let Some(head) = graph.nodes().len().checked_sub(1) else { return (None, false) };
        let leads = |at: usize| reached[at] && onward.get(at).copied().unwrap_or(false);
        if leads(head) {
            return (Some(head), true);
        }
        match (0..=head).rev().find(|at| leads(*at)) {
            Some(other) => {
                let (channel, newest, taken) =
                    (&graph.channel, graph.version(head), graph.version(other));
                let why = if reached[head] { "leads no further" } else { "cannot be reached" };
                way.warnings.push(format!(
                    "the way from {} to {} leaves `{channel}` at {taken}: its newest release, {newest}, {why}, and \
                     is not carried; name it to have it too",
                    self.from, self.to
                ));
                (Some(other), true)
            }
            None => (Some(head), false),
        }
    }
}

#[cfg(test)]
#[path = "hops_tests.rs"]
mod tests;
