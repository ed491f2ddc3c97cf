//! Images of charts that leave although every chart stays as it is.
//!
//! In: what the last sequence left, what is wished for now, and the names that leave. Out: a warning. Which images a chart needs no
//! sequence says, so of a chart that changed or left nothing is said.

use std::collections::BTreeSet;

use format_spec::index::Resource;
use format_spec::{Digest, Repository};

use super::carry::KIND;
use crate::history::{Known, Name};

/// Names that the warning lists.
const NAMED: usize = 3;

/// Says which images leave; what rendered them in the earlier run may be missing in this one.
pub(crate) fn left(
    standing: &Known,
    resources: &[Resource],
    gone: &[(&Repository, &Name, Digest)],
) -> Option<String> {
    let charts = |all: &[Resource]| -> BTreeSet<(String, Vec<u8>)> {
        let charts = all.iter().filter(|one| one.name.starts_with(KIND));
        charts.map(|one| (one.name.clone(), one.content.clone())).collect()
    };
    let before = charts(standing.resources());
    if before.is_empty() || !before.is_subset(&charts(resources)) {
        return None;
    }
    let images = gone.iter().filter(|(repository, name, _)| standing.is_of_chart(repository, name));
    let images: Vec<String> = images
        .map(|(repository, name, _)| match name {
            Name::Tag(tag) => format!("`{repository}:{tag}`"),
            Name::Digest(digest) => format!("`{repository}@{digest}`"),
        })
        .collect();
    let more = match images.len().checked_sub(NAMED) {
        None if images.is_empty() => return None,
        None | Some(0) => String::new(),
        Some(more) => format!(" and {more} more"),
    };
    Some(format!(
        "images that charts needed leave, though every chart stays as it is: {}{more}; `--helm-values`, `--helm-set` and the like hold \
         for one run: where an earlier one had them, give them again",
        images[..images.len().min(NAMED)].join(", ")
    ))
}
