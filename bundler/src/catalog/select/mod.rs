//! What is taken of a catalog, and why.
//!
//! In: a catalog, one entry of `mirror.operators`, the version of the file. Out: a [`Selection`] that says of every bundle why it is
//! there, or every fault of every package. The rules are those of the oc-mirror that reads such a file (`v2`, `v1`,
//! `dependencies`), with the differences of `docs/decisions/0014`. What must hold: each channel that is kept is one that a
//! cluster can use, or the answer is a refusal with the range that would work; nothing is kept that no rule keeps; the
//! same catalog and configuration give the same selection.

pub mod demand;
mod dependencies;
mod draft;
pub mod explain;
mod fault;
mod rules;
mod v1;
mod v2;
pub mod version;
mod works;

#[cfg(test)]
mod dependency_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use semver::Version;

use super::model::Catalog;
use super::wording::nearest;
use crate::config::{ApiVersion, OperatorCatalog};
use draft::Draft;
pub use fault::{Fault, Reason};
use version::Bounds;

/// What is taken of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The catalog is carried as it is: everything was asked for.
    pub whole: bool,
    /// The packages, by name. Objects of no package are always kept.
    pub packages: Vec<Picked>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What is taken of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Its name.
    pub name: String,
    /// The default channel to write.
    pub default_channel: String,
    /// Everything of it is kept, and its default channel: its objects can stay as they are.
    pub unchanged: bool,
    /// The channels that are kept, in the catalog's order.
    pub channels: Vec<PickedChannel>,
    /// The channels that are not, by their places in the package, and why.
    pub dropped: Vec<(usize, Dropped)>,
    /// The bundles that are kept.
    pub bundles: BTreeSet<Arc<str>>,
}

/// What is taken of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickedChannel {
    /// Its place in the package.
    pub place: usize,
    /// Its name.
    pub name: String,
    /// What was asked of it; `None` when only another package needs it.
    pub rule: Option<Rule>,
    /// The entries that are kept, in the catalog's order.
    pub entries: Vec<Kept>,
}

/// An entry that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the channel.
    pub place: usize,
    /// Why.
    pub why: Why,
}

/// Why a channel is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Others are named.
    NotNamed,
    /// It has nothing of what is asked for.
    Nothing,
}

/// What is asked of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Its head.
    Head,
    /// All of it.
    Full,
    /// A range.
    Range(Bounds),
    /// One version (v2: `minVersion` is `maxVersion`).
    One(Version),
    /// A bundle and what updates it (v1: `minVersion` or `minBundle` alone), not above the other version.
    From(Start, Option<Version>),
    /// Bundles by name.
    Bundles(BTreeSet<String>),
}

/// A lower bound of v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// By version.
    Version(Version),
    /// By name.
    Bundle(String),
}

/// Why an entry is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is the head of its channel.
    Head,
    /// The whole channel is kept.
    Full,
    /// It is in the range.
    Range,
    /// It is not in the range, and updates between bundles of the range lead over it.
    Between,
    /// It is in the range, and another one that is kept skips it.
    Skipped {
        /// That one.
        by: Arc<str>,
    },
    /// Its version was asked for.
    One,
    /// It is the lower bound.
    Lowest,
    /// It is between the lower bound and the head.
    Above,
    /// It was named.
    Named,
    /// Another bundle needs it.
    Needed {
        /// That one.
        by: Arc<str>,
    },
    /// It updates a bundle that another one needs.
    NeededAbove {
        /// The bundle that is needed.
        bundle: Arc<str>,
        /// The one that needs it.
        by: Arc<str>,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::wording::quoted;
        match self {
            Self::Head => f.write_str("the head of the channel"),
            Self::Full => f.write_str("the whole channel"),
            Self::Range => f.write_str("in the range"),
            Self::Between => f.write_str("outside the range, and updates in it lead over it"),
            Self::Skipped { by } => write!(f, "in the range, skipped by {}", quoted(by)),
            Self::One => f.write_str("the version that is asked for"),
            Self::Lowest => f.write_str("the lower bound"),
            Self::Above => f.write_str("from the lower bound to the head"),
            Self::Named => f.write_str("named"),
            Self::Needed { by } => write!(f, "needed by {}", quoted(by)),
            Self::NeededAbove { bundle, by } => {
                write!(f, "updates {}, which {} needs", quoted(bundle), quoted(by))
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::wording::{list, quoted};
        match self {
            Self::Head => f.write_str("its head"),
            Self::Full => f.write_str("all of it"),
            Self::Range(bounds) => bounds.fmt(f),
            Self::One(version) => write!(f, "version {version}"),
            Self::From(start, max) => {
                match start {
                    Start::Version(version) => write!(f, "from {version}")?,
                    Start::Bundle(name) => write!(f, "from {}", quoted(name))?,
                }
                match max {
                    Some(max) => write!(f, " to {max}"),
                    None => f.write_str(" to its head"),
                }
            }
            Self::Bundles(names) => {
                write!(f, "{}", list(&names.iter().collect::<Vec<_>>()))
            }
        }
    }
}

impl Picked {
    /// Whether a reference of `olm.deprecations` is about something that is kept.
    pub fn keeps(&self, schema: &str, name: &str) -> bool {
        match schema {
            "olm.channel" => self.channels.iter().any(|channel| channel.name == name),
            "olm.bundle" => self.bundles.contains(name),
            _ => true,
        }
    }
}

/// What an entry of `mirror.operators` takes of a catalog. Errors: every fault of every package, in the order of the names.
pub fn select(
    catalog: &Catalog,
    wanted: &OperatorCatalog,
    version: ApiVersion,
) -> Result<Selection, Vec<Fault>> {
    let mut warnings = Vec::new();
    if wanted.full && wanted.packages.is_empty() {
        let all = catalog.packages.iter().map(|(name, package)| Draft::whole(name, package));
        return Ok(Selection { whole: true, packages: all.collect(), warnings });
    }
    let mut faults = Vec::new();
    let mut drafts: BTreeMap<&str, Draft<'_>> = BTreeMap::new();
    let mut failed: BTreeSet<&str> = BTreeSet::new();
    let mut take =
        |name, package, asked| match Draft::of(name, package, asked, wanted.full, version) {
            Ok(draft) => {
                drafts.insert(name, draft);
            }
            Err(more) => {
                failed.insert(name);
                faults.extend(more);
            }
        };
    if wanted.packages.is_empty() {
        for (name, package) in &catalog.packages {
            take(name.as_str(), package, None);
        }
    }
    let mut unknown = Vec::new();
    for asked in &wanted.packages {
        match catalog.packages.get_key_value(&asked.name) {
            Some((name, package)) => take(name.as_str(), package, Some(asked)),
            None => unknown.push(Fault {
                package: asked.name.clone(),
                channel: None,
                at: Some(asked.at),
                reason: Reason::UnknownPackage {
                    nearest: nearest(&asked.name, catalog.packages.keys().map(String::as_str)),
                },
            }),
        }
    }
    faults.extend(unknown);
    match version {
        ApiVersion::V1Alpha2 if wanted.skip_dependencies => {}
        ApiVersion::V1Alpha2 => {
            dependencies::add(catalog, &mut drafts, &failed, &mut faults, &mut warnings);
        }
        ApiVersion::V2Alpha1 => dependencies::missing(catalog, &drafts, &mut warnings),
    }
    let mut packages = Vec::new();
    for draft in drafts.into_values() {
        match draft.finish(version, &mut warnings) {
            Ok(picked) => packages.push(picked),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() {
        return Ok(Selection { whole: false, packages, warnings });
    }
    faults.sort_by(|a, b| (a.at, &a.package, &a.channel).cmp(&(b.at, &b.package, &b.channel)));
    faults.dedup();
    Err(faults)
}
