//! A lower bound in one channel, as oc-mirror v1 takes it: a bundle and everything that updates it, up to the head.
//!
//! In: the channel's graph and where to begin. Out: the entries that are kept. Only `replaces` is followed: an entry that is tied in
//! by `skips` alone comes without what is above it; one that is skipped and replaces another is found over that.

use super::v2::kept;
use super::{Kept, Why};
use crate::catalog::graph::{Graph, GraphFault};

/// A bundle and everything that replaces it, up to the head.
pub(super) fn from(graph: &Graph<'_>, starts: &[usize]) -> Result<Vec<Kept>, GraphFault> {
    let chain = graph.chain(graph.head()?)?;
    let replacers = graph.replacers();
    let mut why: Vec<Option<Why>> = vec![None; graph.len()];
    for start in starts {
        for place in upward(graph, &chain, &replacers, *start)?.unwrap_or_default() {
            why[place].get_or_insert(Why::Above);
        }
        why[*start] = Some(Why::Lowest);
    }
    Ok(kept(why))
}

/// The way from a bundle up to the head, both included; `None` when there is none. `chain` is that of the head.
///
/// The bundle's own chain meets the head's at some entry. Everything that replaces this entry, directly or not, is on the
/// way; what the bundle's own chain has before it is not, for the bundle is what a cluster begins with.
pub(super) fn upward(
    graph: &Graph<'_>,
    chain: &[usize],
    replacers: &[Vec<usize>],
    start: usize,
) -> Result<Option<Vec<usize>>, GraphFault> {
    let head = chain[0];
    if start == head {
        return Ok(Some(vec![head]));
    }
    let own = graph.chain(start)?;
    let mut in_own = vec![false; graph.len()];
    for place in &own {
        in_own[*place] = true;
    }
    let meeting = chain.iter().copied().find(|place| in_own[*place]);
    let mut open = match meeting {
        Some(meeting) => replacers[meeting].clone(),
        // Both chains can end at one bundle that the channel no longer has.
        None => match (graph.gone(&own), graph.gone(chain)) {
            (Some(one), Some(other)) if one == other => {
                (0..graph.len()).filter(|place| graph.gone(&[*place]) == Some(one)).collect()
            }
            _ => return Ok(None),
        },
    };
    let mut above = vec![false; graph.len()];
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut above[place], true) {
            open.extend(&replacers[place]);
        }
    }
    for place in own.iter().take_while(|place| Some(**place) != meeting) {
        above[*place] = false;
    }
    above[start] = true;
    above[head] = true;
    Ok(Some((0..graph.len()).filter(|place| above[*place]).collect()))
}
