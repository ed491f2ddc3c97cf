//! What is taken of a catalog, and why: a value that prints as a tree for people and as JSON.
//!
//! In: the catalog and the selection. Out: [`Explanation`], package by package and channel by channel. What must hold: every
//! bundle of a channel is in it or counted among those left out, with the reason.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use semver::Version;
use serde::Serialize;

use super::version::{Bounds, Place};
use super::{Dropped, Picked, PickedChannel, Rule, Selection, Start, Why};
use crate::catalog::graph::orphans;
use crate::catalog::model::{Catalog, Channel, Package};
use crate::catalog::wording::quoted;

/// What is taken of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The catalog is carried as it is.
    pub whole: bool,
    /// Packages of the catalog.
    pub packages_in_catalog: usize,
    /// Bundles that are carried.
    pub bundles: usize,
    /// The packages that are carried, by name.
    pub packages: Vec<PackageView>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What is taken of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageView {
    /// Its name.
    pub package: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The default channel.
    pub default_channel: String,
    /// The catalog's, when it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_channel_was: Option<String>,
    /// Nothing of it is left out or changed.
    pub unchanged: bool,
    /// Bundles that are carried.
    pub bundles: usize,
    /// Bundles that it has.
    pub bundles_in_catalog: usize,
    /// The channels that are carried.
    pub channels: Vec<ChannelView>,
    /// What is not, besides what the channels say.
    pub left_out: Vec<LeftOut>,
}

/// What is taken of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// Its name.
    pub channel: String,
    /// What is asked of it; nothing when only another package needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Bundles that it has.
    pub bundles_in_catalog: usize,
    /// The bundles that are carried, the newest first.
    pub bundles: Vec<BundleView>,
    /// The others.
    pub left_out: Vec<LeftOut>,
    /// Its head alone, as of every channel that nothing more is asked of: a line says all.
    #[serde(skip)]
    head_alone: bool,
}

/// A bundle that is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleView {
    /// Its name.
    pub bundle: String,
    /// Its version.
    pub version: String,
    /// Why.
    pub why: String,
}

/// What is not carried for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The reason.
    pub why: String,
    /// How many.
    pub count: usize,
    /// Some of their names.
    pub names: Vec<String>,
}

/// Names of things left out that are told.
const NAMES: usize = 3;

impl Explanation {
    /// What this selection takes of this catalog.
    pub fn of(catalog: &Catalog, selection: &Selection) -> Self {
        Self::without(catalog, selection, &BTreeSet::new())
    }

    /// The same without some packages.
    pub fn without(catalog: &Catalog, selection: &Selection, lost: &BTreeSet<String>) -> Self {
        let left = selection.packages.iter().filter(|picked| !lost.contains(&picked.name));
        let packages: Vec<PackageView> = left
            .filter_map(|picked| Some(view(picked, catalog.packages.get(&picked.name)?)))
            .collect();
        Self {
            whole: selection.whole,
            packages_in_catalog: catalog.packages.len(),
            bundles: packages.iter().map(|package| package.bundles).sum(),
            packages,
            warnings: selection.warnings.clone(),
        }
    }
}

fn view(picked: &Picked, package: &Package) -> PackageView {
    let mut left_out = Vec::new();
    for (place, why) in &picked.dropped {
        let Some(channel) = package.channels.get(*place) else { continue };
        let why = match why {
            Dropped::NotNamed => "channels that are not asked for",
            Dropped::Nothing => "channels without a bundle that is asked for",
        };
        count(&mut left_out, why, &channel.name);
    }
    if !picked.unchanged {
        for bundle in orphans(package).iter().filter(|bundle| !picked.bundles.contains(*bundle)) {
            count(&mut left_out, "bundles in no channel", bundle);
        }
    }
    let channels = picked.channels.iter().filter_map(|channel| {
        Some(channel_view(channel, package.channels.get(channel.place)?, package))
    });
    let was = &package.default_channel;
    PackageView {
        package: picked.name.clone(),
        display_name: package.display_name.clone(),
        default_channel: picked.default_channel.clone(),
        default_channel_was: (*was != picked.default_channel).then(|| was.clone()),
        unchanged: picked.unchanged,
        bundles: picked.bundles.len(),
        bundles_in_catalog: package.bundles.len(),
        channels: channels.collect(),
        left_out,
    }
}

fn channel_view(picked: &PickedChannel, channel: &Channel, package: &Package) -> ChannelView {
    let version = |name: &str| {
        package.bundles.get(name).map(|bundle| bundle.version.to_string()).unwrap_or_default()
    };
    // The newest first, as people look for them; a catalog has them in any order. What has no version is behind.
    let mut places: Vec<(Option<Version>, usize)> = (channel.entries.iter().enumerate())
        .map(|(place, entry)| (version(&entry.name).parse().ok(), place))
        .collect();
    places.sort_by(|(one, at), (other, place)| other.cmp(one).then(at.cmp(place)));
    let kept: HashMap<usize, &Why> =
        picked.entries.iter().map(|entry| (entry.place, &entry.why)).collect();
    let (mut bundles, mut left_out) = (Vec::with_capacity(kept.len()), Vec::new());
    for (_, place) in places {
        let name = &channel.entries[place].name;
        let version = version(name);
        match kept.get(&place) {
            Some(why) => {
                bundles.push(BundleView {
                    bundle: name.to_string(),
                    version,
                    why: why.to_string(),
                });
            }
            None => count(&mut left_out, why_not(picked.rule.as_ref(), &version), name),
        }
    }
    ChannelView {
        channel: picked.name.clone(),
        asked: picked.rule.as_ref().map(ToString::to_string),
        bundles_in_catalog: channel.entries.len(),
        head_alone: matches!(picked.rule, Some(Rule::Head)) && bundles.len() == 1,
        bundles,
        left_out,
    }
}

/// Why a rule does not keep a version.
fn why_not(rule: Option<&Rule>, version: &str) -> &'static str {
    let place =
        |bounds: &Bounds| version.parse().ok().map(|version: Version| bounds.place(&version));
    match rule {
        None => "nobody needs them",
        Some(Rule::Head) => "not the head, which comes alone without versions or `full`",
        Some(Rule::Full) => "not in the channel",
        Some(Rule::One(_)) => "another version",
        Some(Rule::Bundles(_)) => "not named",
        Some(Rule::Range(bounds)) => match place(bounds) {
            Some(Place::Below) => "below the range",
            Some(Place::Above) => "above the range",
            Some(Place::PreRelease) => "pre-releases, which a range without one does not take",
            Some(Place::Within) => "in the range, and no bundle that is carried updates them",
            None => "without a version",
        },
        Some(Rule::From(start, max)) => {
            let bound = |version: &Version, upper: bool| Bounds {
                min: (!upper).then(|| version.clone()),
                max: upper.then(|| version.clone()),
                reading: super::version::Reading::Plain,
            };
            let above =
                max.as_ref().is_some_and(|max| place(&bound(max, true)) == Some(Place::Above));
            let below = matches!(start, Start::Version(min) if place(&bound(min, false)) == Some(Place::Below));
            match (above, below) {
                (true, _) => "above the range",
                (_, true) => "below the lower bound",
                _ => "not on the way from the lower bound to the head",
            }
        }
    }
}

fn count(list: &mut Vec<LeftOut>, why: &str, name: &str) {
    match list.iter_mut().find(|known| known.why == why) {
        Some(known) => {
            known.count += 1;
            if known.names.len() < NAMES {
                known.names.push(name.to_owned());
            }
        }
        None => list.push(LeftOut { why: why.to_owned(), count: 1, names: vec![name.to_owned()] }),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whole, packages_in_catalog, bundles, packages, warnings } = self;
        if *whole {
            writeln!(
                f,
                "the whole catalog as it is: {} in {}",
                counted(*bundles, "bundle"),
                counted(packages.len(), "package")
            )?;
        } else {
            writeln!(
                f,
                "{} of {}, {}",
                packages.len(),
                counted(*packages_in_catalog, "package"),
                counted(*bundles, "bundle")
            )?;
            for package in packages {
                package.fmt(f)?;
            }
        }
        for warning in warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PackageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, default_channel, default_channel_was, .. } = self;
        let (all, kept) = (self.bundles_in_catalog, self.bundles);
        write!(
            f,
            "{}: {kept} of {}, default channel {}",
            quoted(package),
            counted(all, "bundle"),
            quoted(default_channel)
        )?;
        if let Some(was) = default_channel_was {
            write!(f, " (was {})", quoted(was))?;
        }
        if self.unchanged {
            return writeln!(f, ", all of it");
        }
        writeln!(f)?;
        let last = self.channels.len() + self.left_out.len();
        for (n, channel) in self.channels.iter().enumerate() {
            channel.lines(f, n + 1 == last)?;
        }
        for (n, left) in self.left_out.iter().enumerate() {
            let branch = if self.channels.len() + n + 1 == last { "└─" } else { "├─" };
            writeln!(f, "{branch} not in: {left}")?;
        }
        Ok(())
    }
}

impl ChannelView {
    fn lines(&self, f: &mut fmt::Formatter<'_>, last: bool) -> fmt::Result {
        let (branch, stem) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        write!(f, "{branch} {}", quoted(&self.channel))?;
        if let Some(asked) = &self.asked {
            write!(f, ": {asked}")?;
        }
        if let [head] = self.bundles.as_slice()
            && self.head_alone
        {
            write!(f, " {} {}", quoted(&head.bundle), head.version)?;
            return writeln!(f, ", 1 of {}", self.bundles_in_catalog);
        }
        writeln!(f, ", {} of {}", self.bundles.len(), self.bundles_in_catalog)?;
        let lines = self.bundles.len() + self.left_out.len();
        let branch = |n: usize| if n + 1 == lines { "└─" } else { "├─" };
        for (n, BundleView { bundle, version, why }) in self.bundles.iter().enumerate() {
            writeln!(f, "{stem} {} {} {version}: {why}", branch(n), quoted(bundle))?;
        }
        for (n, left) in self.left_out.iter().enumerate() {
            writeln!(f, "{stem} {} not in: {left}", branch(self.bundles.len() + n))?;
        }
        Ok(())
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, count, names } = self;
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let more = if *count > names.len() { ", …" } else { "" };
        write!(f, "{count}, {why} ({}{more})", names.join(", "))
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
