//! Random catalogs and random wishes: what comes out is a catalog that a cluster can use, or a refusal; and nothing is in it
//! that no rule keeps.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::testing::{bundle, catalog, package, wanted};
use super::version::{Place, Reading};
use super::*;
use crate::catalog::graph::Graph;
use crate::catalog::model::{Channel, Entry, Package, Requirement};
use crate::config::ApiVersion::{V1Alpha2 as V1, V2Alpha1 as V2};

/// Small numbers of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (usize::try_from((z ^ (z >> 31)) >> 33).unwrap()) % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn version(&mut self) -> String {
        let mut version = format!("{}.{}.{}", self.roll(2), self.roll(4), self.roll(3));
        if self.one_in(6) {
            version.push_str(["-1", "-rc.1", "-0"][self.roll(3)]);
        }
        if self.one_in(12) {
            version.push_str("+b.7");
        }
        version
    }

    /// A channel: a chain with skips as real ones have, and now and then anything at all.
    fn channel(&mut self, name: &str, bundles: &[Arc<str>]) -> Channel {
        let wild = self.one_in(12);
        let count = if wild { self.roll(bundles.len() + 1) } else { 1 + self.roll(bundles.len()) };
        let mut chosen: Vec<Arc<str>> = Vec::new();
        for _ in 0..count {
            let next = &bundles[self.roll(bundles.len())];
            if wild || !chosen.contains(next) {
                chosen.push(next.clone());
            }
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut last: Option<Arc<str>> = None;
        let mut aside: Vec<Arc<str>> = Vec::new();
        for (n, name) in chosen.iter().enumerate() {
            let mut entry = Entry { name: name.clone(), ..Entry::default() };
            if wild {
                let other = |dice: &mut Self| chosen[dice.roll(chosen.len())].clone();
                entry.replaces = (!self.one_in(3)).then(|| other(self));
                entry.skips = (0..self.roll(3)).map(|_| other(self)).collect();
            } else {
                let below = last.clone().or_else(|| self.one_in(2).then(|| "gone".into()));
                if n + 1 < chosen.len() && self.one_in(3) {
                    // Skipped by what follows it, and no part of the chain.
                    entry.replaces = below.filter(|_| self.one_in(2));
                    aside.push(name.clone());
                } else {
                    entry.replaces = below;
                    entry.skips.append(&mut aside);
                    if n > 0 && self.one_in(3) {
                        entry.skips.push(chosen[self.roll(n)].clone());
                    }
                    last = Some(name.clone());
                }
            }
            entries.push(entry);
        }
        if self.one_in(3) {
            entries.reverse();
        }
        let priority = self.one_in(3).then(|| i64::try_from(self.roll(4)).unwrap());
        Channel { name: name.to_owned(), priority, entries, ..super::testing::channel("", &[]) }
    }

    fn package(&mut self, name: &str) -> Package {
        let names: Vec<Arc<str>> =
            (0..3 + self.roll(6)).map(|n| format!("{name}.{n}").into()).collect();
        let mut channels = Vec::new();
        let channel = if self.one_in(8) { ["stable", "fast"] } else { ["alpha", "beta"] };
        for channel in channel.into_iter().take(1 + self.roll(6).min(1)) {
            channels.push(self.channel(channel, &names));
        }
        let mut bundles = Vec::new();
        for name in &names {
            let version = if self.one_in(120) { "v1".to_owned() } else { self.version() };
            let mut made = bundle(name, &version);
            if self.one_in(3) {
                let range = ["", "<1.0.0", ">=1.0.0", "no range"][self.roll(4)].to_owned();
                let name = ["one", "two", "three", "four"][self.roll(4)].to_owned();
                let package = Requirement::Package { name, range };
                let not = Requirement::Not(vec![package.clone()]);
                made.1.requires.push(match self.roll(3) {
                    0 => Requirement::Any(vec![package.clone(), package]),
                    1 => Requirement::All(vec![package, not]),
                    _ => package,
                });
            }
            bundles.push(made);
        }
        bundles.truncate(names.len() - usize::from(self.one_in(40)));
        let default = &channels[self.roll(channels.len())].name;
        package(&default.clone(), channels, bundles)
    }

    fn catalog(&mut self) -> Catalog {
        catalog(["one", "two", "three"].map(|name| (name, self.package(name))))
    }

    /// `minVersion`, `maxVersion`, in order.
    fn bounds(&mut self) -> String {
        let mut ends = [0, 1].map(|_| match self.version() {
            version if self.one_in(3) => version,
            version => version.split(['-', '+']).next().unwrap().to_owned(),
        });
        let (a, b) = (std::mem::take(&mut ends[0]), std::mem::take(&mut ends[1]));
        let in_order = a.parse::<Version>().unwrap().cmp_precedence(&b.parse().unwrap()).is_le();
        let (min, max) = if in_order { (a, b) } else { (b, a) };
        match self.roll(5) {
            0 => format!(", minVersion: {min}"),
            1 => format!(", maxVersion: {max}"),
            2 => format!(", minVersion: {min}, maxVersion: {min}"),
            _ => format!(", minVersion: {min}, maxVersion: {max}"),
        }
    }

    fn wish(&mut self, version: ApiVersion) -> String {
        if self.one_in(8) {
            return if self.one_in(2) { "full: true".to_owned() } else { String::new() };
        }
        let mut packages = Vec::new();
        let full = self.one_in(6);
        for name in ["one", "two", "three", "four"] {
            if !self.one_in(if name == "four" { 40 } else { 2 }) {
                continue;
            }
            let default = if self.one_in(2) { ", defaultChannel: alpha" } else { "" };
            let open = full && version == V2;
            packages.push(match self.roll(5) {
                0 => format!("{{name: {name}{default}}}"),
                1 if !open => format!("{{name: {name}{default}{}}}", self.bounds()),
                2 if version == V1 => format!("{{name: {name}{default}, minBundle: {name}.{}}}", self.roll(3)),
                3 if !full => {
                    let (a, b) = (self.roll(2), 2 + self.roll(2));
                    format!("{{name: {name}{default}, bundles: [{{name: {name}.{a}}}, {{name: {name}.{b}}}]}}")
                }
                _ => {
                    let bounds = if open { String::new() } else { self.bounds() };
                    format!("{{name: {name}{default}, channels: [{{name: alpha{bounds}}}{}]}}", if self.one_in(2) { ", {name: beta}" } else { "" })
                }
            });
        }
        format!("full: {full}, packages: [{}]", packages.join(", "))
    }
}

/// Whether entries are a channel, asked in another way than `graph` does: one head, every walk down ends, and what is
/// neither walked over nor skipped is not there.
fn is_channel(entries: &[&Entry]) -> bool {
    let named = |name: &Arc<str>| entries.iter().find(|entry| entry.name == *name);
    let skipped: BTreeSet<&Arc<str>> = entries.iter().flat_map(|entry| &entry.skips).collect();
    let replaced: BTreeSet<&Arc<str>> =
        entries.iter().filter_map(|e| e.replaces.as_ref()).collect();
    let heads: Vec<_> = (entries.iter())
        .filter(|entry| !skipped.contains(&entry.name) && !replaced.contains(&entry.name))
        .collect();
    let names: BTreeSet<&Arc<str>> = entries.iter().map(|entry| &entry.name).collect();
    let [head] = heads[..] else { return false };
    let mut walked = BTreeSet::from([&head.name]);
    let mut at = head;
    while let Some(next) =
        at.replaces.as_ref().filter(|name| !skipped.contains(name)).and_then(named)
    {
        if !walked.insert(&next.name) {
            return false;
        }
        at = next;
    }
    names.len() == entries.len()
        && entries.iter().all(|entry| walked.contains(&entry.name) || skipped.contains(&entry.name))
}

fn check(catalog: &Catalog, picked: &Picked, version: ApiVersion) {
    let package = &catalog.packages[&picked.name];
    assert!(picked.channels.iter().any(|channel| channel.name == picked.default_channel));
    let mut bundles = BTreeSet::new();
    for channel in &picked.channels {
        let all = &package.channels[channel.place].entries;
        assert!(!channel.entries.is_empty());
        assert!(channel.entries.windows(2).all(|pair| pair[0].place < pair[1].place));
        let kept: Vec<&Entry> = channel.entries.iter().map(|kept| &all[kept.place]).collect();
        assert!(is_channel(&kept), "{kept:#?}");
        bundles.extend(kept.iter().map(|entry| entry.name.clone()));
        let graph = Graph::of(all);
        let place = |bounds: &Bounds, at: usize| match package.bundles.get(&all[at].name) {
            Some(bundle) => bounds.place(&bundle.version.parse().unwrap()),
            None => Place::Below,
        };
        for kept in &channel.entries {
            let Kept { place: at, why } = kept;
            let rule = channel.rule.as_ref();
            match (why, rule) {
                (Why::Head, Some(Rule::Head)) => assert_eq!(graph.heads(), [*at]),
                (Why::Full, Some(Rule::Full)) => {}
                (Why::Range, Some(Rule::Range(bounds))) => {
                    assert_eq!(place(bounds, *at), Place::Within);
                }
                (Why::Between, Some(Rule::Range(bounds))) => {
                    assert!(version == V2 && place(bounds, *at) != Place::Within);
                }
                (Why::Skipped { by }, Some(Rule::Range(bounds))) => {
                    assert_eq!(place(bounds, *at), Place::Within);
                    let by = channel.entries.iter().find(|kept| all[kept.place].name == *by);
                    assert!(all[by.unwrap().place].skips.contains(&all[*at].name));
                }
                (_, Some(Rule::One(one))) => {
                    let version: Version = package.bundles[&all[*at].name].version.parse().unwrap();
                    let between = *why == Why::Between;
                    assert!(between || version.cmp_precedence(one).is_eq());
                }
                (Why::Lowest, Some(Rule::From(Start::Bundle(name), _))) => {
                    assert_eq!(*all[*at].name, **name);
                }
                (Why::Lowest | Why::Above, Some(Rule::From(_, max))) => {
                    let max = Bounds { min: None, max: max.clone(), reading: Reading::Plain };
                    assert_eq!(place(&max, *at), Place::Within);
                }
                (Why::Named, Some(Rule::Bundles(names))) => {
                    assert!(names.contains(&*all[*at].name));
                }
                (Why::Needed { .. } | Why::NeededAbove { .. }, _) => assert_eq!(version, V1),
                other => panic!("{other:?}"),
            }
        }
        // A lower bound comes without what it updates.
        let lowest: Vec<usize> =
            (channel.entries.iter()).filter(|k| k.why == Why::Lowest).map(|k| k.place).collect();
        if let [lowest] = lowest[..] {
            let below = graph.chain(lowest).unwrap();
            assert!(
                channel.entries.iter().all(|k| k.why != Why::Above || !below.contains(&k.place))
            );
        }
        // Nothing of the range that the chain leads over is missing, and both its ends are there for a bundle in the range.
        if let (Some(Rule::Range(bounds)), V2) = (&channel.rule, version) {
            let is_kept = |at: &usize| channel.entries.iter().any(|kept| kept.place == *at);
            let within = |at: &usize| place(bounds, *at) == Place::Within;
            let chain = graph.chain(graph.head().unwrap()).unwrap();
            assert!(chain.iter().all(|at| is_kept(at) || !within(at)));
            let piece: Vec<usize> = chain.into_iter().filter(is_kept).collect();
            for end in [piece.first().unwrap(), piece.last().unwrap()] {
                assert!(within(end) || graph.skips(*end).iter().any(within));
            }
        }
        let heads = matches!(channel.rule, Some(Rule::Head)) && version == V2;
        assert!(!heads || channel.entries.len() == 1);
    }
    assert_eq!(bundles, picked.bundles);
    let whole = package.channels.len() == picked.channels.len()
        && picked.bundles.len() == package.bundles.len()
        && picked.default_channel == package.default_channel
        && picked
            .channels
            .iter()
            .all(|c| c.entries.len() == package.channels[c.place].entries.len());
    assert_eq!(whole, picked.unchanged);
}

/// Follows the advice of a fault in the channel that it is about.
fn follow(catalog: &Catalog, fault: &Fault, version: ApiVersion) {
    let (
        Reason::Nothing { works: Some(works), .. } | Reason::Broken { works: Some(works), .. },
        Some(channel),
    ) = (&fault.reason, &fault.channel)
    else {
        return;
    };
    let fields = works.fields().replace('`', "");
    let name = &fault.package;
    let line = format!(
        "skipDependencies: true, packages: [{{name: {name}, defaultChannel: {channel}, channels: [{{name: {channel}, {fields}}}]}}]"
    );
    // A lower bound alone is another question in v1, and two equal ones in v2.
    if (version == V1 && works.max.is_none()) || works.one().is_some() {
        return;
    }
    let answer = select(catalog, &wanted(&line, version), version);
    assert!(answer.is_ok(), "{fault}: {line}: {answer:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_chosen_is_a_catalog_or_a_refusal(seed: u64) {
        let mut dice = Dice(seed);
        let catalog = dice.catalog();
        for version in [V1, V2] {
            let wish = dice.wish(version);
            let entry = wanted(&wish, version);
            let answer = select(&catalog, &entry, version);
            prop_assert_eq!(&answer, &select(&catalog, &entry, version));
            match answer {
                Ok(selection) => {
                    if !selection.whole {
                        selection.packages.iter().for_each(|picked| check(&catalog, picked, version));
                    }
                    let view = explain::Explanation::of(&catalog, &selection);
                    prop_assert!(!view.to_string().is_empty());
                    for (package, picked) in view.packages.iter().zip(&selection.packages) {
                        for (channel, kept) in package.channels.iter().zip(&picked.channels) {
                            let left: usize = channel.left_out.iter().map(|left| left.count).sum();
                            prop_assert_eq!(left + kept.entries.len(), channel.bundles_in_catalog);
                        }
                    }
                }
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    for fault in &faults {
                        prop_assert!(!fault.to_string().is_empty());
                        prop_assert!(fault.hints().iter().all(|hint| !hint.is_empty()), "{fault:?}");
                        follow(&catalog, fault, version);
                    }
                }
            }
        }
    }
}

/// The size of the largest catalogs there are.
#[test]
fn sixty_six_thousand_bundles_are_chosen_in_a_second() {
    let mut packages = BTreeMap::new();
    for p in 0..600 {
        let mut bundles = Vec::new();
        let mut channels: Vec<Channel> = Vec::new();
        for c in 0..5 {
            let mut channel = super::testing::channel(&format!("stable-{c}"), &[]);
            for n in 0..22 {
                let name = |n: usize| -> Arc<str> { format!("operator-{p}.v{c}.{n}.0").into() };
                let mut made = bundle(&name(n), &format!("{c}.{n}.0"));
                let needed = format!("operator-{}", (p + 1) % 600);
                made.1
                    .requires
                    .push(Requirement::Package { name: needed, range: ">=1.0.0".into() });
                bundles.push(made);
                channel.entries.push(Entry {
                    name: name(n),
                    replaces: n.checked_sub(1).map(name),
                    skips: (0..n.saturating_sub(1)).map(name).collect(),
                    skip_range: None,
                });
            }
            channels.push(channel);
        }
        packages.insert(format!("operator-{p}"), package("stable-4", channels, bundles));
    }
    let all = Catalog { packages, ..Catalog::default() };
    let asked: Vec<String> = (0..600)
        .map(|p| format!("{{name: operator-{p}, minVersion: 1.0.0, maxVersion: 4.10.0}}"))
        .collect();
    let ranges = format!("packages: [{}]", asked.join(", "));
    for (line, version, bundles) in [
        ("", V2, 3000),
        ("", V1, 3000),
        ("full: true", V2, 66_000),
        (ranges.as_str(), V2, 600 * 77),
        (ranges.as_str(), V1, 600 * 78),
    ] {
        let entry = wanted(line, version);
        let began = Instant::now();
        let selection = select(&all, &entry, version).unwrap_or_else(|f| panic!("{}", f[0]));
        let took = began.elapsed();
        println!("{version:?} {}: {took:?}", &line[..line.len().min(20)]);
        let kept: usize = selection.packages.iter().map(|picked| picked.bundles.len()).sum();
        assert_eq!(kept, bundles, "{version:?} {line:.40}");
        // A second of a release build; tests are some ten times slower, on machines that do other things too.
        assert!(
            took < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 1 }),
            "{took:?}"
        );
    }
}
