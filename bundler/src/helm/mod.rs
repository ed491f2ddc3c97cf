//! Helm charts, with the images that they need.
//!
//! 1. [`repository`] and [`oci`] find the charts that are asked for, [`versions`] which of them are meant; [`local`] packs what
//!    is on this machine.
//! 2. [`mod@chart`] reads an archive, [`mod@render`] has it rendered by the real `helm`; [`images`] finds the images in that, under
//!    further [`paths`] too, and in what the chart says of itself.
//! 3. [`artifact`] makes of an archive what registries keep; [`asked`] says which charts, [`carry`] wishes for them and their
//!    images, [`news`] says which are new, [`left`] which images leave unexpectedly.

mod artifact;
pub(crate) mod asked;
pub(crate) mod carry;
pub mod chart;
pub mod images;
pub(crate) mod left;
mod limits;
pub mod local;
pub(crate) mod news;
pub mod oci;
pub mod paths;
pub mod render;
pub mod repository;
pub mod versions;

use std::path::PathBuf;

/// What a configuration does not say about charts. Charts are named as the configuration names them, or as they are called.
#[derive(Debug, Clone, Default)]
pub struct HelmOptions {
    /// The program that renders; `None` when there is none.
    pub program: Option<PathBuf>,
    /// Files with values, by chart.
    pub values: Vec<(String, PathBuf)>,
    /// Single values as `--set` takes them, by chart.
    pub sets: Vec<(String, String)>,
    /// The version of Kubernetes that charts are rendered for.
    pub kube_version: Option<String>,
    /// Further API versions that charts are told to be there.
    pub api_versions: Vec<String>,
    /// Guess images from default values where nothing renders.
    pub scan: bool,
}
