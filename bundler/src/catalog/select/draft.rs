//! One package while it is being chosen: which entries of which channels are kept, by what rule.
//!
//! In: a package, and what the configuration asks of it. Out: first the entries that the rules keep, to which dependencies may add;
//! then a [`Picked`], with a default channel and with every channel proven to be one. Faults name the channel.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::rules::{keep, known, rule, would_work};
use super::version::{self, Bounds, Reading};
use super::{Dropped, Fault, Kept, Picked, PickedChannel, Reason, Rule, Start, Why, v2};
use crate::catalog::graph::{Graph, GraphFault, orphans};
use crate::catalog::model::{Channel, Package};
use crate::catalog::wording::{list, nearest, quoted};
use crate::config::{ApiVersion, OperatorPackage, Position};

/// Versions that a fault names on each side of what was asked for.
const NEAREST: usize = 2;

/// A package while it is being chosen.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub name: &'a str,
    pub package: &'a Package,
    wanted: Option<&'a OperatorPackage>,
    /// One for each channel of the package, in its order.
    pub parts: Vec<Part>,
}

/// A channel while it is being chosen.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// What is asked of it.
    rule: Option<Rule>,
    /// The rule is written at the channel itself.
    own: bool,
    /// Where it is written.
    at: Option<Position>,
    /// The entries that are kept, by their places.
    pub kept: BTreeMap<usize, Why>,
}

impl<'a> Draft<'a> {
    /// A package that only others need.
    pub fn needed(name: &'a str, package: &'a Package) -> Self {
        let parts = package.channels.iter().map(|_| Part::default()).collect();
        Self { name, package, wanted: None, parts }
    }

    /// A package as it is.
    pub fn whole(name: &str, package: &Package) -> Picked {
        let channels = package.channels.iter().enumerate().map(|(place, channel)| PickedChannel {
            place,
            name: channel.name.clone(),
            rule: Some(Rule::Full),
            entries: (0..channel.entries.len())
                .map(|place| Kept { place, why: Why::Full })
                .collect(),
        });
        Picked {
            name: name.to_owned(),
            default_channel: package.default_channel.clone(),
            unchanged: true,
            channels: channels.collect(),
            dropped: Vec::new(),
            bundles: package.bundles.keys().cloned().collect(),
        }
    }

    /// What the rules keep.
    pub fn of(
        name: &'a str,
        package: &'a Package,
        wanted: Option<&'a OperatorPackage>,
        full: bool,
        version: ApiVersion,
    ) -> Result<Self, Vec<Fault>> {
        let mut draft = Self { wanted, ..Self::needed(name, package) };
        let mut faults = draft.unknown();
        for (place, channel) in package.channels.iter().enumerate() {
            let mut asked = None;
            if let Some(wanted) = wanted.filter(|wanted| !wanted.channels.is_empty()) {
                asked = wanted.channels.iter().find(|asked| asked.name == channel.name);
                if asked.is_none() {
                    continue;
                }
            }
            let (rule, own) = rule(wanted, asked, full, version);
            let part = &mut draft.parts[place];
            part.own = own;
            part.at = asked.map(|asked| asked.at).or(wanted.map(|wanted| wanted.at));
            match keep(package, channel, &rule, version) {
                Ok(kept) => part.kept = kept.into_iter().map(|k| (k.place, k.why)).collect(),
                Err(reasons) => {
                    let at = part.at;
                    faults.extend(reasons.into_iter().map(|r| draft.fault(Some(place), at, r)));
                }
            }
            draft.parts[place].rule = Some(rule);
        }
        if faults.is_empty() {
            faults.extend(draft.empty(version));
        }
        if faults.is_empty() { Ok(draft) } else { Err(faults) }
    }

    fn fault(&self, place: Option<usize>, at: Option<Position>, reason: Reason) -> Fault {
        let channel = place.map(|place| self.package.channels[place].name.clone());
        // A bundle without a version is the same fault in all its channels.
        let channel = channel.filter(|_| !matches!(reason, Reason::Version { .. }));
        Fault { package: self.name.to_owned(), channel, at, reason }
    }

    /// Channels and bundles of the configuration that are not there.
    fn unknown(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let Some(wanted) = self.wanted else { return faults };
        let known: Vec<&str> = self.package.channels.iter().map(|c| c.name.as_str()).collect();
        for asked in wanted.channels.iter().filter(|asked| !known.contains(&asked.name.as_str())) {
            faults.push(Fault {
                package: self.name.to_owned(),
                channel: Some(asked.name.clone()),
                at: Some(asked.at),
                reason: Reason::UnknownChannel {
                    nearest: nearest(&asked.name, known.iter().copied()),
                    known: known.iter().map(|name| (*name).to_owned()).collect(),
                },
            });
        }
        let bounds = wanted.min_bundle.iter().map(|bundle| (bundle, wanted.at));
        let named = wanted.bundles.iter().map(|bundle| (&bundle.name, bundle.at));
        let lost: BTreeSet<_> = if wanted.bundles.is_empty() {
            BTreeSet::new()
        } else {
            orphans(self.package).into_iter().collect()
        };
        for (bundle, at) in bounds.chain(named) {
            if !self.package.bundles.contains_key(bundle.as_str()) {
                faults.push(self.fault(None, Some(at), unknown_bundle(self.package, bundle)));
            } else if let Some(name) = lost.get(bundle.as_str()) {
                let what = GraphFault::NoChannel(vec![name.clone()]);
                faults.push(self.fault(None, Some(at), Reason::Flaw(what)));
            }
        }
        faults
    }

    /// Faults of channels in which the rules keep nothing.
    fn empty(&self, version: ApiVersion) -> Vec<Fault> {
        let asked = |(_, part): &(usize, &Part)| part.rule.is_some();
        let parts: Vec<(usize, &Part)> = self.parts.iter().enumerate().filter(asked).collect();
        let nothing = parts.iter().all(|(_, part)| part.kept.is_empty());
        let default = self.wanted.and_then(|wanted| wanted.default_channel.as_ref());
        let default = default.unwrap_or(&self.package.default_channel);
        let must = |place: usize, part: &Part| match (&part.rule, version) {
            (Some(Rule::Bundles(_)), _) => false,
            (Some(Rule::One(_)), ApiVersion::V2Alpha1) if part.own => true,
            (Some(Rule::From(..)), ApiVersion::V1Alpha2) => part.own,
            (_, ApiVersion::V2Alpha1) => self.package.channels[place].name == *default,
            (_, ApiVersion::V1Alpha2) => false,
        };
        let mut faults: Vec<Fault> = parts
            .iter()
            .filter(|(place, part)| part.kept.is_empty() && must(*place, part))
            .map(|(place, part)| self.fault(Some(*place), part.at, self.nothing(*place, part)))
            .collect();
        if nothing && faults.is_empty() {
            faults = match (version, parts.first()) {
                (_, None) => {
                    let at = self.wanted.map(|wanted| wanted.at);
                    vec![self.fault(None, at, Reason::NoChannel)]
                }
                (ApiVersion::V2Alpha1, Some((place, part))) => {
                    vec![self.fault(Some(*place), part.at, self.nothing(*place, part))]
                }
                _ => {
                    let at = self.wanted.map(|wanted| wanted.at);
                    let asked = parts.iter().find_map(|(_, part)| part.rule.as_ref());
                    let asked = asked.map(ToString::to_string).unwrap_or_default();
                    vec![self.fault(None, at, Reason::NotFound { asked, nearest: self.nearest() })]
                }
            };
        }
        faults
    }

    /// Why a rule keeps nothing of a channel.
    fn nothing(&self, place: usize, part: &Part) -> Reason {
        let (channel, package) = (&self.package.channels[place], self.package);
        let known = known(package, channel);
        let near = |to: &Version| version::nearest(to, known.iter(), NEAREST);
        match &part.rule {
            Some(Rule::One(one) | Rule::From(Start::Version(one), _)) => {
                Reason::NoVersion { version: one.clone(), nearest: near(one) }
            }
            Some(Rule::From(Start::Bundle(bundle), _)) => {
                let names = channel.entries.iter().map(|entry| &*entry.name);
                Reason::UnknownBundle { bundle: bundle.clone(), nearest: nearest(bundle, names) }
            }
            Some(Rule::Range(bounds)) => {
                let elsewhere = (self.parts.iter().zip(&package.channels))
                    .filter(|(part, _)| !part.kept.is_empty())
                    .map(|(_, channel)| channel.name.clone());
                Reason::Nothing {
                    nearest: bounds
                        .min
                        .as_ref()
                        .or(bounds.max.as_ref())
                        .map(near)
                        .unwrap_or_default(),
                    works: would_work(package, channel, bounds).map(Box::new),
                    elsewhere: elsewhere.collect(),
                    bounds: Box::new(bounds.clone()),
                }
            }
            _ => Reason::Flaw(GraphFault::Empty),
        }
    }

    /// The versions next to what is asked of the package.
    fn nearest(&self) -> Vec<Version> {
        let mut known_of_all = Vec::new();
        let mut to = None;
        for (part, channel) in self.parts.iter().zip(&self.package.channels) {
            to = to.or(match &part.rule {
                Some(Rule::Range(bounds)) => bounds.min.as_ref().or(bounds.max.as_ref()),
                Some(Rule::From(Start::Version(version), _) | Rule::One(version)) => Some(version),
                _ => continue,
            });
            known_of_all.extend(known(self.package, channel));
        }
        let near = |to| version::nearest(to, known_of_all.iter(), NEAREST);
        to.map(near).unwrap_or_default()
    }

    /// The package as it will be.
    pub fn finish(
        self,
        version: ApiVersion,
        warnings: &mut Vec<String>,
    ) -> Result<Picked, Vec<Fault>> {
        let mut faults = self.broken();
        let kept: Vec<&str> = (self.parts.iter().zip(&self.package.channels))
            .filter(|(part, _)| !part.kept.is_empty())
            .map(|(_, channel)| channel.name.as_str())
            .collect();
        let default_channel = self.default_channel(&kept, version).unwrap_or_else(|reason| {
            let at = self.wanted.map(|wanted| wanted.at);
            faults.push(self.fault(None, at, reason));
            String::new()
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        self.warn(warnings);
        if version == ApiVersion::V1Alpha2 && default_channel != self.package.default_channel {
            let name = quoted(self.name);
            let (new, old) = (quoted(&default_channel), quoted(&self.package.default_channel));
            warnings.push(format!("package {name}: its default channel becomes {new}, was {old}"));
        }
        Ok(self.picked(default_channel))
    }

    fn picked(self, default_channel: String) -> Picked {
        let (mut channels, mut dropped) = (Vec::new(), Vec::new());
        let mut bundles = BTreeSet::new();
        let mut unchanged = default_channel == self.package.default_channel;
        for (place, (part, channel)) in
            self.parts.into_iter().zip(&self.package.channels).enumerate()
        {
            unchanged &= part.kept.len() == channel.entries.len() && !part.kept.is_empty();
            if part.kept.is_empty() {
                let why = if part.rule.is_some() { Dropped::Nothing } else { Dropped::NotNamed };
                dropped.push((place, why));
                continue;
            }
            bundles.extend(part.kept.keys().map(|place| channel.entries[*place].name.clone()));
            let kept = part.kept.into_iter().map(|(place, why)| Kept { place, why });
            let (name, rule) = (channel.name.clone(), part.rule);
            channels.push(PickedChannel { place, name, rule, entries: kept.collect() });
        }
        let unchanged = unchanged && bundles.len() == self.package.bundles.len();
        let name = self.name.to_owned();
        Picked { name, default_channel, unchanged, channels, dropped, bundles }
    }

    /// Channels of which something is left that is none, and kept bundles without a version.
    fn broken(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut unread = BTreeSet::new();
        for (place, (part, channel)) in self.parts.iter().zip(&self.package.channels).enumerate() {
            if part.kept.is_empty() {
                continue;
            }
            let kept = part.kept.keys().map(|place| &channel.entries[*place]);
            for entry in kept.clone() {
                let Some(bundle) = self.package.bundles.get(&entry.name) else { continue };
                if let Err(error) = bundle.version.parse::<Version>()
                    && unread.insert(&entry.name)
                {
                    let (bundle, text) = (entry.name.clone(), bundle.version.clone());
                    let reason = Reason::Version { bundle, text, problem: error.to_string() };
                    faults.push(self.fault(None, part.at, reason));
                }
            }
            let wrong = Graph::of(kept).faults(|name| self.package.bundles.contains_key(name));
            if let Some(what) = wrong.into_iter().next() {
                faults.push(self.fault(Some(place), part.at, self.why_broken(channel, part, what)));
            }
        }
        faults
    }

    fn why_broken(&self, channel: &Channel, part: &Part, what: GraphFault) -> Reason {
        let graph = Graph::of(&channel.entries);
        let has = |name: &str| self.package.bundles.contains_key(name);
        let (mut works, mut missing) = (None, Vec::new());
        match &part.rule {
            Some(Rule::Range(bounds)) => works = would_work(self.package, channel, bounds),
            Some(Rule::From(start, max)) => {
                let lowest = part.kept.iter().find(|(_, why)| **why == Why::Lowest);
                let bundle = lowest
                    .and_then(|(place, _)| self.package.bundles.get(&channel.entries[*place].name));
                let min = match start {
                    Start::Version(version) => Some(version.clone()),
                    Start::Bundle(_) => bundle.and_then(|bundle| bundle.version.parse().ok()),
                };
                let bounds = Bounds { min, max: max.clone(), reading: Reading::Plain };
                works = would_work(self.package, channel, &bounds);
            }
            Some(Rule::Bundles(names)) => {
                let named: Vec<bool> =
                    channel.entries.iter().map(|entry| names.contains(&*entry.name)).collect();
                let all = v2::range(&graph, &named).unwrap_or_default();
                let entries = all.iter().map(|kept| &channel.entries[kept.place]);
                let covers = (0..named.len())
                    .all(|place| !named[place] || all.iter().any(|kept| kept.place == place));
                if covers && Graph::of(entries).faults(has).is_empty() {
                    let between = all.iter().filter(|kept| !named[kept.place]);
                    missing =
                        between.map(|kept| channel.entries[kept.place].name.clone()).collect();
                }
            }
            Some(Rule::Head | Rule::Full | Rule::One(_)) | None => return Reason::Flaw(what),
        }
        if works.is_none() && missing.is_empty() && !graph.faults(has).is_empty() {
            return Reason::Flaw(what);
        }
        let asked = part.rule.as_ref().map(ToString::to_string).unwrap_or_default();
        Reason::Broken { asked, what, works: works.map(Box::new), missing }
    }

    /// The default channel to write.
    fn default_channel(&self, kept: &[&str], version: ApiVersion) -> Result<String, Reason> {
        let own = || kept.iter().map(|name| (*name).to_owned()).collect();
        if let Some(wanted) = self.wanted.and_then(|wanted| wanted.default_channel.as_ref()) {
            return if kept.contains(&wanted.as_str()) {
                Ok(wanted.clone())
            } else {
                let nearest = nearest(wanted, kept.iter().copied());
                Err(Reason::DefaultNotKept { wanted: wanted.clone(), kept: own(), nearest })
            };
        }
        let default = &self.package.default_channel;
        if kept.contains(&default.as_str()) {
            return Ok(default.clone());
        }
        let free = version == ApiVersion::V1Alpha2 || default.is_empty();
        // A channel that is the only one named, or the only one of a package that nobody named.
        let alone = self.wanted.is_none_or(|wanted| wanted.channels.len() == 1);
        if let [one] = kept
            && free
            && alone
        {
            return Ok((*one).to_owned());
        }
        // Of several with the same priority the first of the catalog.
        let ranked = (self.package.channels.iter().rev())
            .filter(|channel| free && kept.contains(&channel.name.as_str()))
            .filter_map(|channel| channel.priority.map(|priority| (priority, channel)))
            .max_by_key(|(priority, _)| *priority);
        let gone = || Reason::DefaultGone { default: default.clone(), kept: own() };
        ranked.map(|(_, channel)| channel.name.clone()).ok_or_else(gone)
    }

    /// What a person did not ask for, and what was asked for and is not there.
    fn warn(&self, warnings: &mut Vec<String>) {
        for (part, channel) in self.parts.iter().zip(&self.package.channels) {
            let place =
                || format!("package {}, channel {}", quoted(self.name), quoted(&channel.name));
            let Some(rule) = &part.rule else { continue };
            if part.kept.is_empty() && part.own {
                warnings.push(format!("{}: nothing is {rule}, so it is not carried", place()));
            }
            let between: Vec<_> = (part.kept.iter())
                .filter(|(_, why)| **why == Why::Between)
                .map(|(place, _)| &channel.entries[*place].name)
                .collect();
            if !between.is_empty() {
                warnings.push(format!(
                    "{}: not {rule} and carried all the same, because updates lead over it: {}",
                    place(),
                    list(&between)
                ));
            }
        }
    }
}

fn unknown_bundle(package: &Package, bundle: &str) -> Reason {
    let nearest = nearest(bundle, package.bundles.keys().map(|name| &**name));
    Reason::UnknownBundle { bundle: bundle.to_owned(), nearest }
}
