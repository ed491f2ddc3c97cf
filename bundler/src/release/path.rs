//! Ways through one update graph.
//!
//! In: a graph, two releases, and the risks that the person accepts. Out: the shortest path, or what comes nearest to
//! one. What must hold: the search ends on any graph, cycles among them; among paths of one length the answer is
//! always the same, because successors are tried from the highest version down; an edge that carries a risk is taken
//! only when every one of its risks is accepted, and not where a path as short crosses fewer.

use std::collections::{BTreeSet, VecDeque};

use semver::Version;
use serde::Serialize;

use super::graph::{Edge, Graph, Passable};
use super::limits::NEAREST;

/// Which conditional edges count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AcceptedRisks {
    /// None.
    #[default]
    Nothing,
    /// Those whose risks all have one of these names.
    Named(BTreeSet<String>),
    /// All.
    All,
}

impl AcceptedRisks {
    /// Those of these names; all when there are none.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        if names.is_empty() { Self::All } else { Self::Named(names) }
    }

    /// Whether a risk of this name is accepted.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Named(names) => names.contains(name),
            Self::All => true,
        }
    }

    fn passable(&self, graph: &Graph, light: &Self) -> Passable {
        graph.passable(|risk| self.accepts(&risk.name), |risk| light.accepts(&risk.name))
    }
}

/// A step that carries risks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crossing {
    /// Where it begins.
    pub from: Version,
    /// Where it leads.
    pub to: Version,
    /// What is to be known before.
    pub risks: Vec<NamedRisk>,
}

/// A risk as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedRisk {
    /// Its name.
    pub name: String,
    /// What may happen.
    pub message: String,
    /// Where more is said.
    pub url: String,
}

/// A way from one release to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The places of the releases in the graph, both ends among them.
    pub nodes: Vec<usize>,
    /// The steps that carry risks.
    pub crossings: Vec<Crossing>,
}

/// That there is no path, and what comes nearest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPath {
    /// The channel.
    pub channel: String,
    /// Where it was to begin.
    pub from: Version,
    /// Where it was to lead.
    pub to: Version,
    /// Risks not accepted yet that would open one; none when no risk would.
    pub opening: Vec<NamedRisk>,
    /// The releases nearest to `from` from which `to` can be reached.
    pub sources: Vec<Version>,
    /// The releases nearest to `to` that can be reached from `from`.
    pub targets: Vec<Version>,
}

/// The shortest path; among those of its length the one that crosses the fewest risks.
pub fn shortest(graph: &Graph, from: usize, to: usize, risks: &AcceptedRisks) -> Option<Path> {
    search(graph, from, to, &risks.passable(graph, &AcceptedRisks::Nothing))
}

/// How a release was reached.
#[derive(Clone, Copy)]
struct Reached<'a> {
    steps: usize,
    weight: usize,
    by: Option<(usize, &'a Edge)>,
}

fn search(graph: &Graph, from: usize, to: usize, passable: &Passable) -> Option<Path> {
    let mut reached: Vec<Option<Reached<'_>>> = vec![None; graph.nodes().len()];
    let mut queue = VecDeque::from([from]);
    reached[from] = Some(Reached { steps: 0, weight: 0, by: None });
    while let Some(at) = queue.pop_front() {
        let Some(here) = reached[at] else { continue };
        // Everything before the last step was tried by now.
        if reached[to].is_some_and(|end| end.steps <= here.steps) {
            break;
        }
        for edge in graph.successors(at) {
            let Some(weight) = passable.weight(edge) else { continue };
            let (steps, weight) = (here.steps + 1, here.weight.saturating_add(weight));
            let better = match &reached[edge.to] {
                None => {
                    queue.push_back(edge.to);
                    true
                }
                // As far, with fewer risks; of equals the first stays.
                Some(known) => known.steps == steps && weight < known.weight,
            };
            if better {
                reached[edge.to] = Some(Reached { steps, weight, by: Some((at, edge)) });
            }
        }
    }
    reached[to]?;
    let (mut nodes, mut crossings, mut at) = (vec![to], Vec::new(), to);
    while let Some((before, edge)) = reached[at].and_then(|reached| reached.by) {
        if graph.is_conditional(edge) {
            crossings.push(crossing(graph, before, edge));
        }
        nodes.push(before);
        at = before;
    }
    nodes.reverse();
    crossings.reverse();
    Some(Path { nodes, crossings })
}

fn crossing(graph: &Graph, from: usize, edge: &Edge) -> Crossing {
    let risks = graph.risks(edge).into_iter().map(|risk| NamedRisk {
        name: risk.name.clone(),
        message: risk.message.clone(),
        url: risk.url.clone(),
    });
    Crossing {
        from: graph.version(from).clone(),
        to: graph.version(edge.to).clone(),
        risks: risks.collect(),
    }
}

/// Which releases can be reached from one; itself among them.
pub fn reachable(graph: &Graph, from: usize, risks: &AcceptedRisks) -> Vec<bool> {
    reachable_within(graph, from, risks, &vec![true; graph.nodes().len()])
}

/// The same over these releases alone.
pub fn reachable_within(
    graph: &Graph,
    from: usize,
    risks: &AcceptedRisks,
    inside: &[bool],
) -> Vec<bool> {
    let mut seen = vec![false; graph.nodes().len()];
    let open = risks.passable(graph, risks);
    let mut waiting = vec![from];
    seen[from] = true;
    while let Some(at) = waiting.pop() {
        for edge in graph.successors(at) {
            if inside[edge.to] && !seen[edge.to] && open.weight(edge).is_some() {
                seen[edge.to] = true;
                waiting.push(edge.to);
            }
        }
    }
    seen
}

/// The pieces of these releases between which no update leads in either direction: the largest first, and each ascending.
pub fn pieces(graph: &Graph, chosen: &[usize], risks: &AcceptedRisks) -> Vec<Vec<usize>> {
    let open = risks.passable(graph, risks);
    let mut beside: Vec<Option<Vec<usize>>> = vec![None; graph.nodes().len()];
    for at in chosen {
        beside[*at] = Some(Vec::new());
    }
    for at in chosen {
        for edge in graph.successors(*at).iter().filter(|edge| open.weight(edge).is_some()) {
            if beside[edge.to].is_some() {
                beside[*at].get_or_insert_default().push(edge.to);
                beside[edge.to].get_or_insert_default().push(*at);
            }
        }
    }
    let mut pieces = Vec::new();
    for at in chosen {
        let (mut piece, mut waiting) = (Vec::new(), vec![*at]);
        while let Some(at) = waiting.pop() {
            // Taken: whoever comes here again has been here.
            if let Some(next) = beside[at].take() {
                piece.push(at);
                waiting.extend(next);
            }
        }
        if !piece.is_empty() {
            piece.sort_unstable();
            pieces.push(piece);
        }
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces
}

/// From which releases one of these can be reached; they themselves among them.
pub fn reaching(graph: &Graph, to: &[bool], risks: &AcceptedRisks) -> Vec<bool> {
    let count = graph.nodes().len();
    let open = risks.passable(graph, risks);
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
    for at in 0..count {
        for edge in graph.successors(at).iter().filter(|edge| open.weight(edge).is_some()) {
            before[edge.to].push(at);
        }
    }
    let mut seen = to.to_vec();
    let mut waiting: Vec<usize> = (0..count).filter(|at| to[*at]).collect();
    while let Some(at) = waiting.pop() {
        for from in &before[at] {
            if !seen[*from] {
                seen[*from] = true;
                waiting.push(*from);
            }
        }
    }
    seen
}

/// What comes nearest to a path that there is not.
pub fn nearest(graph: &Graph, from: usize, to: usize, risks: &AcceptedRisks) -> NoPath {
    // With as few further risks as may be.
    let any = search(graph, from, to, &AcceptedRisks::All.passable(graph, risks));
    let opening = any.map(|path| unaccepted(&path.crossings, risks)).unwrap_or_default();
    let mut target = vec![false; graph.nodes().len()];
    target[to] = true;
    let leads = reaching(graph, &target, risks);
    let goes = reachable(graph, from, risks);
    let closest = |set: &[bool], to: usize, but: usize| {
        let mut list: Vec<usize> = (0..set.len()).filter(|at| set[*at] && *at != but).collect();
        list.sort_by_key(|at| at.abs_diff(to));
        list.truncate(NEAREST);
        list.sort_unstable();
        list.into_iter().map(|at| graph.version(at).clone()).collect::<Vec<_>>()
    };
    NoPath {
        channel: graph.channel.clone(),
        from: graph.version(from).clone(),
        to: graph.version(to).clone(),
        opening,
        sources: closest(&leads, from, to),
        targets: closest(&goes, to, from),
    }
}

/// The risks of a way that are not accepted, each once.
pub fn unaccepted(crossings: &[Crossing], risks: &AcceptedRisks) -> Vec<NamedRisk> {
    let mut list: Vec<NamedRisk> = Vec::new();
    for risk in crossings.iter().flat_map(|crossing| &crossing.risks) {
        if !risks.accepts(&risk.name) && !list.iter().any(|known| known.name == risk.name) {
            list.push(risk.clone());
        }
    }
    list
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
