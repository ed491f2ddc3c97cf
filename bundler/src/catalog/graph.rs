//! One channel as a graph: its head, the chain of its updates, and what is wrong with it.
//!
//! In: the entries of a channel, all of them or those that are kept. Out: places among these entries, and faults as values
//! that name the bundles. The rules are those by which a cluster reads a catalog: one head, which is the entry that no other
//! replaces or skips, whatever the versions say; no circle; from the head over `replaces` every entry is reached that
//! nobody skips. The last one may replace a bundle that is not there. What must hold: no walk goes around for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::model::{Channel, Entry, Package};
use super::wording::{list, quoted};

/// What is wrong with a channel or a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphFault {
    /// No entry at all.
    #[error("it has no bundle")]
    Empty,
    /// Two entries of one name.
    #[error("entry {} is in it twice", quoted(.0))]
    Duplicate(Arc<str>),
    /// An entry that names itself as what it replaces.
    #[error("entry {} replaces itself", quoted(.0))]
    ReplacesItself(Arc<str>),
    /// An entry that names itself as what it skips.
    #[error("entry {} skips itself", quoted(.0))]
    SkipsItself(Arc<str>),
    /// Several entries that no other one updates.
    #[error("multiple channel heads: nothing updates {}", list(.0))]
    Heads(Vec<Arc<str>>),
    /// Updates that come back to where they began, the first entry again at the end.
    #[error("its updates go in a circle: {}", list(.0))]
    Cycle(Vec<Arc<str>>),
    /// Entries without a way to the head.
    #[error("stranded bundles: no update leads from {} to the head", list(.0))]
    Stranded(Vec<Arc<str>>),
    /// Entries that are no bundles of the package.
    #[error("the package has no bundle {}", list(.0))]
    NoBundle(Vec<Arc<str>>),
    /// Bundles of the package that no channel has.
    #[error("no channel has bundle {}", list(.0))]
    NoChannel(Vec<Arc<str>>),
    /// The default channel is none of the package.
    #[error("its default channel {} is not there", quoted(.0))]
    NoDefault(String),
}

/// Something wrong, and where in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("package {}{}: {what}", quoted(.package), in_channel(.channel.as_deref()))]
pub struct Flaw {
    /// The package.
    pub package: String,
    /// The channel, when it is about one.
    pub channel: Option<String>,
    /// What is wrong.
    pub what: GraphFault,
}

/// `, channel …` of a message.
pub(super) fn in_channel(channel: Option<&str>) -> String {
    channel.map(|channel| format!(", channel {}", quoted(channel))).unwrap_or_default()
}

/// A channel's entries and their updates. A place is an index into the entries that it was made of.
#[derive(Debug)]
pub struct Graph<'a> {
    entries: Vec<&'a Entry>,
    replaces: Vec<Option<usize>>,
    skips: Vec<Vec<usize>>,
    updated: Vec<bool>,
    skipped: Vec<bool>,
    /// A second entry of a name counts for nothing but this.
    repeated: Vec<bool>,
}

impl<'a> Graph<'a> {
    /// The graph of these entries.
    pub fn of(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let entries: Vec<&Entry> = entries.into_iter().collect();
        let count = entries.len();
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(count);
        let mut repeated = vec![false; count];
        for (place, entry) in entries.iter().enumerate() {
            repeated[place] = *places.entry(&entry.name).or_insert(place) != place;
        }
        let mut graph = Self {
            replaces: vec![None; count],
            skips: vec![Vec::new(); count],
            updated: vec![false; count],
            skipped: vec![false; count],
            repeated,
            entries,
        };
        for place in 0..count {
            if graph.repeated[place] {
                continue;
            }
            let entry = graph.entries[place];
            let other = |name: &Arc<str>| places.get(&**name).copied().filter(|at| *at != place);
            if let Some(below) = entry.replaces.as_ref().and_then(other) {
                graph.replaces[place] = Some(below);
                graph.updated[below] = true;
            }
            for below in entry.skips.iter().filter_map(other) {
                graph.skips[place].push(below);
                graph.updated[below] = true;
                graph.skipped[below] = true;
            }
        }
        graph
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a place.
    pub fn entry(&self, place: usize) -> &'a Entry {
        self.entries[place]
    }

    /// Where a name stands.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| &*entry.name == name)
    }

    /// What an entry replaces, when it is there.
    pub fn replaces(&self, place: usize) -> Option<usize> {
        self.replaces[place]
    }

    /// What an entry skips, as far as it is there.
    pub fn skips(&self, place: usize) -> &[usize] {
        &self.skips[place]
    }

    /// The entries that no other one updates.
    pub fn heads(&self) -> Vec<usize> {
        (0..self.len()).filter(|place| !self.updated[*place] && !self.repeated[*place]).collect()
    }

    /// The head; the fault when there is not exactly one.
    pub fn head(&self) -> Result<usize, GraphFault> {
        match self.heads()[..] {
            [head] => Ok(head),
            // Where every entry is updated by another one, there is a circle.
            [] => Err(self.cycle().map_or(GraphFault::Empty, GraphFault::Cycle)),
            ref heads => Err(GraphFault::Heads(self.names(heads))),
        }
    }

    /// From an entry over `replaces` to the last one that is there.
    pub fn chain(&self, from: usize) -> Result<Vec<usize>, GraphFault> {
        let mut chain = vec![from];
        let mut seen = vec![false; self.len()];
        seen[from] = true;
        let mut at = from;
        while let Some(below) = self.replaces[at] {
            if std::mem::replace(&mut seen[below], true) {
                let begin = chain.iter().position(|place| *place == below).unwrap_or_default();
                let mut circle = chain.split_off(begin);
                circle.push(below);
                return Err(GraphFault::Cycle(self.names(&circle)));
            }
            chain.push(below);
            at = below;
        }
        Ok(chain)
    }

    /// What the last entry of a chain replaces, when the channel does not have it.
    pub fn gone(&self, chain: &[usize]) -> Option<&'a str> {
        let last = *chain.last()?;
        let replaced = self.entries[last].replaces.as_deref().filter(|name| !name.is_empty())?;
        (self.replaces[last].is_none() && *replaced != *self.entries[last].name).then_some(replaced)
    }

    /// Which entries replace each one.
    pub fn replacers(&self) -> Vec<Vec<usize>> {
        let mut above = vec![Vec::new(); self.len()];
        for (place, below) in self.replaces.iter().enumerate() {
            if let Some(below) = below {
                above[*below].push(place);
            }
        }
        above
    }

    /// Everything that is wrong; nothing when a cluster can use these entries as a channel.
    pub fn faults(&self, has_bundle: impl Fn(&str) -> bool) -> Vec<GraphFault> {
        let mut faults = Vec::new();
        let mut unknown = BTreeSet::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let name = &entry.name;
            if self.repeated[place] {
                faults.push(GraphFault::Duplicate(name.clone()));
                continue;
            }
            if entry.replaces.as_ref() == Some(name) {
                faults.push(GraphFault::ReplacesItself(name.clone()));
            }
            if entry.skips.contains(name) {
                faults.push(GraphFault::SkipsItself(name.clone()));
            }
            if !has_bundle(name) {
                unknown.insert(name.clone());
            }
        }
        if !unknown.is_empty() {
            faults.push(GraphFault::NoBundle(unknown.into_iter().collect()));
        }
        let cycle = self.cycle().map(GraphFault::Cycle);
        match self.head() {
            Ok(head) => {
                let stranded = self.stranded(head);
                if !stranded.is_empty() && cycle.is_none() {
                    faults.push(GraphFault::Stranded(self.names(&stranded)));
                }
            }
            Err(fault @ (GraphFault::Empty | GraphFault::Heads(_))) => faults.push(fault),
            Err(_) => {}
        }
        faults.extend(cycle);
        faults
    }

    /// Entries that the chain from the head does not reach and that nobody skips. The chain ends where the replaced
    /// entry is skipped.
    fn stranded(&self, head: usize) -> Vec<usize> {
        let mut reached = vec![false; self.len()];
        let mut at = Some(head);
        while let Some(place) = at.filter(|place| !std::mem::replace(&mut reached[*place], true)) {
            at = self.replaces[place].filter(|below| !self.skipped[*below]);
        }
        let lost =
            |place: &usize| !reached[*place] && !self.skipped[*place] && !self.repeated[*place];
        (0..self.len()).filter(lost).collect()
    }

    /// A circle of updates, over `replaces` and `skips`.
    fn cycle(&self) -> Option<Vec<Arc<str>>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            Open,
            Done,
        }
        let below = |place: usize, n: usize| match (self.replaces[place], n) {
            (Some(below), 0) => Some(below),
            (replaces, n) => self.skips[place].get(n - usize::from(replaces.is_some())).copied(),
        };
        let mut seen = vec![Seen::Not; self.len()];
        for start in 0..self.len() {
            if seen[start] != Seen::Not {
                continue;
            }
            seen[start] = Seen::Open;
            let mut path = vec![(start, 0)];
            while let Some((place, next)) = path.last_mut() {
                let Some(to) = below(*place, *next) else {
                    seen[*place] = Seen::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                match seen[to] {
                    Seen::Done => {}
                    Seen::Not => {
                        seen[to] = Seen::Open;
                        path.push((to, 0));
                    }
                    Seen::Open => {
                        let from = path.iter().position(|(at, _)| *at == to).unwrap_or_default();
                        let circle: Vec<usize> =
                            path[from..].iter().map(|(at, _)| *at).chain([to]).collect();
                        return Some(self.names(&circle));
                    }
                }
            }
        }
        None
    }

    fn names(&self, places: &[usize]) -> Vec<Arc<str>> {
        places.iter().map(|place| self.entries[*place].name.clone()).collect()
    }
}

/// Everything that is wrong with a channel as the catalog has it.
pub fn check_channel(package: &str, of: &Package, channel: &Channel) -> Vec<Flaw> {
    let faults = Graph::of(&channel.entries).faults(|name| of.bundles.contains_key(name));
    let flaw =
        |what| Flaw { package: package.to_owned(), channel: Some(channel.name.clone()), what };
    faults.into_iter().map(flaw).collect()
}

/// Everything that is wrong with a package as the catalog has it.
pub fn check_package(name: &str, package: &Package) -> Vec<Flaw> {
    let mut flaws: Vec<Flaw> = Vec::new();
    for channel in &package.channels {
        flaws.extend(check_channel(name, package, channel));
    }
    let whole = |what| Flaw { package: name.to_owned(), channel: None, what };
    let lost = orphans(package);
    if !lost.is_empty() {
        flaws.push(whole(GraphFault::NoChannel(lost)));
    }
    if !package.channels.iter().any(|channel| channel.name == package.default_channel) {
        flaws.push(whole(GraphFault::NoDefault(package.default_channel.clone())));
    }
    flaws
}

/// The bundles of a package that no channel has.
pub fn orphans(package: &Package) -> Vec<Arc<str>> {
    let entries = package.channels.iter().flat_map(|channel| &channel.entries);
    let named: BTreeSet<&str> = entries.map(|entry| &*entry.name).collect();
    package.bundles.keys().filter(|name| !named.contains(&***name)).cloned().collect()
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
