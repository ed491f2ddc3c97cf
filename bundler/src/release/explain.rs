//! What was chosen, and why: a value that prints as a table for people and as JSON.
//!
//! In: selections and ways. Out: [`Explanation`] for each channel, [`Payload`] for each release, [`Chosen`] for all.
//! What must hold: every release of a channel is in it or counted among those left out, with the reason.

use std::fmt;

use registry::client::ErrorKind as WireKind;
use registry::reference::Reference;
use semver::Version;
use serde::{Serialize, Serializer};

use super::choose::{Asked, Selection};
use super::fault::ReleaseError;
use super::graph::Graph;
use super::hops::Way;
use super::path::Crossing;
use crate::ErrorKind;

/// Columns of a line with versions.
const WIDTH: usize = 100;

/// A release that is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// Its version.
    pub version: Version,
    /// The architecture that was asked for; `multi` for a payload of all.
    pub architecture: String,
    /// Its payload by digest.
    #[serde(serialize_with = "text")]
    pub payload: Reference,
    /// The channels that it was chosen of.
    pub channels: Vec<String>,
    /// Why it is carried, each reason once.
    pub why: Vec<String>,
    /// Whether a channel of OKD has it.
    #[serde(skip)]
    pub okd: bool,
}

fn text<S: Serializer>(reference: &Reference, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(reference)
}

/// Releases of a channel that are not carried for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The reason.
    pub why: String,
    /// How many.
    pub count: usize,
    /// The lowest one.
    pub first: Version,
    /// The highest one.
    pub last: Version,
}

/// What one channel gives for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The channel.
    pub channel: String,
    /// The architecture.
    pub architecture: String,
    /// How many releases the channel has.
    pub releases: usize,
    /// What is asked for.
    pub asked: Asked,
    /// The lower end.
    pub from: Version,
    /// The upper end.
    pub to: Version,
    /// Why the chosen ones are.
    pub why: String,
    /// The chosen releases; those of a path in its order.
    pub chosen: Vec<Version>,
    /// The steps of the path that carry risks.
    pub risks: Vec<Crossing>,
    /// The others.
    pub left_out: Vec<LeftOut>,
    /// Seconds since the graph was fetched, when it was kept from an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_seconds: Option<u64>,
}

impl Explanation {
    /// What this selection takes of this graph.
    pub fn of(graph: &Graph, selection: &Selection) -> Self {
        let places = selection.path.as_ref().map_or(&selection.chosen, |path| &path.nodes);
        let risks = selection.path.as_ref().map(|path| path.crossings.clone());
        Self {
            channel: graph.channel.clone(),
            architecture: graph.architecture.clone(),
            releases: graph.nodes().len(),
            asked: selection.asked,
            from: selection.from.clone(),
            to: selection.to.clone(),
            why: selection.why().to_string(),
            chosen: places.iter().map(|at| graph.version(*at).clone()).collect(),
            risks: risks.unwrap_or_default(),
            left_out: left_out(graph, selection),
            kept_seconds: None,
        }
    }
}

fn left_out(graph: &Graph, selection: &Selection) -> Vec<LeftOut> {
    let mut list: Vec<LeftOut> = Vec::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        let Some(why) = selection.why_not_at(graph, at) else { continue };
        let why = why.to_string();
        match list.iter_mut().find(|known| known.why == why) {
            Some(known) => {
                known.count += 1;
                known.last = node.version.clone();
            }
            None => {
                let (first, last) = (node.version.clone(), node.version.clone());
                list.push(LeftOut { why, count: 1, first, last });
            }
        }
    }
    list
}

/// A way over several channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Travelled {
    /// The architecture.
    pub architecture: String,
    /// The lowest release.
    pub from: Version,
    /// The highest one.
    pub to: Version,
    /// How it goes.
    #[serde(flatten)]
    pub way: Way,
}

/// A channel that gave no releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelFailure {
    /// The channel.
    pub channel: String,
    /// The architecture.
    pub architecture: String,
    /// Why.
    pub reason: String,
    /// What to do next.
    pub hints: Vec<String>,
    /// The kind of fault of the wire behind it, if it is one.
    #[serde(skip)]
    pub wire: Option<WireKind>,
    /// Which exit code it means for a command that wants nothing else.
    #[serde(skip)]
    pub kind: ErrorKind,
}

impl ChannelFailure {
    /// The failure of a channel.
    pub fn of(channel: &str, architecture: &str, error: &ReleaseError) -> Self {
        Self {
            channel: channel.to_owned(),
            architecture: architecture.to_owned(),
            reason: crate::error::reason(error),
            hints: error.hints(),
            wire: error.wire(),
            kind: error.kind(),
        }
    }
}

/// Everything that `mirror.platform.channels` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Chosen {
    /// The releases, each payload once, the lowest version first.
    #[serde(rename = "releases")]
    pub payloads: Vec<Payload>,
    /// What each channel gives for each architecture.
    pub channels: Vec<Explanation>,
    /// The ways over several channels.
    pub ways: Vec<Travelled>,
    /// Channels that gave nothing; the others count all the same.
    pub failures: Vec<ChannelFailure>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

fn path(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ")
}

/// Versions in lines of a readable width.
fn lines(versions: &[Version], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut column = 0;
    for version in versions {
        let text = version.to_string();
        if column > 0 && column + text.len() + 2 > WIDTH {
            writeln!(f)?;
            column = 0;
        }
        write!(f, "  {text}")?;
        column += text.len() + 2;
    }
    writeln!(f)
}

fn risks(crossings: &[Crossing], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for crossing in crossings {
        for risk in &crossing.risks {
            let name = if risk.name.is_empty() { "without a name" } else { &risk.name };
            write!(f, "  risk on {} -> {}: {name}", crossing.from, crossing.to)?;
            if risk.url.is_empty() { writeln!(f)? } else { writeln!(f, ", {}", risk.url)? }
        }
    }
    Ok(())
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, architecture, releases, why, .. } = self;
        writeln!(f, "{channel} ({architecture}): {} of {releases}, {why}", self.chosen.len())?;
        if self.asked == Asked::Path {
            writeln!(f, "  {}", path(&self.chosen))?;
        } else {
            lines(&self.chosen, f)?;
        }
        risks(&self.risks, f)?;
        for LeftOut { why, count, first, last } in &self.left_out {
            let which = if count == &1 { first.to_string() } else { format!("{first} to {last}") };
            writeln!(f, "  not in: {count}, {why} ({which})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Travelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "from {} to {} over several channels ({})",
            self.from, self.to, self.architecture
        )?;
        for step in &self.way.steps {
            writeln!(f, "  {}: {}", step.channel, path(&step.releases))?;
        }
        risks(&self.way.risks, f)?;
        if self.way.blocked.is_some() {
            writeln!(f, "  blocked there")?;
        }
        Ok(())
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for channel in &self.channels {
            channel.fmt(f)?;
        }
        for way in &self.ways {
            way.fmt(f)?;
        }
        for failure in &self.failures {
            let ChannelFailure { channel, architecture, reason, hints, .. } = failure;
            writeln!(f, "{channel} ({architecture}): nothing; {reason}")?;
            for hint in hints {
                writeln!(f, "  hint: {hint}")?;
            }
        }
        Ok(())
    }
}
