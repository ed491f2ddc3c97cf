//! One channel's update graph: which releases there are, and which may follow which.
//!
//! In: the JSON document of an update service (Cincinnati, version 1). Out: releases in the order of their versions,
//! payloads by digest, and for each release its successors, the highest first; those that carry a risk name it.
//! What must hold: nothing of the document is used as an index before it was compared with the number of releases;
//! every limit is held before memory is taken for it; whatever the bytes are, the answer is a graph or an error.

use std::collections::{BTreeSet, HashMap};

use registry::reference::Reference;
use semver::Version;
use serde::Deserialize;

use super::limits::{EDGES_MAX, MESSAGE_MAX, NODES_MAX, QUOTE_MAX, RISKS_MAX, VERSION_MAX};

/// Why a document is no update graph.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// A page, as of a proxy or a login.
    #[error("a web page came instead of an update graph: it begins with `{0}`")]
    Page(String),
    /// No JSON, or of another shape.
    #[error("it is no update graph: {0}")]
    Shape(String),
    /// The service says what is wrong with the request.
    #[error("the update service refused the request: {0}")]
    Refused(String),
    /// Another version of the protocol.
    #[error("it has version {0} of the update graph's format; version 1 is known")]
    Format(u64),
    /// More than any real graph has.
    #[error("it has {found} {what}; at most {limit} are read")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A version that is none.
    #[error("release {node} of the list has a malformed version, `{text}`: {problem}")]
    Version {
        /// Its place in the list, from 0.
        node: usize,
        /// What stands there.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// A payload that cannot be pulled by digest.
    #[error("release {version} has no usable payload, `{text}`: {problem}")]
    Payload {
        /// The release.
        version: Version,
        /// What stands there.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Two releases of one version.
    #[error("release {version} is in it twice, with different payloads: {first} and {second}")]
    Duplicate {
        /// The version.
        version: Version,
        /// One payload.
        first: Box<Reference>,
        /// The other one.
        second: Box<Reference>,
    },
    /// An edge to a release that is not there.
    #[error("edge {edge} leads from release {from} to release {to} of the list, which has {nodes}")]
    Edge {
        /// Its place in the list of edges, from 0.
        edge: usize,
        /// Its start.
        from: u32,
        /// Its end.
        to: u32,
        /// How many releases there are.
        nodes: usize,
    },
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its version.
    pub version: Version,
    /// Its payload, by digest.
    pub payload: Reference,
    /// The channels that have it, as the document says.
    pub channels: Vec<String>,
    /// Its errata.
    pub url: Option<String>,
}

/// Something to know before an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Its name; empty when it has none.
    pub name: String,
    /// What may happen.
    pub message: String,
    /// Where more is said.
    pub url: String,
}

/// A step to another release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The release that it leads to.
    pub to: usize,
    /// The groups of risks that it carries; none on most.
    groups: Vec<usize>,
}

/// A channel's graph for one architecture.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The channel.
    pub channel: String,
    /// The architecture.
    pub architecture: String,
    nodes: Vec<Node>,
    successors: Vec<Vec<Edge>>,
    risks: Vec<Risk>,
    groups: Vec<Vec<usize>>,
}

/// For each group of risks its weight, when it is accepted as a whole.
#[derive(Debug)]
pub struct Passable(Vec<Option<usize>>);

impl Passable {
    /// What this edge weighs; `None` when it may not be taken.
    pub fn weight(&self, edge: &Edge) -> Option<usize> {
        edge.groups.iter().map(|group| self.0[*group]).sum()
    }
}

#[derive(Deserialize)]
struct Document {
    version: Option<u64>,
    nodes: Option<Vec<Release>>,
    edges: Option<Vec<(u32, u32)>>,
    #[serde(rename = "conditionalEdges")]
    conditional: Option<Vec<Group>>,
    // What the service answers instead of a graph.
    kind: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Release {
    version: String,
    payload: String,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "io.openshift.upgrades.graph.release.channels")]
    channels: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    edges: Option<Vec<Named>>,
    risks: Option<Vec<Told>>,
}

#[derive(Deserialize)]
struct Named {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Told {
    name: Option<String>,
    message: Option<String>,
    url: Option<String>,
}

impl Graph {
    /// Reads a document. The bytes are within the limit already.
    pub fn parse(channel: &str, architecture: &str, bytes: &[u8]) -> Result<Self, GraphError> {
        let document = document(bytes)?;
        let releases = document.nodes.unwrap_or_default();
        let edges = document.edges.unwrap_or_default();
        let groups = document.conditional.unwrap_or_default();
        let conditional: usize =
            groups.iter().map(|group| group.edges.as_ref().map_or(0, Vec::len)).sum();
        let told: usize = groups.iter().map(|group| group.risks.as_ref().map_or(0, Vec::len)).sum();
        at_most("releases", releases.len(), NODES_MAX)?;
        at_most("edges", edges.len() + conditional, EDGES_MAX)?;
        at_most("risks", told.max(groups.len()), RISKS_MAX)?;

        let (nodes, places) = nodes(releases)?;
        let mut graph = Self {
            channel: channel.to_owned(),
            architecture: architecture.to_owned(),
            successors: vec![Vec::new(); nodes.len()],
            nodes,
            risks: Vec::new(),
            groups: Vec::new(),
        };
        let mut steps: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
        for (edge, (from, to)) in edges.into_iter().enumerate() {
            let place = |index: u32| places.get(usize::try_from(index).ok()?).copied();
            let (Some(a), Some(b)) = (place(from), place(to)) else {
                return Err(GraphError::Edge { edge, from, to, nodes: places.len() });
            };
            steps.entry((a, b)).or_default();
        }
        graph.conditional(groups, &mut steps);
        for ((from, to), groups) in steps {
            graph.successors[from].push(Edge { to, groups });
        }
        for list in &mut graph.successors {
            list.sort_unstable_by_key(|edge| std::cmp::Reverse(edge.to));
        }
        Ok(graph)
    }

    /// Adds the edges that carry risks. Their ends are versions; an end that is no release of this channel makes an
    /// edge that nobody can take. An edge that also stands among the others keeps its risk.
    fn conditional(&mut self, groups: Vec<Group>, steps: &mut HashMap<(usize, usize), Vec<usize>>) {
        let by_text: HashMap<String, usize> = {
            let nodes = self.nodes.iter().enumerate();
            nodes.map(|(at, node)| (node.version.to_string(), at)).collect()
        };
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for group in groups {
            let mut own: Vec<usize> = Vec::new();
            for told in group.risks.unwrap_or_default() {
                let name = tame(&told.name.unwrap_or_default(), QUOTE_MAX);
                let at = *by_name.entry(name.clone()).or_insert_with(|| {
                    let message = tame(&told.message.unwrap_or_default(), MESSAGE_MAX);
                    let url = tame(&told.url.unwrap_or_default(), MESSAGE_MAX);
                    self.risks.push(Risk { name, message, url });
                    self.risks.len() - 1
                });
                if !own.contains(&at) {
                    own.push(at);
                }
            }
            if own.is_empty() {
                // A condition that says nothing of itself is one all the same.
                own.push(*by_name.entry(String::new()).or_insert_with(|| {
                    let nothing = String::new;
                    self.risks.push(Risk { name: nothing(), message: nothing(), url: nothing() });
                    self.risks.len() - 1
                }));
            }
            self.groups.push(own);
            let this = self.groups.len() - 1;
            for edge in group.edges.unwrap_or_default() {
                let ends = (by_text.get(&edge.from), by_text.get(&edge.to));
                let (Some(&from), Some(&to)) = ends else {
                    tracing::debug!(channel = %self.channel, "a conditional edge between no releases");
                    continue;
                };
                let step = steps.entry((from, to)).or_default();
                if step.last() != Some(&this) {
                    step.push(this);
                }
            }
        }
    }

    /// All releases, the lowest version first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A release by its place in the order.
    pub fn version(&self, at: usize) -> &Version {
        &self.nodes[at].version
    }

    /// The steps from a release, to the highest version first.
    pub fn successors(&self, at: usize) -> &[Edge] {
        &self.successors[at]
    }

    /// Whether an edge carries risks.
    pub fn is_conditional(&self, edge: &Edge) -> bool {
        !edge.groups.is_empty()
    }

    /// The risks that an edge carries, each once.
    pub fn risks(&self, edge: &Edge) -> Vec<&Risk> {
        let groups = edge.groups.iter().flat_map(|group| &self.groups[*group]);
        let all: BTreeSet<usize> = groups.copied().collect();
        all.into_iter().map(|risk| &self.risks[risk]).collect()
    }

    /// Which edges may be taken when these risks are accepted, and what each weighs: its risks but for those that are
    /// `light`.
    pub fn passable(
        &self,
        accepted: impl Fn(&Risk) -> bool,
        light: impl Fn(&Risk) -> bool,
    ) -> Passable {
        let open: Vec<bool> = self.risks.iter().map(accepted).collect();
        let heavy: Vec<usize> = self.risks.iter().map(|risk| usize::from(!light(risk))).collect();
        let of = |group: &Vec<usize>| {
            let all = group.iter().all(|risk| open[*risk]);
            all.then(|| group.iter().map(|risk| heavy[*risk]).sum())
        };
        Passable(self.groups.iter().map(of).collect())
    }

    /// All risks that some edge carries.
    pub fn all_risks(&self) -> &[Risk] {
        &self.risks
    }

    /// Where the release of this version stands. Build metadata counts only when there are several.
    pub fn find(&self, version: &Version) -> Option<usize> {
        let first = self.nodes.partition_point(|node| node.version.cmp_precedence(version).is_lt());
        let same = self.nodes[first..]
            .iter()
            .take_while(|node| node.version.cmp_precedence(version).is_eq());
        let exact = same.clone().position(|node| node.version == *version);
        exact.or_else(|| (same.count() > 0).then_some(0)).map(|at| first + at)
    }

    /// The releases next to a version, the lowest first: at most `each` below it and as many above.
    pub fn nearest(&self, version: &Version, each: usize) -> Vec<Version> {
        let above = self.nodes.partition_point(|node| node.version.cmp_precedence(version).is_lt());
        let from = above.saturating_sub(each);
        let to = (above + each).min(self.nodes.len());
        self.nodes[from..to].iter().map(|node| node.version.clone()).collect()
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), GraphError> {
    if found > limit { Err(GraphError::TooMany { what, found, limit }) } else { Ok(()) }
}

fn document(bytes: &[u8]) -> Result<Document, GraphError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.starts_with(b"<") {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return Err(GraphError::Page(clip(&String::from_utf8_lossy(&line[..line.len().min(512)]))));
    }
    let shape = |text: &str| GraphError::Shape(clip(text));
    if text.is_empty() {
        return Err(shape("it is empty"));
    }
    let document: Document =
        serde_json::from_slice(text).map_err(|error| shape(&error.to_string()))?;
    match (&document.nodes, document.version) {
        (_, Some(version)) if version != 1 => Err(GraphError::Format(version)),
        (None, None) => match (document.kind, document.value) {
            (None, None) => Err(shape("it is a JSON object without `nodes`")),
            (kind, value) => {
                let words = [kind, value].into_iter().flatten().collect::<Vec<_>>().join(": ");
                Err(GraphError::Refused(clip(&words)))
            }
        },
        _ => Ok(document),
    }
}

/// The releases in the order of their versions, and where in it each of the list stands.
fn nodes(releases: Vec<Release>) -> Result<(Vec<Node>, Vec<usize>), GraphError> {
    let mut read: Vec<(usize, Node)> = Vec::with_capacity(releases.len());
    for (at, release) in releases.into_iter().enumerate() {
        let malformed = |problem: String| GraphError::Version {
            node: at,
            text: clip(&release.version),
            problem,
        };
        if release.version.len() > VERSION_MAX {
            return Err(malformed(format!("longer than {VERSION_MAX} characters")));
        }
        let version: Version =
            release.version.parse().map_err(|error| malformed(format!("{error}")))?;
        let payload = payload(&version, &release.payload)?;
        let metadata = release.metadata.unwrap_or(Metadata { channels: None, url: None });
        let names = metadata.channels.as_deref().unwrap_or_default().split(',').map(str::trim);
        let channels = names.filter(|name| !name.is_empty()).map(clip).collect();
        read.push((
            at,
            Node { version, payload, channels, url: metadata.url.as_deref().map(clip) },
        ));
    }
    read.sort_by(|(_, a), (_, b)| a.version.cmp(&b.version));
    let mut places = vec![0; read.len()];
    let mut nodes: Vec<Node> = Vec::with_capacity(read.len());
    for (at, node) in read {
        match nodes.last() {
            Some(last) if last.version == node.version => {
                if last.payload.digest != node.payload.digest {
                    return Err(GraphError::Duplicate {
                        version: node.version,
                        first: Box::new(last.payload.clone()),
                        second: Box::new(node.payload),
                    });
                }
            }
            _ => nodes.push(node),
        }
        places[at] = nodes.len() - 1;
    }
    Ok((nodes, places))
}

fn payload(version: &Version, text: &str) -> Result<Reference, GraphError> {
    let fault = |problem: String| GraphError::Payload {
        version: version.clone(),
        text: clip(text),
        problem,
    };
    let reference: Reference = text.parse().map_err(|error| fault(format!("{error}")))?;
    match reference.digest {
        Some(_) => Ok(reference),
        None => Err(fault("it names no digest".to_owned())),
    }
}

/// A text from outside as it can stand in a message.
pub(super) fn clip(text: &str) -> String {
    tame(text, QUOTE_MAX)
}

/// One line of at most so many characters.
fn tame(text: &str, most: usize) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().map(one_line).take(most).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
