//! A range in one channel, as oc-mirror v2 takes it.
//!
//! In: the channel's graph, and which entries are in the range. Out: the entries that are kept, and why. A range keeps a piece of
//! the chain of updates, so that what is left is a channel: from the lowest entry below which every bundle of the range
//! lies, down to the last one that has one at or below it, with the entries of the range that these skip.

use super::{Kept, Why};
use crate::catalog::graph::{Graph, GraphFault};

/// What a range keeps; nothing when no update leads from a bundle of the range to the head.
pub(super) fn range(graph: &Graph<'_>, within: &[bool]) -> Result<Vec<Kept>, GraphFault> {
    let chain = graph.chain(graph.head()?)?;
    // From the end of the chain: the bundles of the range at or below each place, every one counted once.
    let mut seen = vec![false; graph.len()];
    let mut counts = vec![0_usize; chain.len()];
    let mut count = 0;
    for (at, place) in chain.iter().enumerate().rev() {
        for here in graph.skips(*place).iter().chain([place]) {
            if within[*here] && !std::mem::replace(&mut seen[*here], true) {
                count += 1;
            }
        }
        counts[at] = count;
    }
    let first = counts.iter().rposition(|below| *below == count).unwrap_or_default();
    let end = counts.iter().position(|below| *below == 0).unwrap_or(chain.len());
    let mut why: Vec<Option<Why>> = vec![None; graph.len()];
    for place in chain.get(first..end).unwrap_or_default() {
        why[*place] = Some(if within[*place] { Why::Range } else { Why::Between });
    }
    for place in chain.get(first..end).unwrap_or_default() {
        for skipped in graph.skips(*place).iter().filter(|skipped| within[**skipped]) {
            let by = || Why::Skipped { by: graph.entry(*place).name.clone() };
            why[*skipped].get_or_insert_with(by);
        }
    }
    Ok(kept(why))
}

/// The entries with a reason, in their order.
pub(super) fn kept(why: Vec<Option<Why>>) -> Vec<Kept> {
    let places = why.into_iter().enumerate();
    places.filter_map(|(place, why)| why.map(|why| Kept { place, why })).collect()
}
