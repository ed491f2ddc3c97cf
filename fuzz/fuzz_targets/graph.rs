//! Any bytes as an update graph: a graph in which every way ends and every entry of a configuration has an answer, or an error.
#![no_main]

use bundler::config::{Position, ReleaseChannel, VersionRange};
use bundler::release::choose::{Asked, select};
use bundler::release::graph::Graph;
use bundler::release::hops::{self, Bounds};
use bundler::release::path::{self, AcceptedRisks};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(graph) = Graph::parse("stable-4.18", "amd64", data) else { return };
    let Some(last) = graph.nodes().len().checked_sub(1) else { return };
    for risks in [AcceptedRisks::Nothing, AcceptedRisks::All] {
        if path::shortest(&graph, 0, last, &risks).is_none() {
            let _ = path::nearest(&graph, 0, last, &risks);
        }
        for entry in entries(&graph, last) {
            let Ok(selection) = select(&entry, &graph, &risks) else { continue };
            assert!(selection.chosen.is_sorted() && selection.chosen.iter().all(|at| *at <= last));
            if selection.asked == Asked::Path {
                let way = selection.path.expect("asked for").nodes;
                let step = |pair: &[usize]| graph.successors(pair[0]).iter().any(|e| e.to == pair[1]);
                assert!(way.windows(2).all(step));
            }
        }
        walk(&graph, last, &risks);
    }
});

/// What a configuration may ask of it: every form, from end to end.
fn entries(graph: &Graph, last: usize) -> Vec<ReleaseChannel> {
    let (min, max) = (graph.version(0).clone(), graph.version(last).clone());
    let mut entries = Vec::new();
    for bits in 0..16 {
        entries.push(ReleaseChannel {
            name: graph.channel.clone(),
            okd: false,
            range: VersionRange {
                min: (bits & 1 != 0).then(|| min.clone()),
                max: (bits & 2 != 0).then(|| max.clone()),
            },
            shortest_path: bits & 4 != 0,
            full: bits & 8 != 0,
            at: Position { line: 1, column: 1 },
        });
    }
    entries
}

/// The way over channels of two minor releases, as if both had this graph.
fn walk(graph: &Graph, last: usize, risks: &AcceptedRisks) {
    let (min, max) = (graph.version(0), graph.version(last));
    let bounds = [
        Bounds { channel: "stable-4.17", min, max: min },
        Bounds { channel: "stable-4.18", min: max, max },
    ];
    if let Ok(Some(journey)) = hops::journey(&bounds) {
        let graphs = vec![Some(graph); journey.legs.len()];
        let way = journey.walk(&graphs, risks);
        assert!(way.steps.len() <= journey.legs.len());
    }
}
