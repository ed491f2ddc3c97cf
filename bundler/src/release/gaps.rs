//! Whether a cluster can walk what is carried: each of its updates has to be there, and an edge has to lead to it.
//!
//! In: a graph, the chosen releases, the accepted risks. Out: a word about what cannot be walked, with what comes nearest, or
//! nothing. A range is for the way from its one end to the other, a whole channel for all ways in it. What must hold: only
//! what is chosen counts, as a site has nothing else.

use super::fault::{list, possibilities};
use super::graph::Graph;
use super::limits::NEAREST;
use super::path::{self, AcceptedRisks};

/// Of a range: that no way leads from its lowest release to its highest.
pub fn of_range(graph: &Graph, chosen: &[usize], risks: &AcceptedRisks) -> Option<String> {
    let (&from, &to) = (chosen.first()?, chosen.last()?);
    let inside = inside(graph, chosen);
    if path::reachable_within(graph, from, risks, &inside)[to] {
        return None;
    }
    let (channel, architecture) = (&graph.channel, &graph.architecture);
    let (low, high) = (graph.version(from), graph.version(to));
    let near = possibilities(&path::nearest(graph, from, to, risks));
    let near: String = near.iter().map(|one| format!("; {one}")).collect();
    Some(format!(
        "`{channel}` ({architecture}): all releases from {low} to {high} are carried, and no update path leads from the one \
         to the other over them, so no cluster can go that way{near}"
    ))
}

/// Of a whole channel: that it falls apart.
pub fn of_channel(graph: &Graph, chosen: &[usize], risks: &AcceptedRisks) -> Option<String> {
    let pieces = path::pieces(graph, chosen, risks);
    if pieces.len() < 2 {
        return None;
    }
    let (channel, architecture) = (&graph.channel, &graph.architecture);
    let told = pieces.iter().take(NEAREST).map(|piece| {
        let version = |at: &usize| graph.version(*at).clone();
        let ends: Vec<_> =
            [piece.first(), piece.last()].into_iter().flatten().map(version).collect();
        match piece.len() {
            0..=1 => list(&ends[..ends.len().min(1)]),
            2 => list(&ends),
            count => format!("{} to {} ({count} releases)", ends[0], ends[1]),
        }
    });
    let mut told = told.collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = pieces.len().checked_sub(NEAREST) {
        told.push_str(&format!("; and {more} more"));
    }
    let open = path::pieces(graph, chosen, &AcceptedRisks::All).len();
    let opening = match open {
        _ if open == pieces.len() => "no risk would be a bridge".to_owned(),
        1 => "with all risks accepted they are one: `--accept-risks`".to_owned(),
        _ => format!("with all risks accepted they are {open}: `--accept-risks`"),
    };
    Some(format!(
        "`{channel}` ({architecture}): its {} releases are in {} pieces, between which no update leads, so no cluster comes \
         from one to another: {told}; {opening}",
        chosen.len(),
        pieces.len()
    ))
}

fn inside(graph: &Graph, chosen: &[usize]) -> Vec<bool> {
    let mut inside = vec![false; graph.nodes().len()];
    for at in chosen {
        inside[*at] = true;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::super::choose::{Selection, select};
    use super::super::testing::{entry, graph, real};
    use super::*;
    use crate::config::ReleaseChannel;

    const NOTHING: &AcceptedRisks = &AcceptedRisks::Nothing;

    fn of(graph: &Graph, min: &str, max: &str, full: bool, risks: &AcceptedRisks) -> Selection {
        let entry = ReleaseChannel { full, ..entry(&graph.channel, min, max) };
        select(&entry, graph, risks).unwrap()
    }

    #[test]
    fn a_range_that_no_cluster_can_walk_is_told_with_what_comes_nearest() {
        let graph = graph(
            &["4.1.0", "4.1.1", "4.1.2", "4.1.3", "4.1.4", "4.2.0"],
            &[("4.1.0", "4.1.1"), ("4.1.2", "4.1.3"), ("4.1.1", "4.2.0"), ("4.2.0", "4.1.4")],
            &[("4.1.1", "4.1.2", "Hurts")],
        );
        let selection = of(&graph, "4.1.0", "4.1.3", false, NOTHING);
        assert_eq!(selection.chosen, [0, 1, 2, 3]);
        let [warning] = &selection.warnings[..] else { panic!("{:?}", selection.warnings) };
        for words in [
            "`stable-4.1` (amd64): all releases from 4.1.0 to 4.1.3 are carried, and no update path leads",
            "`--accept-risks Hurts` opens a path from 4.1.0 to 4.1.3; read before: https://",
            "4.1.3 can be reached from 4.1.2",
            "from 4.1.0 there are paths to 4.1.1, 4.1.4, 4.2.0",
        ] {
            assert!(warning.contains(words), "{words}: {warning}");
        }
        let accepted = of(&graph, "4.1.0", "4.1.3", false, &AcceptedRisks::All);
        assert_eq!(accepted.warnings, [""; 0]);
        // A way over what is not carried is none.
        assert_eq!(of(&graph, "4.1.0", "4.1.4", false, NOTHING).warnings.len(), 1);
        // `full` with an end is a range, and ends that do not exist are those next to them.
        assert_eq!(of(&graph, "4.0.0", "4.1.3", true, NOTHING).warnings.len(), 1);
        for (min, max) in [("4.1.0", "4.1.1"), ("4.1.2", "4.1.3"), ("4.1.3", "4.1.3"), ("-", "-")] {
            assert_eq!(of(&graph, min, max, false, NOTHING).warnings, [""; 0], "{min} {max}");
        }
    }

    #[test]
    fn a_channel_in_pieces_is_told_with_the_largest() {
        let versions = ["4.1.0", "4.1.1", "4.1.2", "4.1.3", "4.1.4", "4.1.5", "4.1.6", "4.1.7"];
        let graph = graph(
            &versions,
            &[("4.1.0", "4.1.3"), ("4.1.1", "4.1.4"), ("4.1.4", "4.1.7"), ("4.1.7", "4.1.1")],
            &[("4.1.0", "4.1.1", "Hurts")],
        );
        let selection = of(&graph, "-", "-", true, NOTHING);
        let [warning] = &selection.warnings[..] else { panic!("{:?}", selection.warnings) };
        let expected = "its 8 releases are in 5 pieces, between which no update leads, so no cluster comes from one to \
                        another: 4.1.1 to 4.1.7 (3 releases); 4.1.0, 4.1.3; 4.1.2; and 2 more; with all risks accepted \
                        they are 4: `--accept-risks`";
        assert!(warning.ends_with(expected), "{warning}");
        let whole =
            super::super::testing::graph(&versions[..2], &[], &[("4.1.0", "4.1.1", "Hurts")]);
        let warning = of(&whole, "-", "-", true, NOTHING).warnings[0].clone();
        assert!(warning.ends_with("they are one: `--accept-risks`"), "{warning}");
        assert!(of(&whole, "-", "-", true, &AcceptedRisks::All).warnings.is_empty());
        let never = super::super::testing::graph(&versions[..2], &[], &[]);
        let warning = of(&never, "-", "-", true, NOTHING).warnings[0].clone();
        assert!(warning.ends_with("no risk would be a bridge"), "{warning}");
    }

    #[test]
    fn real_channels_hold_together() {
        for name in ["recorded/stable-4.9.amd64", "assembled-modern/stable-4.18.amd64"] {
            let Some(graph) = real(name) else { return };
            for (min, full) in [("-", true), ("4.8.11", false), ("4.17.0", false)] {
                let Some(min) =
                    (min == "-" || graph.find(&min.parse().unwrap()).is_some()).then_some(min)
                else {
                    continue;
                };
                assert_eq!(of(&graph, min, "-", full, NOTHING).warnings, [""; 0], "{name} {min}");
            }
        }
        // Candidates of a release to come, which nobody is asked to update to.
        let candidates = real("assembled-modern/candidate-4.18.amd64").unwrap();
        let warning = of(&candidates, "-", "-", true, NOTHING).warnings[0].clone();
        assert!(warning.contains("its 220 releases are in 18 pieces"), "{warning}");
        assert!(warning.contains("(203 releases); 4.16.0-ec.0"), "{warning}");
        // All edges into 4.7.4 carry risks.
        let range = real("recorded/stable-4.7.amd64").unwrap();
        let warnings = of(&range, "4.6.16", "4.7.4", false, NOTHING).warnings;
        assert!(warnings[0].contains("from 4.6.16 there are paths to 4."), "{warnings:?}");
    }
}
