//! What is held in memory of a catalog: enough to choose from it, nothing of what its objects contain.
//!
//! A catalog of a gigabyte has some ten thousand bundles. Their names, versions and updates fit; their manifests and images
//! stay in the store, and [`Place`] says where.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Where an object stands in the store of its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file of the catalog that it comes from, an index into [`Catalog::files`].
    pub file: u32,
    /// The compressed frame of the store.
    pub frame: u32,
    /// Where it begins in the unpacked frame.
    pub offset: u32,
    /// Its bytes of JSON.
    pub length: u32,
}

/// A catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The files, below the directory of the configurations.
    pub files: Vec<String>,
    /// The packages, by name.
    pub packages: BTreeMap<String, Package>,
    /// Objects of an unknown schema that belong to no package.
    pub loose: Vec<Place>,
}

/// One package with everything that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its `olm.package`.
    pub object: Place,
    /// The channel that a subscription without one gets; a catalog that leaves it out has it empty.
    pub default_channel: String,
    /// What people call it: `displayName` of its newest bundle where the catalog says it.
    pub display_name: Option<String>,
    /// Its channels, in the order of the catalog.
    pub channels: Vec<Channel>,
    /// Its bundles, by name.
    pub bundles: BTreeMap<Arc<str>, Bundle>,
    /// Its `olm.deprecations`.
    pub deprecations: Option<Place>,
    /// Objects of an unknown schema, in the order of the catalog.
    pub others: Vec<Place>,
}

/// One `olm.channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its object.
    pub object: Place,
    /// The property `olm.channel`: of channels that could be the default one, the largest wins.
    pub priority: Option<i64>,
    /// Its bundles and how they follow each other, in the order of the catalog.
    pub entries: Vec<Entry>,
}

/// One bundle in a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The bundle.
    pub name: Arc<str>,
    /// The bundle that it updates.
    pub replaces: Option<Arc<str>>,
    /// Bundles that it updates too and that nobody should install any more.
    pub skips: Vec<Arc<str>>,
    /// A range of versions that a cluster may update from; no part of the graph.
    pub skip_range: Option<Arc<str>>,
}

/// One `olm.bundle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its object.
    pub object: Place,
    /// The version of its property `olm.package`, as it is written. The name of a bundle says nothing about it.
    pub version: Arc<str>,
    /// The interfaces that it offers.
    pub provides: Vec<Arc<Gvk>>,
    /// What must be there with it.
    pub requires: Vec<Requirement>,
}

/// An interface of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// The API group.
    pub group: String,
    /// The version of the API.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// What a bundle needs: `olm.package.required`, `olm.gvk.required`, `olm.constraint`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// A package in a range of versions, as it is written.
    Package {
        /// Its name.
        name: String,
        /// The range.
        range: String,
    },
    /// An interface.
    Gvk(Arc<Gvk>),
    /// All of them.
    All(Vec<Requirement>),
    /// At least one of them.
    Any(Vec<Requirement>),
    /// None of them.
    Not(Vec<Requirement>),
    /// An expression of the Common Expression Language, which nothing here evaluates.
    Cel(String),
}
